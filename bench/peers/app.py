"""The peers: other ways to let a POST be repeated, in front of the same stub, doing the same work.

    .venv-bench/bin/python bench/peers/app.py PEER --port N --nova URL [--state DIR] [--redis PORT]

``starlette`` answers a POST by itself, without a token, a store or Nova: the most that uvicorn and
Starlette can do. All others carry the request on to the stub with aiohttp and answer what it
answers; the middleware named keeps the answers, in the store named.

fastapi-idempotency comes with a store for Tortoise ORM, used here with SQLite as that sets it up
(WAL, synchronous=FULL: durable, as dedupd is). It has none for Redis: the one below is the least
that its protocol asks for. asgi-idempotency-header keeps the token and the body, no fingerprint,
and no headers but its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]

RELEASE = """
if redis.call('HGET', KEYS[1], 'version') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
RENEW = """
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
COMPLETE = """
if redis.call('HGET', KEYS[1], 'version') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'response', ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""
CLAIM = """
if redis.call('EXISTS', KEYS[1]) == 1 then
    return redis.call('HMGET', KEYS[1], 'fingerprint', 'response')
end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'version', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return false
"""


class RedisStore:
    """fastapi-idempotency's ``Store`` on Redis: each method is one script, so one round trip."""

    def __init__(self, port: int) -> None:
        redis = importlib.import_module("redis.asyncio").Redis(port=port)
        self.package = importlib.import_module("fastapi_idempotency")
        self.on_claim = redis.register_script(CLAIM)
        self.on_renew = redis.register_script(RENEW)
        self.on_complete = redis.register_script(COMPLETE)
        self.on_release = redis.register_script(RELEASE)

    async def claim(
        self, *, key: str, scope: str, fingerprint: str, explicit: bool, lease_seconds: float
    ) -> Any:
        """Takes the key, or tells what is there."""
        version = uuid.uuid4().hex
        values = [fingerprint, version, int(lease_seconds * 1000)]
        found = await self.on_claim(keys=[key], args=values)
        if found is None:
            return self.package.Claim(key=key, scope=scope, explicit=explicit, version=version)
        if found[0].decode() != fingerprint:
            raise self.package.ConflictingRequestError(key)
        if found[1] is None:
            return None
        status, headers, body = json.loads(found[1])
        headers = [tuple(field) for field in headers]
        return self.package.StoredResponse(status, headers, body.encode("latin-1"))

    async def renew(self, claim: Any, lease_seconds: float) -> Any:
        """Prolongs the lease."""
        values = [claim.version, int(lease_seconds * 1000)]
        return claim if await self.on_renew(keys=[claim.key], args=values) else None

    async def complete(self, claim: Any, response: Any, ttl_seconds: float) -> bool:
        """Keeps the answer."""
        body = bytes(response.body).decode("latin-1")
        kept = json.dumps([response.status_code, list(response.headers), body])
        values = [claim.version, kept, int(ttl_seconds * 1000)]
        return bool(await self.on_complete(keys=[claim.key], args=values))

    async def release(self, claim: Any) -> None:
        """Gives the key up."""
        await self.on_release(keys=[claim.key], args=[claim.version])

    async def forget_previous_automatic(self, scope: str, keep: str) -> None:
        """Nothing: the measurements always send a key."""

    async def cleanup(self) -> None:
        """Nothing: Redis forgets by itself."""


def forward(endpoint: str) -> Endpoint:
    """A route that carries a request on to the stub."""
    session: list[aiohttp.ClientSession] = []

    async def route(request: Request) -> Response:
        if not session:
            session.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        body = await request.body()
        headers = {"Content-Type": "application/json"}
        headers["X-Auth-Token"] = request.headers.get("x-auth-token", "")
        url = endpoint + request.url.path
        async with session[0].request(request.method, url, data=body, headers=headers) as answer:
            content = await answer.read()
            kept = {"Location": answer.headers.get("Location", "")}
            kind = answer.content_type
            return Response(content, answer.status, kept, kind)

    return route


async def accepted(request: Request) -> Response:
    """Reads the body and answers by itself."""
    await request.body()
    return Response(b'{"server": {}}', 202, media_type="application/json")


def bare(options: argparse.Namespace) -> Starlette:
    del options  # it stores nothing and asks nobody
    return Starlette(routes=[Route("/v2.1/servers", accepted, methods=["POST"])])


def plain(options: argparse.Namespace, lifespan: Any = None) -> Starlette:
    route = Route("/v2.1/servers", forward(options.nova), methods=["POST"])
    return Starlette(routes=[route], lifespan=lifespan)


def with_redis(options: argparse.Namespace) -> Starlette:
    package = importlib.import_module("fastapi_idempotency")
    app = plain(options)
    app.add_middleware(package.IdempotencyMiddleware, store=RedisStore(options.redis))
    return app


def with_sqlite(options: argparse.Namespace) -> Starlette:
    package = importlib.import_module("fastapi_idempotency")
    models = importlib.import_module("fastapi_idempotency.stores.tortoise")
    tortoise = importlib.import_module("tortoise").Tortoise

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await tortoise.init(
            db_url=f"sqlite://{options.state}/peer.db",
            modules={"models": [models.__name__]},
            _enable_global_fallback=True,  # requests run in contexts of their own
        )
        await tortoise.generate_schemas()
        yield
        await tortoise.close_connections()

    app = plain(options, lifespan)
    app.add_middleware(package.IdempotencyMiddleware, store=models.TortoiseStore())
    return app


def header_in_memory(options: argparse.Namespace) -> Starlette:
    package = importlib.import_module("idempotency_header_middleware")
    backends = importlib.import_module("idempotency_header_middleware.backends")
    app = plain(options)
    app.add_middleware(package.IdempotencyHeaderMiddleware, backend=backends.MemoryBackend())
    return app


def header_in_redis(options: argparse.Namespace) -> Starlette:
    package = importlib.import_module("idempotency_header_middleware")
    backend = importlib.import_module("idempotency_header_middleware.backends.redis").RedisBackend
    redis = importlib.import_module("redis.asyncio").Redis(port=options.redis)
    app = plain(options)
    app.add_middleware(package.IdempotencyHeaderMiddleware, backend=backend(redis))
    return app


PEERS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "starlette": bare,
    "fastapi-idempotency-sqlite": with_sqlite,
    "fastapi-idempotency-redis": with_redis,
    "asgi-idempotency-header-memory": header_in_memory,
    "asgi-idempotency-header-redis": header_in_redis,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--nova", required=True, help="the stub's URL")
    parser.add_argument("--state", help="where a database may lie")
    parser.add_argument("--redis", type=int, help="port of a Redis on this machine")
    options = parser.parse_args()
    uvicorn.run(
        PEERS[options.peer](options),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        proxy_headers=False,
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="warning",
        backlog=8192,
    )


if __name__ == "__main__":
    main()
