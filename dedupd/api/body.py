"""Reading a request's body whole, up to a limit."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Receive

from dedupd.api.disconnect import BODY_BYTES_PER_SECOND
from dedupd.errors import BadRequest, BodyTooLarge, RequestTimeout
from dedupd.exchange import header

DISCARDED_BYTES = 16 * 1024 * 1024
"""How much of a refused body is still taken in, so that the client reads why instead of a reset."""


def announced_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """The length of a request's body, 0 without one, None where only its end will tell."""
    length: int | None = 0
    for name, value in headers:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = int(value)
    return length


def check_coding(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse a transfer coding that cannot be undone here, so not be redone towards Nova.

    Raises:
        BadRequest: another one than chunked.
    """
    coding = header(headers, b"transfer-encoding") or b"chunked"
    if coding.strip().lower() != b"chunked":
        raise BadRequest(
            f"Transfer-Encoding {coding.decode('latin-1')!r} is not supported: use chunked."
        )


def too_slow(seconds: float) -> RequestTimeout:
    """The error for a caller whose body did not come in time."""
    return RequestTimeout(
        f"The request's body did not come within {seconds:g} s ([api] body_timeout), and a "
        f"second more for each {BODY_BYTES_PER_SECOND} bytes of it. Repeat the request."
    )


class Body:
    """One request's body; read it, or discard it, once.

    Args:
        receive: The request's ASGI receive, or one that raises ClientGone.
        headers: The request's headers.
        max_bytes: The largest body that is read.
    """

    def __init__(
        self, receive: Receive, headers: Iterable[tuple[bytes, bytes]], max_bytes: int
    ) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._headers = headers
        self._announced = announced_length(headers) or 0
        self._more = True

    async def read(self) -> bytes:
        """The body; where its length is announced, a larger one is refused unread.

        Raises:
            BadRequest: from ``check_coding``.
            BodyTooLarge: more than ``max_bytes``.
            ClientGone: from ``receive``.
        """
        check_coding(self._headers)
        if self._announced > self._max_bytes:
            raise self._too_large()
        part = await self._next()
        if not self._more and len(part) <= self._max_bytes:
            return part
        parts, size = [part], len(part)
        while self._more and size <= self._max_bytes:
            parts.append(await self._next())
            size += len(parts[-1])
        if size > self._max_bytes:
            raise self._too_large()
        return b"".join(parts)

    async def discard(self) -> None:
        """Take in what is left, within reason: an unread body would reset the answer's connection.

        Raises:
            ClientGone: from ``receive``.
        """
        size = 0
        while self._more and max(size, self._announced) <= DISCARDED_BYTES:
            size += len(await self._next())

    async def _next(self) -> bytes:
        message = await self._receive()
        self._more = message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body is larger than {self._max_bytes} bytes ([api] max_body_bytes); nothing was "
            "stored. Send less, or send it without a token."
        )
