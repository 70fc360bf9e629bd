"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dedupd.errors import DedupdError
from dedupd.metrics import Metrics

READY_SECONDS = 3.0
"""How long all checks together may take."""

Check = Callable[[], Awaitable[None]]
"""Returns if all is well.

Raises:
    DedupdError: it is not; the message says what.
"""


@dataclass(frozen=True)
class Health:
    """The handlers; no credentials are needed, and nothing is told but names and errors."""

    checks: Mapping[str, Check]
    metrics: Metrics

    async def live(self, request: Request) -> Response:
        """200 as long as the event loop turns."""
        return Response(b'{"status": "ok"}', media_type="application/json")

    async def ready(self, request: Request) -> Response:
        """200 where every check passes, else 503; the body names each."""
        results = dict(zip(self.checks, await self._run(), strict=True))
        passed = all(result == "ok" for result in results.values())
        return Response(
            msgspec.json.encode({"status": "ok" if passed else "failed", "checks": results}),
            status_code=200 if passed else 503,
            media_type="application/json",
        )

    async def prometheus(self, request: Request) -> Response:
        """The metrics in Prometheus' text format."""
        return Response(self.metrics.render(), media_type="text/plain; version=0.0.4")

    async def _run(self) -> list[str]:
        return await asyncio.gather(*(_outcome(check) for check in self.checks.values()))


async def _outcome(check: Check) -> str:
    try:
        async with asyncio.timeout(READY_SECONDS):
            await check()
    except DedupdError as error:
        return error.message
    except TimeoutError:
        return f"no answer within {READY_SECONDS:g} s"
    return "ok"
