"""Where logs cannot go is said with the option's name, and before anything is started."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dedupd import conf
from dedupd.cmd import logs
from dedupd.cmd.check.command import configuration
from dedupd.cmd.check.line import Result
from dedupd.conf import Settings
from dedupd.errors import ConfigError

FILE = "[DEFAULT] log_dir (or log_file, --log-file): "
TO_STDERR = ", or take the option out to log to stderr."


def settings_of(**options: object) -> Settings:
    overrides = {"auth.strategy": "noauth", **{name: str(at) for name, at in options.items()}}
    return conf.load([], overrides=overrides)


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Whatever is set up goes away again."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def refusal(**options: object) -> str:
    """What the start and the check say alike."""
    settings = settings_of(**options)
    with pytest.raises(ConfigError) as caught:
        logs.set_up(settings.options)
    line = configuration(settings)
    assert line.result is Result.FAILED
    assert line.detail.endswith(caught.value.message)
    return caught.value.message


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    missing = "cannot be written: No such file or directory. Make the directory"
    assert refusal(log_dir=nowhere) == f"{FILE}{nowhere}/dedupd.log {missing}{TO_STDERR}"
    assert refusal(log_file=nowhere / "x") == f"{FILE}{nowhere}/x {missing}{TO_STDERR}"
    assert refusal(log_dir=nowhere, log_file="x") == f"{FILE}{nowhere}/x {missing}{TO_STDERR}"


def test_what_is_no_file(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be written: Is a directory" in refusal(log_file=tmp_path)


def test_a_directory_that_is_not_this_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
    assert "its directory may not be written to" in refusal(log_dir=tmp_path)


def test_a_configuration_of_logging_that_is_not_there(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    assert refusal(log_config_append=nowhere) == (
        f"[DEFAULT] log_config_append: {nowhere} is not a file that this user may read. Name one"
        f"{TO_STDERR}"
    )


@pytest.mark.usefixtures("root_logger")
def test_a_configuration_of_logging_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "logging.conf"
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"log_config_append: .*Name a file of Python's logging"):
        logs.set_up(settings_of(log_config_append=path).options)


@pytest.mark.usefixtures("root_logger")
def test_a_level_that_is_none() -> None:
    with pytest.raises(ConfigError, match="cannot be set up as it is configured: Unknown level"):
        logs.set_up(settings_of(default_log_levels="amqp=LOUD").options)


def test_the_journal_needs_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "find_spec", lambda _name: None)
    assert "`pip install systemd-python` beside dedupd" in refusal(use_journal=True)


@pytest.mark.usefixtures("root_logger")
def test_what_can_be_written_is(tmp_path: Path) -> None:
    settings = settings_of(log_dir=tmp_path)
    assert configuration(settings).result is Result.OK
    assert list(tmp_path.iterdir()) == []  # the check makes nothing
    logs.set_up(settings.options)
    logging.getLogger("dedupd.here").warning("written")
    assert "written" in (tmp_path / "dedupd.log").read_text()
    logs.check(settings.options)


class Away(Exception):
    """What a library raises; oslo.log leaves out some of Python's own."""


def logged(directory: Path, logger: str, **options: object) -> str:
    """What the log has of an error that is told while it is handled, and of one with a trace."""
    logs.set_up(settings_of(log_dir=directory, **options).options)
    log = logging.getLogger(logger)
    try:
        raise Away("It is away.")
    except Away as error:
        log.warning("tried again: %s", error)
        log.exception("given up")
    return (directory / "dedupd.log").read_text()


@pytest.mark.usefixtures("root_logger")
def test_what_is_being_handled_is_said_once(tmp_path: Path) -> None:
    told, *trace = logged(tmp_path, "dedupd.queue").splitlines()
    assert told.endswith(" WARNING dedupd.queue [-] tried again: It is away.")
    assert trace[0].endswith("Away: It is away.")
    assert "Traceback (most recent call last):" in trace[1]


@pytest.mark.usefixtures("root_logger")
def test_libraries_leave_it_to_oslo_log(tmp_path: Path) -> None:
    assert "It is away.: tests.unit" in logged(tmp_path, "library").splitlines()[0]


@pytest.mark.usefixtures("root_logger")
def test_an_operators_own_format_wins(tmp_path: Path) -> None:
    own = "%(levelname)s <%(error_summary)s> %(message)s"
    told = logged(tmp_path, "dedupd.queue", logging_default_format_string=own).splitlines()[0]
    assert told.startswith("WARNING <tests.unit")
    assert told.endswith("Away: It is away.> tried again: It is away.")


def test_the_check_says_what_the_environment_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert configuration(settings_of()).detail == "no file, the defaults"
    monkeypatch.setenv("OS_QUEUE__NAME", "q")
    monkeypatch.setenv("OS_API__HOLD_SECONDS", "5")
    from_environment = "from the environment OS_API__HOLD_SECONDS, OS_QUEUE__NAME"
    assert configuration(settings_of()).detail == f"no file, and {from_environment}"
    path = tmp_path / "dedupd.conf"
    path.touch()
    settings = conf.load([path], overrides={"auth.strategy": "noauth"})
    assert configuration(settings).detail == f"{path}, and {from_environment}"
