from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dedupd.conf import Settings, load

Load = Callable[..., Settings]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own configuration may reach a test."""
    for name in list(os.environ):
        if name.startswith("OS_") or name == "XDG_STATE_HOME":
            monkeypatch.delenv(name)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Write a configuration file; each call makes another."""

    def write(text: str) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.conf"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def loaded(written: Callable[[str], Path]) -> Load:
    """Load one file with this text, as a development set-up without Keystone."""

    def of(text: str = "", **arguments: object) -> Settings:
        defaults = {"auth.strategy": "noauth"}
        return load([written(text)], **{"defaults": defaults, **arguments})  # type: ignore[arg-type]

    return of
