"""What the first start makes, and what it must not make."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dedupd import conf
from dedupd.cmd import state, wiring
from dedupd.cmd.check import local
from dedupd.cmd.check.line import Result
from dedupd.conf import Settings
from dedupd.errors import ConfigError


def settings_of(state_path: Path, **more: str) -> Settings:
    overrides = {"auth.strategy": "noauth", "state_path": str(state_path), **more}
    return conf.load([], overrides=overrides)


@pytest.mark.parametrize("keys", ["seal.keys", "keys/seal.keys"])
def test_directories_are_for_their_owner_alone(tmp_path: Path, keys: str) -> None:
    settings = settings_of(tmp_path / "above" / "state", **{"seal.key_file": keys})
    wiring.load_keys(settings, create=True)
    for directory in (settings.state_path, settings.seal.key_file.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_for_records_alone_is_made_too(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "state", **{"seal.key_file": str(tmp_path / "seal.keys")})
    wiring.load_keys(settings, create=True)
    assert stat.S_IMODE(settings.state_path.stat().st_mode) == 0o700


def test_one_that_nothing_is_kept_in_is_not_made(tmp_path: Path) -> None:
    elsewhere = {"seal.key_file": str(tmp_path / "seal.keys"), "store.url": "memory://"}
    wiring.load_keys(settings_of(tmp_path / "state", **elsewhere), create=True)
    assert not (tmp_path / "state").exists()


def test_one_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    wiring.load_keys(settings_of(tmp_path), create=True)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_no_keys_are_made_for_records_of_others(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    first = wiring.load_keys(settings, create=True)
    (tmp_path / "records.db").touch()
    assert wiring.load_keys(settings, create=True).identity == first.identity
    (tmp_path / "seal.keys").unlink()
    with pytest.raises(ConfigError) as caught:
        wiring.load_keys(settings, create=True)
    assert caught.value.message == (
        f"[seal] key_file: {tmp_path}/seal.keys is not there, but the records in "
        f"{tmp_path}/records.db are: put the key file back that they were written with."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["records.db"]


async def test_the_check_of_many_machines_says_to_copy_the_keys(tmp_path: Path) -> None:
    result, detail = await local.keys(settings_of(tmp_path, **{"store.url": "etcd://h:2379"}))
    assert result is Result.WARNING
    assert "Copy the one that the other fronts and workers have" in detail


def test_records_that_nobody_can_look_for(tmp_path: Path) -> None:
    name = "r" * 300
    settings = settings_of(tmp_path, **{"store.url": f"sqlite:///{name}"})
    with pytest.raises(ConfigError, match=r"\[store\] url: .* cannot be looked at \(File name too"):
        wiring.load_keys(settings, create=True)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_made_is_named_by_its_option(tmp_path: Path) -> None:
    nowhere = Path("/proc/dedupd")  # where not even root may make anything
    with pytest.raises(ConfigError) as caught:
        state.make(settings_of(nowhere))
    assert caught.value.message == (
        "[DEFAULT] state_path: /proc/dedupd cannot be made (No such file or directory): name a "
        "directory that this user may write to."
    )
    settings = settings_of(tmp_path, **{"seal.key_file": f"{nowhere}/seal.keys"})
    with pytest.raises(ConfigError, match=r"\[seal\] key_file: /proc/.* cannot be written \(No su"):
        state.make(settings)


def test_a_home_that_is_not_to_be_looked_into_stops_nobody_who_needs_nothing_there(
    tmp_path: Path,
) -> None:
    """The defaults name paths in it when the options are defined."""
    tmp_path.chmod(0o755)
    program = [sys.executable, "-c", BARRED, "--help"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--config-file" in done.stdout


BARRED = """
import os, sys
import pathlib

real = pathlib.Path.stat

def stat(path, **more):
    if ".local" in path.parts:
        raise PermissionError(13, "Permission denied", str(path))
    return real(path, **more)

pathlib.Path.stat = stat

from dedupd.cmd.main import main

sys.exit(main(sys.argv[1:]))
"""
