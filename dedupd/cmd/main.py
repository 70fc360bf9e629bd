"""The one command, ``dedupd``, and its subcommands (entry points of ``dedupd.commands``)."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cliff.app import App
from cliff.commandmanager import CommandManager
from oslo_log import log

from dedupd import __version__, conf
from dedupd.conf import Settings, unknown
from dedupd.errors import DedupdError

LOG = log.getLogger(__name__)

DESCRIPTION = (
    "dedupd stands in front of Nova: a POST with X-Client-Token is carried out exactly once, "
    "however often it arrives, and every repeat gets the first answer. Begin with `dedupd demo`, "
    "then `dedupd standalone`."
)

_INTERRUPTED = 128 + signal.SIGINT
"""The exit status of who was told to stop by Ctrl-C, as shells have it."""


class Commands(CommandManager):
    """The subcommands, their names as wide as the longest: cliff's list lines up 13 characters."""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Each name, and what it stands for."""
        width = max(map(len, self.commands))
        return iter([(name.ljust(width), found) for name, found in self.commands.items()])


class Dedupd(App):
    """The application around the subcommands."""

    def __init__(self) -> None:
        super().__init__(
            description=DESCRIPTION,
            version=__version__,
            command_manager=Commands("dedupd.commands"),
            deferred_help=True,
        )
        self._warned = False

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, Any] | None = None,
    ) -> argparse.ArgumentParser:
        """The options before the subcommand; cliff's, without those that would do nothing here."""
        parser = argparse.ArgumentParser(
            description=description, add_help=False, **(argparse_kwargs or {})
        )
        parser.add_argument("--version", action="version", version=f"{self.NAME} {version}")
        parser.add_argument(
            "-h", "--help", dest="deferred_help", action="store_true", help="show this, and exit"
        )
        parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
        parser.add_argument(
            "--log-file",
            metavar="PATH",
            help="where services log to, and what operators do is logged too ([DEFAULT] log_file; "
            "default: stderr)",
        )
        parser.add_argument(
            "--config-file",
            action="append",
            metavar="PATH",
            help="read this configuration file; may be given several times, the last one wins "
            "(default: the first that is there of ~/.dedupd/dedupd.conf, ~/dedupd.conf, "
            "/etc/dedupd/dedupd.conf and /etc/dedupd.conf, and then the *.conf files of the first "
            "directory dedupd.conf.d in these places)",
        )
        parser.add_argument(
            "--config-dir",
            action="append",
            default=[],
            metavar="DIR",
            help="read the *.conf files of this directory too; may be given several times",
        )
        return parser

    def configure_logging(self) -> None:
        """Services set up oslo.log; the other commands let warnings through."""
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
        self.LOG.addFilter(_not_bare)

    def clean_up(self, cmd: Any, result: int, err: BaseException | None) -> None:
        """Say what went wrong; while it was handled, oslo.log would have said it twice."""
        super().clean_up(cmd, result, err)
        if isinstance(err, DedupdError) and not self.options.debug:
            self.LOG.error(str(err))

    def settings(
        self,
        *,
        defaults: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> Settings:
        """The checked configuration.

        Raises:
            ConfigError: a bad value.
        """
        log_file = {"log_file": self.options.log_file} if self.options.log_file else {}
        return conf.load(
            self.options.config_file,
            config_dirs=self.options.config_dir,
            defaults=defaults,
            overrides={**(overrides or {}), **log_file},
        )

    def warn_of_unknown(self, settings: Settings) -> None:
        """Name the options that nothing reads, where logs go by now: once for each command."""
        if not self._warned:
            self._warned = True
            for complaint in unknown.found(settings.options):
                LOG.warning("%s", complaint)


def _not_bare(record: logging.LogRecord) -> bool:
    """Whether a record is more than an error of dedupd's as cliff logs it: see ``clean_up``."""
    return bool(record.exc_info) or not isinstance(record.msg, DedupdError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return int(Dedupd().run(arguments or ["--help"]) or 0)
    except KeyboardInterrupt:  # before a service listens for it
        return _INTERRUPTED
