"""Reading a request's body whole, up to a limit."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive

from dedupd.errors import BodyTooLarge
from dedupd.exchange import header


async def read_body(
    receive: Receive, headers: Iterable[tuple[bytes, bytes]], max_bytes: int
) -> bytes:
    """The body; where its length is announced, a larger one is refused before it is read.

    Raises:
        BodyTooLarge: more than ``max_bytes``.
        ClientGone: from ``receive``.
    """
    announced = header(headers, b"content-length")
    if announced is not None and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= max_bytes:
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False) and size <= max_bytes:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > max_bytes:
        raise _too_large(max_bytes)
    return b"".join(parts)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The body is larger than {max_bytes} bytes ([api] max_body_bytes); nothing was stored. "
        "Send less, or send it without a token."
    )
