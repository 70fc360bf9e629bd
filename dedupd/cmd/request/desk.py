"""Where an operator works: the configured store, opened beside whoever serves it."""

from __future__ import annotations

import argparse
import asyncio
import os
import pwd
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from oslo_log import log

from dedupd.cmd import place, wiring
from dedupd.conf import Settings
from dedupd.conf.values import StoreScheme, StoreUrl
from dedupd.errors import BadRequest, ConfigError, Conflict, NotFound, Unavailable
from dedupd.ports import Store, Stored
from dedupd.request import Record
from dedupd.seal import Keys

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd

LOG = log.getLogger(__name__)

DEADLINE_SECONDS = 60.0
"""How long one command may take."""

_ID = re.compile(r"[0-9a-f]{32}")

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """The configuration, the keys and the open store."""

    settings: Settings
    keys: Keys
    store: Store

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    @property
    def result_seconds(self) -> float:
        """How long an answer is kept."""
        return self.settings.retention.result_hours * wiring.HOUR

    async def find(self, request_id: str) -> Stored:
        """The record with this id.

        Raises:
            BadRequest: it is no id.
            NotFound: there is none.
        """
        if _ID.fullmatch(request_id) is None:
            raise BadRequest(
                f"{request_id!r} is no request's id: that is 32 hexadecimal digits, as `dedupd "
                "request list` shows them."
            )
        stored = (await self.store.read([request_id])).get(request_id)
        if stored is None:
            raise NotFound(f"There is no request {request_id}; `dedupd request list` shows them.")
        return stored

    async def move(self, before: Record, after: Record, result: bytes | None = None) -> Record:
        """One compare-and-swap; gives the record as it stands then.

        Raises:
            Conflict: it has moved meanwhile; nothing was changed.
        """
        written = await self.store.swap(before, after, result=result)
        if written is None:
            raise await self.overtaken(before)
        self.log(written, after.detail)
        return written

    async def overtaken(self, before: Record) -> Conflict:
        """The error of an action that came too late."""
        stored = (await self.store.read([before.id])).get(before.id)
        now = f"it is {stored.record.state.label} now" if stored else "it is gone"
        return Conflict(
            f"Request {before.id} was {before.state.label} and has moved meanwhile: {now}. "
            "Nothing was changed."
        )

    def log(self, record: Record, deed: str) -> None:
        """Write down what was done to a record, where the configuration sends logs and here."""
        self.settings.options.set_override("use_stderr", True)  # else stdout, if there is no file
        log.setup(self.settings.options, "dedupd")
        LOG.info("%s: %s (project %s)", record.id, deed, record.project_id)


def add_id(parser: argparse.ArgumentParser) -> None:
    """Add the request's id, and where its record is."""
    place.add_state_path(parser)
    parser.add_argument("id", metavar="ID", help="the request's id, as `dedupd request list` shows")


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


@asynccontextmanager
async def _desk(app: Dedupd, arguments: argparse.Namespace) -> AsyncIterator[Desk]:
    settings = app.settings(overrides=place.overrides(arguments) | place.NO_FRONT)
    _refuse_without_records(settings.store.url)
    keys = wiring.load_keys(settings, create=False)
    store = wiring.open_store(settings, keys, exclusive=False)
    await store.open()
    try:
        yield Desk(settings, keys, store)
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
