"""Records that are not there yet: the check says whether the start can make them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from dedupd import conf
from dedupd.cmd import wiring
from dedupd.cmd.check import local
from dedupd.cmd.check.line import Result
from dedupd.conf import Settings
from dedupd.errors import ConfigError


def settings_of(directory: Path, url: str, keys: str) -> Settings:
    overrides = {
        "auth.strategy": "noauth",
        "state_path": str(directory / "above/state"),
        "store.url": f"sqlite:///{url.format(directory)}",
        "seal.key_file": keys.format(directory),
    }
    return conf.load([], overrides=overrides)


@pytest.mark.parametrize(
    ("url", "keys", "result"),
    [
        ("records.db", "seal.keys", Result.OK),
        ("{}/above/records.db", "seal.keys", Result.OK),
        ("{}/records.db", "seal.keys", Result.OK),
        ("{}/keys/records.db", "{}/keys/seal.keys", Result.OK),
        ("{}/keys/records.db", "{}/seal.keys", Result.FAILED),
        ("below/records.db", "seal.keys", Result.FAILED),
        ("{}/none/records.db", "seal.keys", Result.FAILED),
        ("{}/file/records.db", "seal.keys", Result.FAILED),
    ],
)
async def test_it_fails_where_the_start_does(
    url: str, keys: str, result: Result, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings = settings_of(tmp_path, url, keys)
    found, detail = await local.store(settings)
    assert found is result
    records = settings.store.url.path
    assert records
    advice = f"make the directory {records.parent}, or name a path in one that is there"
    assert (advice in detail) is (found is Result.FAILED)
    store = wiring.open_store(settings, wiring.load_keys(settings, create=True), exclusive=True)
    fails: AbstractContextManager[object] = nullcontext()
    if result is Result.FAILED:
        fails = pytest.raises(ConfigError, match=r"\[store\] url: the database .* cannot be used")
    with fails:
        await store.open()
    await store.close()
