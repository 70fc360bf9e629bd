from __future__ import annotations

from email.utils import parsedate_to_datetime

from starlette.types import Message

from dedupd.api.respond import respond
from dedupd.exchange import Answer


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
