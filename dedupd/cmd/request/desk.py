"""Where an operator works: the configured store, opened beside whoever serves it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import pwd
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cliff.command import Command
from oslo_log import log

from dedupd.cmd import logs, place, wiring
from dedupd.cmd.request.deeds import Desk
from dedupd.conf import Settings
from dedupd.conf.values import StoreScheme, StoreUrl
from dedupd.errors import ConfigError, Unavailable
from dedupd.request import Record

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd

LOG = log.getLogger(__name__)

DEADLINE_SECONDS = 60.0
"""How long one command may take."""

T = TypeVar("T")


class AboutOne(Command):
    """A command that takes the id of a request, and where its record is."""

    app: Dedupd

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
        place.add_state_path(parser)
        parser.add_argument(
            "id", metavar="ID", help="the request's id, as `dedupd request list` shows"
        )
        return parser


def at_desk(app: Dedupd, arguments: argparse.Namespace, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Do the work on the open store.

    Raises:
        ConfigError: there is none, or it is not to be used; it says why.
        Unavailable: it took too long; a change that was under way may still have been made.
    """

    async def working() -> T:
        async with asyncio.timeout(DEADLINE_SECONDS), _desk(app, arguments) as desk:
            return await work(desk)

    try:
        return asyncio.run(working())
    except TimeoutError:
        raise Unavailable(
            f"Not done within {DEADLINE_SECONDS:g} s; `dedupd request show` says what is."
        ) from None


def operator() -> str:
    """Who works: the user of this process, and who became it by sudo."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    before = os.environ.get("SUDO_USER")
    return f"operator {name}" + (f" ({before} by sudo)" if before else "")


def configured(app: Dedupd, arguments: argparse.Namespace) -> Settings:
    """The configuration, as the command's options have it."""
    return app.settings(overrides=place.overrides(arguments) | place.NO_FRONT)


def write_down(settings: Settings, record: Record, deed: str) -> None:
    """Log what was done to a record, where the configuration sends logs and here.

    Where they cannot go there it is said here alone: the deed is done.
    """
    settings.options.set_override("use_stderr", True)  # else stdout, if there is no file
    try:
        logs.set_up(settings.options)
    except ConfigError as error:
        LOG.warning("%s", error)
        logging.getLogger().setLevel(logging.INFO)
    LOG.info("%s: %s (project %s)", record.id, deed, record.project_id)


@asynccontextmanager
async def _desk(app: Dedupd, arguments: argparse.Namespace) -> AsyncIterator[Desk]:
    settings = configured(app, arguments)
    app.warn_of_unknown(settings)
    _refuse_without_records(settings.store.url)
    keys = wiring.load_keys(settings, create=False)
    store = wiring.open_store(settings, keys, exclusive=False)
    await store.open()
    try:
        yield Desk(
            keys=keys,
            store=store,
            clock=time.time,
            result_seconds=settings.retention.result_hours * wiring.HOUR,
            operator=operator(),
            written=partial(write_down, settings),
        )
    finally:
        await store.close()


def _refuse_without_records(url: StoreUrl) -> None:
    """Refuse a store that no other process can have written; etcd says so when it is opened.

    Raises:
        ConfigError: it is such a one.
    """
    if url.scheme is StoreScheme.MEMORY:
        raise ConfigError(
            "[store] url = memory:// keeps the records inside the server's process, where no "
            "other command sees them; use its API, or another store."
        )
    if url.path is not None and not url.path.exists():
        raise ConfigError(
            f"There are no records in {url.path}: start dedupd once, or say by --config-file or "
            "--state-path which ones are meant."
        )
