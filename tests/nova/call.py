"""Plain HTTP, one request on a connection of its own: nothing is retried, nothing is reused."""

import http.client
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """As they came: in order, in their own case, repeated where they were."""
    body: bytes

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first header of that name, in whatever case."""
        return next(self.all_headers(name), None)

    def all_headers(self, name: str) -> Iterator[str]:
        """Every header of that name, in whatever case."""
        return (value for key, value in self.headers if key.lower() == name.lower())


def call(
    method: str,
    url: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    seconds: float = SECONDS,
) -> Answer:
    """Send a request and read the whole answer.

    `body` goes out as it is when it is bytes, else as JSON.

    Raises:
        OSError, http.client.HTTPException: there was no whole answer.
    """
    sent = {"Content-Type": "application/json"} if body is not None else {}
    sent.update(headers or {})
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    address = urllib.parse.urlsplit(url)
    path = urllib.parse.urlunsplit(("", "", address.path, address.query, ""))
    connection = http.client.HTTPConnection(address.netloc, timeout=seconds)
    try:
        connection.request(method, path, content, sent)
        answer = connection.getresponse()
        return Answer(answer.status, tuple(answer.getheaders()), answer.read())
    finally:
        connection.close()
