"""The bare chain: what dedupd waits for at one request, and nothing else.

    python -m bench.bare front|worker --etcd HOST:PORT --amqp URL --nova URL --port N

The front writes a key to etcd, publishes its name to a quorum queue, and waits for the watch to
bring the last write. The worker writes the key, POSTs, and writes it once more. That is the order
of dedupd's promises, three durable writes one after the other, with no records, no seals, no
compare-and-swaps, no deadlines and no threads but gRPC's: the yardstick for how long one request
takes alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import uvloop
from amqp.basic_message import Message
from amqp.connection import Connection
from grpc import aio
from starlette.types import Receive, Scope, Send

from bench.listen import listen
from bench.proxy import read
from dedupd.store.etcd_stubs import rpc

QUEUE = "bare"
VALUE = os.urandom(800)
"""As long as a packed record with what it carries."""

WATCHED = b"/bare/done/"
KEPT = b"/bare/begun/"


class Engines:
    """One connection to etcd, and one to RabbitMQ, which the loop itself serves.

    Args:
        options: Where they are.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.etcd = aio.insecure_channel(options.etcd)
        self._kv = rpc.KVStub(self.etcd)
        url = urlsplit(options.amqp)
        self._amqp = Connection(
            f"{url.hostname}:{url.port}", userid=url.username, password=url.password
        )
        self._amqp.connect()
        self.channel = self._amqp.channel()
        arguments = {"x-queue-type": "quorum"}
        self.channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=arguments)

    def listen(self) -> None:
        """From now on the loop reads what RabbitMQ sends: nothing may wait for its answers.

        It makes the socket non-blocking, so that reading ends where there is nothing left.
        """
        asyncio.get_running_loop().add_reader(self._amqp.sock.fileno(), self._drain)

    def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self._amqp.blocking_read()

    async def put(self, key: bytes) -> None:
        """One durable write."""
        await self._kv.Put(rpc.PutRequest(key=key, value=VALUE))


class Front:
    """An ASGI application."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._engines: Engines | None = None
        self._numbers = itertools.count()
        self._waiting: dict[bytes, asyncio.Future[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if self._engines is None:
            self._engines = Engines(self._options)
            self._engines.listen()
            await self._begin_to_watch(self._engines.etcd)
        await read(receive)
        name = str(next(self._numbers)).encode()
        ended = self._waiting[name] = asyncio.get_running_loop().create_future()
        await self._engines.put(KEPT + name)
        self._engines.channel.basic_publish(Message(name, delivery_mode=2), "", QUEUE)
        await ended
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": VALUE})

    async def _begin_to_watch(self, etcd: Any) -> None:
        create = rpc.WatchCreateRequest(key=WATCHED, range_end=WATCHED[:-1] + b"0")
        call = rpc.WatchStub(etcd).Watch()
        await call.write(rpc.WatchRequest(create_request=create))
        await call.read()  # that it has begun
        self._watching = asyncio.create_task(self._watch(call))
        # Without it every caller would wait for ever: broken connections are counted as errors.
        self._watching.add_done_callback(lambda _: os._exit(1))

    async def _watch(self, call: Any) -> None:
        while (answer := await call.read()) is not aio.EOF:
            for event in answer.events:
                self._waiting.pop(event.kv.key.removeprefix(WATCHED)).set_result(None)


async def work(options: argparse.Namespace) -> None:
    """Serves the queue until the process is told to stop."""
    engines = Engines(options)
    running = set[asyncio.Task[None]]()
    async with aiohttp.ClientSession() as session:

        async def carry_out(message: Message) -> None:
            name = bytes(message.body)
            await engines.put(KEPT + name)
            async with session.post(f"{options.nova}/v2.1/servers", data=VALUE) as answer:
                await answer.read()
            await engines.put(WATCHED + name)
            engines.channel.basic_ack(message.delivery_tag)

        def begin(message: Message) -> None:
            task = asyncio.create_task(carry_out(message))
            running.add(task)
            task.add_done_callback(running.discard)

        engines.channel.basic_qos(0, 256, False)
        engines.channel.basic_consume(QUEUE, callback=begin)
        engines.listen()
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", options.port)
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("role", choices=("front", "worker"))
    parser.add_argument("--etcd", required=True)
    parser.add_argument("--amqp", required=True)
    parser.add_argument("--nova", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    if options.role == "worker":
        uvloop.run(work(options))
    else:
        listen(Front(options), options.port)


if __name__ == "__main__":
    main()
