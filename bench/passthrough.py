"""dedupd's pass-through alone, without the rest of the front: what it costs by itself."""

from __future__ import annotations

import argparse

from starlette.types import Receive, Scope, Send

from bench.listen import listen
from dedupd.api.passthrough import PassThrough, open_upstream


class Application:
    """Opens the session with the first request, as uvicorn's loop runs by then."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.through: PassThrough | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange."""
        if self.through is None:
            self.through = PassThrough(open_upstream(), self.endpoint)
        await self.through(scope, receive, send)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--nova", required=True, help="URL to send on to")
    options = parser.parse_args()
    listen(Application(options.nova), options.port)


if __name__ == "__main__":
    main()
