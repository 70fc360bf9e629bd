"""``dedupd api`` and ``dedupd worker``: the two halves as services of their own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import uvloop
from cliff.command import Command
from oslo_log import log
from starlette.applications import Starlette

from dedupd.api.app import health_resources
from dedupd.cmd import wiring
from dedupd.cmd.processes import Processes
from dedupd.cmd.serve import listen, serving, set_up_logging, settle, stop_signals
from dedupd.conf import Settings
from dedupd.conf.queue_url import QueueScheme
from dedupd.conf.values import StoreScheme
from dedupd.errors import ConfigError

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd

LOG = log.getLogger(__name__)


class Api(Command):
    """Run a front in the foreground: clients talk to it, workers do the work.

    Needs a store and a queue that other processes share ([store] url, [queue] url). SIGTERM stops
    it gracefully, a second one at once; SIGHUP reads the logging options again.
    """

    app: Dedupd

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Serve until SIGTERM or SIGINT."""
        settings = _shared(self.app.settings())
        if settings.api.workers == 1:
            _run_front(settings, share=False)
            return 0
        return Processes(settings.api.workers, lambda: _run_front(settings, share=True)).run()


class Worker(Command):
    """Run a worker in the foreground: it carries requests out, and answers /healthz and /metrics.

    Needs a store and a queue that other processes share ([store] url, [queue] url). SIGTERM stops
    it gracefully: it takes nothing more, finishes what is under way for [worker] stop_seconds and
    hands back the rest; a second one stops it at once. SIGHUP reads the logging options again.
    """

    app: Dedupd

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Work until SIGTERM or SIGINT."""
        settings = _shared(self.app.settings())
        set_up_logging(settings.options)
        uvloop.run(_work(settings))
        return 0


def _shared(settings: Settings) -> Settings:
    """The settings, if front and worker can meet.

    Raises:
        ConfigError: store or queue are this process's own.
    """
    if settings.store.url.scheme in (StoreScheme.SQLITE, StoreScheme.MEMORY):
        raise ConfigError(
            "[store] url names a store of one process; front and worker as services of their own "
            "need etcd://HOST:2379. For one process, run `dedupd standalone`."
        )
    if settings.queue.url.scheme is QueueScheme.MEMORY:
        raise ConfigError(
            "[queue] url names a queue of one process; front and worker as services of their own "
            "need amqp://HOST:5672//. For one process, run `dedupd standalone`."
        )
    return settings


def _run_front(settings: Settings, *, share: bool) -> None:
    set_up_logging(settings.options)
    uvloop.run(_serve(settings, share=share))


async def _serve(settings: Settings, *, share: bool) -> None:
    keys = wiring.load_keys(settings, create=False)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        _reread_on_hangup(settings)
        listener = listen(settings.api.listen, share=share)
        shared = await stack.enter_async_context(wiring.parts(settings, keys))
        app = await stack.enter_async_context(wiring.front(shared, None))
        await stack.enter_async_context(serving(app, listener, settings.worker.stop_seconds))
        settle()
        sys.stdout.write(f"dedupd api listens on port {listener.getsockname()[1]}\n")
        sys.stdout.flush()
        await stop.wait()


async def _work(settings: Settings) -> None:
    keys = wiring.load_keys(settings, create=False)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        _reread_on_hangup(settings)
        listener = listen(settings.worker.health_listen)
        shared = await stack.enter_async_context(wiring.parts(settings, keys))
        service = await stack.enter_async_context(wiring.worker(shared))
        health: Starlette = health_resources(wiring.health(shared, service))
        await stack.enter_async_context(serving(health, listener, 1.0))
        settle()
        sys.stdout.write(f"dedupd worker answers on port {listener.getsockname()[1]}\n")
        sys.stdout.flush()
        await stop.wait()


def _reread_on_hangup(settings: Settings) -> None:
    """On SIGHUP, read again what oslo calls mutable: today the logging options."""

    def reread() -> None:
        settings.options.mutate_config_files()
        LOG.info("The configuration files were read again")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reread)
