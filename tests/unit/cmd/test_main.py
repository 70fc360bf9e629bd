"""How the command says what went wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from dedupd import conf, seal
from dedupd.cmd import main

SECONDS = 60
NO_DATABASE = "it is not an SQLite database, or was cut off"


def test_an_error_after_logging_was_set_up_is_said_once(tmp_path: Path) -> None:
    ended = without_a_database(tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.count(NO_DATABASE) == 1


@pytest.mark.parametrize("command", ["standalone", "request list", "check"])
def test_an_option_that_nothing_reads_is_named_once(command: str, tmp_path: Path) -> None:
    path = tmp_path / "dedupd.conf"
    path.write_text("[api]\nhold_secnds = 1\n")
    ended = without_a_database(tmp_path, f"--config-file={path}", command=command.split())
    told = "[api] hold_secnds is not a known option, did you mean hold_seconds?"
    assert (ended.stdout + ended.stderr).count(told) == 1


@pytest.mark.parametrize("command", ["standalone", "request list"])
def test_a_mistyped_plugin_ends_it_with_what_to_write(command: str, tmp_path: Path) -> None:
    path = tmp_path / "dedupd.conf"
    path.write_text("[keystone_authtoken]\nauth_type = pasword\n")
    ended = without_a_database(tmp_path, f"--config-file={path}", command=command.split())
    assert ended.returncode == 1
    assert ended.stderr.count("'pasword' is no plugin of keystoneauth: write password") == 1


def test_it_is_named_once_however_often_the_configuration_is_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As by `request forget`, which looks first, and asks."""
    monkeypatch.setenv("OS_API__HOLD_SECOND", "1")
    app = main.Dedupd()
    for _ in range(2):
        app.warn_of_unknown(conf.load([], overrides={"auth.strategy": "noauth"}))
    assert caplog.text.count("OS_API__HOLD_SECOND in the environment is not a known option") == 1


def test_a_file_for_the_log_is_used(tmp_path: Path) -> None:
    log = tmp_path / "dedupd.log"
    ended = without_a_database(tmp_path, "--log-file", log)
    assert ended.returncode == 1
    assert log.read_text().count(NO_DATABASE) == 1


def test_what_would_do_nothing_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--verbose" not in told
    assert "--quiet" not in told
    assert "([DEFAULT] log_file; default: stderr)" in told
    assert "the first that is there of ~/.dedupd/dedupd.conf, ~/dedupd.conf, /etc/ded" in told


@pytest.mark.parametrize("arguments", ["--help", "help"])
def test_what_the_commands_do_is_lined_up(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):
        main.main([arguments])
    _, _, commands = capsys.readouterr().out.partition("\nCommands:\n")
    names = [line[2:19].rstrip() for line in commands.splitlines()]
    assert {"check", "key generate", "request resolve", "request show"} <= set(names)
    assert all(line[17:19] == "  " and line[19] != " " for line in commands.splitlines())


def test_a_name_that_is_not_whole_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["request", "lst"]) == 2
    assert "  request list" in capsys.readouterr().out


def test_a_key_file_in_a_directory_that_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "none" / "seal.keys"
    assert main.main(["key", "generate", str(path)]) == 1
    assert f"{path.parent} is not there. Make the directory first." in caplog.text


def test_who_is_interrupted_while_it_starts_says_no_more_than_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.Dedupd, "run", interrupted)
    assert main.main([]) == 130


def without_a_database(
    directory: Path, *options: object, command: Sequence[str] = ("standalone",)
) -> subprocess.CompletedProcess[str]:
    """A `dedupd` command on a file that is no database, until it has given up."""
    (directory / "records.db").write_text("no database")
    seal.create(directory / "seal.keys")
    program = Path(sys.executable).with_name("dedupd")
    return subprocess.run(
        [str(part) for part in (program, *options, *command, "--state-path", directory)],
        env=os.environ | {"OS_API__LISTEN": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
