"""The Cloud port on the simulated Nova, without a network: what goes wrong there is done here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from dedupd.exchange import Answer, Call, Headers
from dedupd.ports import Lost, NotSent
from dedupd.sim.faults import Effect, Fate, Faults, Rule
from dedupd.sim.nova.simulated_nova import SimulatedNova
from dedupd.sim.nova.world import Settings


@dataclass(frozen=True)
class Sent:
    """One exchange: when it began, what went out, and whether over a connection of its own."""

    when: float
    call: Call
    afresh: bool

    @property
    def path(self) -> str:
        return urlsplit(self.call.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.call.target).query, keep_blank_values=True))

    @property
    def document(self) -> Any:
        return msgspec.json.decode(self.call.body)

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.call.headers if key.lower() == name.encode()]
        assert len(found) < 2, f"{name} was sent twice"
        return found[0].decode() if found else None


async def _nothing(_call: Call) -> None:
    """Before a send, by default."""


class SimulatedCloud:
    """``dedupd.ports.Cloud``: carries calls to a simulated Nova, as faithfully as its rules let it.

    ``script``: what the next POSTs meet in the place of Nova, one entry for each. ``before_send``:
    called before anything happens to a call. ``sent``: every call, in order; ``on_sent`` hears of
    each. ``made``: Nova's answers to POSTs, also to those that never reached anybody.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        settings: Settings | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> None:
        self.clock = clock
        self._on_sent = on_sent
        self.nova = SimulatedNova(clock=clock, seed=1, settings=settings)
        self.faults = Faults()
        self.script: deque[Answer | Exception] = deque()
        self.before_send: Callable[[Call], Awaitable[None]] = _nothing
        self.sent: list[Sent] = []
        self.made: list[Answer] = []

    def torment(self, *rules: Rule) -> None:
        """Put these rules into force, and no others."""
        self.faults.replace(msgspec.json.encode(rules))

    def posts(self) -> list[Sent]:
        return self.of("POST")

    def of(self, method: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.call.method == method]

    def ask(self, method: str, target: str, token: str, version: str = "2.96") -> Answer:
        """What somebody else does in the same cloud, past dedupd and past all faults."""
        wanted = (b"OpenStack-API-Version", f"compute {version}".encode())
        return self.carry_out(Call(method, target, ((b"X-Auth-Token", token.encode()), wanted)))

    async def send(
        self,
        call: Call,
        timeout: float,
        permitted: Callable[[], bool] = lambda: True,
        *,
        afresh: bool = False,
    ) -> Answer:
        """See ``Cloud.send``."""
        if not permitted():
            raise NotSent("Not permitted.")
        self.sent.append(Sent(self.clock(), call, afresh))
        self._on_sent()
        await self.before_send(call)
        if call.method == "POST" and self.script:
            return _met(self.script.popleft())
        fate = self.faults.strike(call.method, call.target.partition("?")[0])
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(fate, call)
        except TimeoutError:
            raise Lost("no answer in time") from None

    async def _exchange(self, fate: Fate, call: Call) -> Answer:
        """An effect that is on its way comes, whether or not anybody still waits for it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        if fate.effect is not Effect.NEVER:
            loop.call_later(fate.before, lambda: answer.set_result(self.carry_out(call)))
        if fate.effect is Effect.IN_TIME:
            await asyncio.shield(answer)
        await asyncio.sleep(fate.after)
        if fate.status is None:
            return answer.result()
        if fate.status == 0:
            raise Lost("the connection was closed without a byte")
        return Answer(fate.status, ((b"Content-Type", b"text/plain"),), b"injected fault\n")

    def carry_out(self, call: Call) -> Answer:
        headers = ((name.decode(), value.decode()) for name, value in call.headers)
        told = self.nova.handle(call.method, call.target, headers, call.body)
        fields: Headers = tuple((name.encode(), value.encode()) for name, value in told.headers)
        answer = Answer(told.status, fields, told.body)
        if call.method == "POST":
            self.made.append(answer)
        return answer


def _met(what: Answer | Exception) -> Answer:
    if isinstance(what, Exception):
        raise what
    return what
