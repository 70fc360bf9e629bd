"""``dedupd api`` and ``dedupd worker``: the two halves as services of their own."""

from __future__ import annotations

import argparse
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import uvloop
from cliff.command import Command
from oslo_log import log
from starlette.applications import Starlette

from dedupd.api.app import health_resources
from dedupd.cmd import logs, wiring
from dedupd.cmd.opening import Opening, unless_stopped
from dedupd.cmd.processes import Processes
from dedupd.cmd.scratch import scratch_directory
from dedupd.cmd.serve import (
    listen,
    reread_on_hangup,
    reserved,
    serving,
    settle,
    stop_signals,
)
from dedupd.conf import Settings
from dedupd.conf.queue_url import QueueScheme
from dedupd.conf.values import Address, StoreScheme
from dedupd.errors import ConfigError
from dedupd.metrics import Place
from dedupd.seal import Keys

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd

LOG = log.getLogger(__name__)


class Api(Command):
    """Run a front in the foreground: clients talk to it, workers do the work.

    Needs a store and a queue that other processes share ([store] url, [queue] url); while they are
    away, it passes on what has no client token. SIGTERM stops it gracefully: it takes no more
    callers, and those that wait are answered within [worker] stop_seconds; a second one stops it
    at once. SIGHUP reads the logging options again.
    """

    app: Dedupd

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Serve until SIGTERM or SIGINT."""
        settings = _shared(self.app.settings())
        logs.set_up(settings.options)
        self.app.warn_of_unknown(settings)
        keys = wiring.load_keys(settings, create=False)
        if settings.api.workers == 1:
            uvloop.run(_serve(settings, keys, settings.api.listen))
            return 0
        return _run_processes(settings, keys)


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
        logs.set_up(settings.options)
        self.app.warn_of_unknown(settings)
        uvloop.run(_work(settings, wiring.load_keys(settings, create=False)))
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


def _run_processes(settings: Settings, keys: Keys) -> int:
    """Several fronts on one address, which count together; their exit status."""
    with (
        reserved(settings.api.listen) as address,
        scratch_directory() as directory,
    ):

        def run(number: int) -> None:
            uvloop.run(_serve(settings, keys, address, Place(directory, number)))

        return Processes(settings.api.workers, run).run()


async def _serve(
    settings: Settings, keys: Keys, address: Address, place: Place | None = None
) -> None:
    """One front; one of several where it has a place."""
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        reread_on_hangup(settings)
        listener = listen(address, share=place is not None)
        shared = await stack.enter_async_context(wiring.parts(settings, keys, place))
        shared.background.on_failure = stop.set
        opening = Opening(shared.store, shared.queue)
        app = await stack.enter_async_context(wiring.front(shared, None, opening))
        stop_seconds = settings.worker.stop_seconds
        await stack.enter_async_context(serving(app, listener, stop_seconds, last_call=app.let_go))
        settle()
        sys.stdout.write(f"dedupd api listens on port {listener.getsockname()[1]}\n")
        sys.stdout.flush()
        if await unless_stopped(stop, opening.run()):
            LOG.info("Ready")
        await stop.wait()
        shared.background.check()


async def _work(settings: Settings, keys: Keys) -> None:
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        reread_on_hangup(settings)
        listener = listen(settings.worker.health_listen, option="[worker] health_listen")
        shared = await stack.enter_async_context(wiring.parts(settings, keys))
        shared.background.on_failure = stop.set
        opening = Opening(shared.store, shared.queue)
        service = await stack.enter_async_context(wiring.worker(shared))
        health: Starlette = health_resources(wiring.health(shared, service, opening))
        await stack.enter_async_context(serving(health, listener, 1.0))
        settle()
        sys.stdout.write(f"dedupd worker answers on port {listener.getsockname()[1]}\n")
        sys.stdout.flush()
        if await unless_stopped(stop, opening.run(service.start)):
            LOG.info("Ready")
            stack.push_async_callback(service.stop)
        await stop.wait()
        shared.background.check()
