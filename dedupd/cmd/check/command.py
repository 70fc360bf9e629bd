"""The command itself: the configuration first, then everything it names, side by side."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cliff.lister import Lister
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dedupd.cmd import logs, place
from dedupd.cmd.check import cloud, local
from dedupd.cmd.check.line import Finding, Line, Result, within_deadline
from dedupd.conf import Settings, unknown
from dedupd.errors import ConfigError

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd

CHECKS = {
    "keys": local.keys,
    "store": local.store,
    "queue": local.queue,
    "keystone": cloud.callers,
    "service user": cloud.service_user,
    "nova": cloud.nova,
}
"""In the order of their lines."""

BY_STRATEGY = frozenset({"keystone", "service user"})
"""Those that depend on [auth] strategy."""

UNUSABLE = "the configuration cannot be used"
COLUMNS = ("Check", "Result", "Detail")
STYLES = {
    Result.OK: "bold green",
    Result.WARNING: "bold yellow",
    Result.FAILED: "bold red",
    Result.SKIPPED: "dim",
}


class Check(Lister):
    """Check configuration, keys, records, queue, Keystone and Nova; exit status 1 if one failed.

    It may run beside a server; nothing is changed, but a queue that is not there is declared, and
    the one that stands for RabbitMQ's repair is there for a moment.
    """

    app: Dedupd
    _failed = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
        place.add_state_path(parser)
        place.add_nova(parser)
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Check, show, and say by the exit status how it ended."""
        return int(super().run(parsed_args) or self._failed)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
        """Check everything."""
        lines = self._lines(place.overrides(parsed_args))
        self._failed = any(line.result is Result.FAILED for line in lines)
        return COLUMNS, [(line.check, line.result.value, line.detail) for line in lines]

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        """One line each, unless a machine's format was asked for."""
        if parsed_args.formatter != self.formatter_default:
            return int(super().produce_output(parsed_args, column_names, data) or 0)
        _show(data)
        return 0

    def _lines(self, overrides: dict[str, str]) -> list[Line]:
        try:
            settings = self._load(overrides)
        except ConfigError as error:
            first = Line("configuration", Result.FAILED, str(error))
            return [first, *self._rest(overrides)]
        return [configuration(settings), *asyncio.run(_all(settings, CHECKS))]

    def _rest(self, overrides: dict[str, str]) -> list[Line]:
        """What can be checked where the configuration cannot be used: what does not depend on it.

        Bad credentials are the usual case, and the other things are wrong or right without them.
        """
        skipped = {name: Line(name, Result.SKIPPED, UNUSABLE) for name in CHECKS}
        try:
            settings = self._load(overrides | place.NO_FRONT)
        except ConfigError:
            return list(skipped.values())
        checks = {name: check for name, check in CHECKS.items() if name not in BY_STRATEGY}
        lines = {line.check: line for line in asyncio.run(_all(settings, checks))}
        return list((skipped | lines).values())

    def _load(self, overrides: dict[str, str]) -> Settings:
        """As the commands load it: `standalone` needs no Keystone for its simulated Nova."""
        named = self.app.settings(overrides=overrides | place.NO_FRONT).nova.endpoint
        defaults = {"auth.strategy": "noauth"} if named is None else {}
        return self.app.settings(defaults=defaults, overrides=overrides)


def configuration(settings: Settings) -> Line:
    """Where it comes from, what in it is not known, and whether logs can go where it says."""
    complaints: list[str] = []
    refusals: list[str] = []
    with _noted(refusals):
        complaints.extend(unknown.found(settings.options))
    with _noted(refusals):
        logs.check(settings.options)
    result = Result.WARNING if complaints else Result.OK
    result = Result.FAILED if refusals else result
    return Line("configuration", result, "; ".join([_sources(settings), *complaints, *refusals]))


@contextmanager
def _noted(refusals: list[str]) -> Iterator[None]:
    """Note what the block refuses, and go on."""
    try:
        yield
    except ConfigError as error:
        refusals.append(str(error))


def _sources(settings: Settings) -> str:
    """Where the configuration comes from; the environment only where it sets something."""
    files = ", ".join(map(str, unknown.files(settings.options))) or "no file"
    variables = unknown.environment(settings.options)
    taken = ", ".join(name for name, complaint in variables.items() if not complaint)
    if taken:
        return f"{files}, and from the environment {taken}"
    return "no file, the defaults" if files == "no file" else files


async def _all(
    settings: Settings, checks: Mapping[str, Callable[[Settings], Awaitable[Finding]]]
) -> list[Line]:
    return await asyncio.gather(
        *(within_deadline(name, check(settings)) for name, check in checks.items())
    )


def _show(rows: Iterable[tuple[str, str, str]]) -> None:
    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    for name, result, detail in rows:
        if console.is_terminal:
            table.add_row(Text(result, style=STYLES[Result(result)]), name, Text(detail))
        else:
            console.print(f"{result:<12}{name:<15}{detail}", soft_wrap=True, markup=False)
    if console.is_terminal:
        console.print(table)
