"""Where logs go, as the configuration says, or one clear error where they cannot go there."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path

from oslo_config import cfg
from oslo_log import log
from oslo_log.formatters import ContextFormatter

from dedupd.conf import values
from dedupd.errors import ConfigError

_PRODUCT = "dedupd"
_FILE = "dedupd.log"
"""In log_dir, where log_file is not set; however the process was started."""
_SUMMARY = "%(error_summary)s"
"""Where a format has it, the error that is being handled stands there; else oslo.log appends it."""


class _Formatter(ContextFormatter):
    """oslo.log's, without the error that is being handled where dedupd speaks: it says so itself.

    A traceback that comes with the record stays, and so does what libraries leave to oslo.log.
    """

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info or record.name.partition(".")[0] != _PRODUCT:
            return super().format(record)
        try:
            raise KeyError  # oslo.log takes the innermost, and leaves out this kind
        except KeyError:
            return super().format(record)


def set_up(options: cfg.ConfigOpts) -> None:
    """Log as the configuration says; where it names no file, to stderr, never between answers.

    Raises:
        ConfigError: nothing can be written there, or what writes there is not installed.
    """
    if options.log_dir:
        options.set_default("log_file", _FILE)
    elif not options.log_file:
        options.set_default("use_stderr", True)
    check(options)
    try:
        log.setup(options, _PRODUCT)
    except OSError as error:
        raise _unwritable(error.filename, error.strerror) from None
    except log.LogConfigError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"[DEFAULT] log_config_append: {reason}. Name a file of Python's logging.config, or "
            "take the option out to log to stderr."
        ) from None
    except (RuntimeError, ImportError, ValueError) as error:
        raise ConfigError(
            f"[DEFAULT] logging cannot be set up as it is configured: {error}. Correct those "
            "options, or take them out to log to stderr."
        ) from None
    if not options.log_config_append and _SUMMARY not in options.logging_default_format_string:
        _say_once(options)


def check(options: cfg.ConfigOpts) -> None:
    """Look whether logs can go where they are to go; nothing is made or changed.

    Raises:
        ConfigError: as ``set_up``, as far as can be seen without writing.
    """
    if options.log_config_append:
        if not values.is_readable(Path(options.log_config_append)):
            raise ConfigError(
                f"[DEFAULT] log_config_append: {options.log_config_append} is not a file that "
                "this user may read. Name one, or take the option out to log to stderr."
            )
        return
    if options.use_journal and find_spec("systemd") is None:
        raise ConfigError(
            "[DEFAULT] use_journal needs Python's bindings for systemd: `pip install "
            "systemd-python` beside dedupd, or take the option out. In a unit of systemd, "
            "what goes to stderr is in the journal anyway."
        )
    path = _file(options)
    if path is not None:
        _refuse_unwritable(path)


def _say_once(options: cfg.ConfigOpts) -> None:
    """Take our formatter where oslo.log has set its own, which is for text."""
    ours = _Formatter(project=_PRODUCT, datefmt=options.log_date_format, config=options)
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, ContextFormatter):
            handler.setFormatter(ours)


def _file(options: cfg.ConfigOpts) -> Path | None:
    """The file that oslo.log writes to, if any."""
    if options.log_dir:
        return Path(options.log_dir, options.log_file or _FILE)
    return Path(options.log_file) if options.log_file else None


def _refuse_unwritable(path: Path) -> None:
    try:
        if path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
        elif not os.access(path.parent, os.W_OK | os.X_OK):
            path.parent.stat()
            raise _unwritable(path, "its directory may not be written to")
    except OSError as error:
        raise _unwritable(path, error.strerror) from None


def _unwritable(path: str | Path, reason: str | None) -> ConfigError:
    return ConfigError(
        f"[DEFAULT] log_dir (or log_file, --log-file): {path} cannot be written: {reason}. Make "
        "the directory, or take the option out to log to stderr."
    )
