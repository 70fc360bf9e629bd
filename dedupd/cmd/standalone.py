"""``dedupd standalone``: front and worker in one process, records in SQLite, queue in memory."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

import uvloop
from cliff.command import Command

from dedupd.cmd import logs, place, wiring
from dedupd.cmd.opening import Opening
from dedupd.cmd.serve import (
    listen,
    reread_on_hangup,
    serving,
    settle,
    stop_signals,
)
from dedupd.conf import Settings
from dedupd.conf.values import Address, StoreScheme

if TYPE_CHECKING:
    from dedupd.cmd.main import Dedupd

WELCOME = """\
dedupd listens on {front} and stands in front of {nova}
Records: {records}
"""

IMAGE = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
"""An image that the simulated Nova has."""

TRY_SIMULATED = """
Try it: the same POST three times makes one server, and gives one answer.

  curl -si {front}/v2.1/servers -H 'X-Auth-Token: demo:demo' -H 'X-Client-Token: my-first' \\
    -H 'Content-Type: application/json' \\
    -d '{{"server": {{"name": "one", "imageRef": "{image}", "flavorRef": "1"}}}}'
  curl -s '{front}/dedupd/v1/requests/my-first?live=true' -H 'X-Auth-Token: demo:demo'
  curl -s {front}/v2.1/servers -H 'X-Auth-Token: demo:demo'
"""

TRY_REAL = """
Try it: the same POST three times makes one keypair, and gives one answer.

  TOKEN=$(openstack token issue -f value -c id)
  curl -si {front}/v2.1/os-keypairs -H "X-Auth-Token: $TOKEN" -H 'X-Client-Token: my-first' \\
    -H 'Content-Type: application/json' -d '{{"keypair": {{"name": "my-first"}}}}'
"""


class Standalone(Command):
    """Front and worker in one process, on SQLite: nothing else to install or start.

    Without --nova (and without [nova] endpoint), against a small simulated Nova inside the
    process. What was accepted survives a kill -9: start it again on the same files. SIGTERM stops
    it gracefully; SIGHUP reads the logging options again.
    """

    app: Dedupd

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The command's options."""
        parser = super().get_parser(prog_name)
        place.add_nova(parser)
        parser.add_argument(
            "--listen", metavar="HOST:PORT", help="where to listen (default: 127.0.0.1:8775)"
        )
        place.add_state_path(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Serve until SIGTERM or SIGINT."""
        overrides = place.overrides(parsed_args)
        simulated = None
        defaults = {}
        if self._endpoint(overrides) is None:
            simulated = SimulatedCloud()
            defaults = {"nova.endpoint": simulated.url, "auth.strategy": "noauth"}
        settings = self.app.settings(defaults=defaults, overrides=overrides)
        logs.set_up(settings.options)
        self.app.warn_of_unknown(settings)
        uvloop.run(_serve(settings, simulated))
        return 0

    def _endpoint(self, overrides: dict[str, str]) -> str | None:
        """Nova's endpoint, whatever the rest of the configuration says."""
        peek = {"auth.strategy": "noauth", "api.listen": "127.0.0.1:0"}
        return self.app.settings(overrides=overrides | peek).nova.endpoint


class SimulatedCloud:
    """The simulated Nova inside this process, on a free port of loopback."""

    NAME = "simulated Nova"

    def __init__(self) -> None:
        self._listener = listen(Address("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serving(self) -> AbstractAsyncContextManager[None]:
        """Serve it beside a block."""
        from dedupd.sim import SimulatedNova
        from dedupd.sim.app import SimulatedNovaApp
        from dedupd.sim.server import AbortableProtocol

        logging.getLogger("uvicorn.error").addFilter(_matters)
        app = SimulatedNovaApp(SimulatedNova())
        return serving(app, self._listener, 1.0, AbortableProtocol, name=self.NAME)


def _matters(record: logging.LogRecord) -> bool:
    """Whether uvicorn says more than that the server of the simulated Nova starts or stops."""
    task = asyncio.current_task()
    simulated = task is not None and task.get_name() == SimulatedCloud.NAME
    return record.levelno > logging.INFO or not simulated


async def _serve(settings: Settings, simulated: SimulatedCloud | None) -> None:
    keys = wiring.load_keys(settings, create=True)
    async with AsyncExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        reread_on_hangup(settings)
        listener = listen(settings.api.listen)
        if simulated is not None:
            await stack.enter_async_context(simulated.serving())
        shared = await stack.enter_async_context(wiring.parts(settings, keys))
        shared.background.on_failure = stop.set
        opening = Opening(shared.store, shared.queue)
        await opening.once()
        service = await stack.enter_async_context(wiring.worker(shared))
        await service.start()
        stack.push_async_callback(service.stop)
        app = await stack.enter_async_context(wiring.front(shared, service, opening))
        stop_seconds = settings.worker.stop_seconds
        await stack.enter_async_context(serving(app, listener, stop_seconds, last_call=app.let_go))
        settle()
        host, port = listener.getsockname()[:2]
        sys.stdout.write(_welcome(settings, Address(host, port), simulated is not None))
        sys.stdout.flush()
        await stop.wait()
        shared.background.check()


def _welcome(settings: Settings, address: Address, simulated: bool) -> str:
    nova = "the built-in simulated Nova (--nova URL for a real one)"
    url = settings.store.url
    in_memory = url.scheme is StoreScheme.MEMORY
    text = WELCOME + (TRY_SIMULATED if simulated else TRY_REAL)
    return text.format(
        front=f"http://{address}",
        nova=nova if simulated else settings.nova.endpoint,
        records="in memory: gone when this process ends" if in_memory else url.path or url,
        image=IMAGE,
    )
