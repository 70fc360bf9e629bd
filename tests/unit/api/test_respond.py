from __future__ import annotations

from email.utils import parsedate_to_datetime

from starlette.responses import Response
from starlette.types import Message

from dedupd.api.respond import Dated, respond
from dedupd.exchange import Answer
from tests.unit.asgi import call


async def test_an_answer_goes_out_whole_with_length_and_date() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(dict(message))

    headers = ((b"Vary", b"a"), (b"Vary", b"b"))
    await respond(send, Answer(202, headers, b"body"), 1_800_000_000.5)
    start, body = sent
    assert (start["status"], body["body"]) == (202, b"body")
    *kept, length, (name, date) = start["headers"]
    assert tuple(kept) == headers
    assert length == (b"Content-Length", b"4")
    assert name == b"Date"
    assert parsedate_to_datetime(date.decode()).timestamp() == 1_800_000_000
    assert date.endswith(b" GMT")


async def test_what_an_application_answers_is_dated() -> None:
    app = Dated(Response(b"body", 200, {"X-Kept": "yes"}), lambda: 1_800_000_000.5)
    reply = await call(app, "GET", "/")
    assert (reply.status, reply.body, reply.header("x-kept")) == (200, b"body", "yes")
    assert reply.header("date") == "Fri, 15 Jan 2027 08:00:00 GMT"
