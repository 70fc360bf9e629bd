"""`python -m bench` measures what it says, and nothing of it fails: in small, without the peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 300.0


def measured(directory: Path, *parts: str) -> dict[str, Any]:
    """What the benchmark of these parts has written; nothing else is left behind."""
    found = directory / "found.json"
    command = [sys.executable, "-m", "bench", "--quick", "--no-peers", "--sustained", "1"]
    command += ["--rounds", "1", "--seconds", "0.3", "--records", "4000"]
    subprocess.run(
        [*command, "--json", str(found), "--parts", *parts],
        check=True,
        timeout=SECONDS,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(directory)},
    )
    assert [*directory.iterdir()] == [found]
    written: dict[str, Any] = json.loads(found.read_text())
    return written


def test_the_whole_chain(tmp_path: Path) -> None:
    rows = measured(tmp_path, "chain")["chain"]["rows"]
    kinds = [(row["mode"], row["connections"], row["each"]) for row in rows]
    assert kinds == [
        ("new-token", 256, 1),
        ("new-token", 64, 1),
        ("new-token", 1, 1),
        ("the bare parts", 1, 1),
        ("replay", 64, 1),
        ("new-token", 256, 2),
        ("replay", 64, 2),
    ]
    for row in rows:
        assert row["surplus"] == 0
        assert row["requests"] > row["errors"], "a busy machine may refuse a few"
        assert row["cpu"].keys() == {"front", "worker", "etcd", "RabbitMQ", "stub", "load"}


def rates(found: Any) -> Iterator[float]:
    """What was measured per second, wherever it stands."""
    if isinstance(found, list):
        for one in found:
            yield from rates(one)
    elif isinstance(found, dict):
        yield from (rate for name, rate in found.items() if name in {"per_second", "rate"})
        yield from rates([*found.values()])


@pytest.mark.parametrize(
    ("part", "least"),
    [("compare", 6), ("records", 4), ("site-records", 4), ("fan-out", 3), ("group-commit", 2)],
)
def test_another_part(tmp_path: Path, part: str, least: int) -> None:
    found = [*rates(measured(tmp_path, part)[part])]
    assert len(found) >= least
    assert all(rate > 0 for rate in found)


def test_room(tmp_path: Path) -> None:
    assert 1000 < measured(tmp_path, "room")["room"]["each"] < 2000
