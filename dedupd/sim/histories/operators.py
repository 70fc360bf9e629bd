"""An operator at work beside the fronts and the workers, with the deeds of ``dedupd request``.

A *careful* one settles an unknown after the settle time, as Nova shows it, and cancels what was not
sent. A *careless* one decides without looking, and forgets records; that is for him to answer for.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Sequence

from dedupd.cloud.ask import CannotAsk
from dedupd.cloud.probes.base import Absent
from dedupd.cloud.routes import probes
from dedupd.cmd.request import deeds
from dedupd.cmd.request.deeds import Desk
from dedupd.errors import DedupdError
from dedupd.request import Record, State
from dedupd.sim.histories.cloud import HostileCloud, watched
from dedupd.sim.histories.faults import Operation
from dedupd.sim.histories.intents import Intent
from dedupd.sim.histories.invariants import made_by
from dedupd.sim.histories.programs import ASK_SECONDS, CONNECT_SECONDS, LEASE_SECONDS, Terms
from dedupd.sim.histories.stage import Node
from dedupd.sim.histories.store import HostileStore
from dedupd.worker.job import Opener

PATIENCE_SECONDS = 3.0
"""How much longer than the settle time a careful one waits: clocks differ."""

QUICKEST_SECONDS = LEASE_SECONDS + 2.0
"""How soon after the doubt a careless one decides at the earliest."""


class Care(enum.StrEnum):
    """Whether an operator looks before it decides."""

    CAREFUL = "careful"
    CARELESS = "careless"


class OperatorStore(HostileStore):
    """The store as an operator's command sees it: what it forgets is on its own account."""

    def _forgotten(self, record: Record) -> None:
        self._node.stage.ledger.forgotten_by_hand(record)


class Operator:
    """Somebody who sees to requests by hand.

    Args:
        node: Where the commands run.
        chance: Decides what is done, and when.
        intents: What there may be records of.
        terms: How the installation is configured.
    """

    def __init__(
        self,
        node: Node,
        chance: random.Random,
        care: Care,
        intents: Sequence[Intent],
        terms: Terms,
    ) -> None:
        self._node = node
        self._ledger = node.stage.ledger
        self._chance = chance
        self._care = care
        self._intents = intents
        self._terms = terms
        self._first_looks: dict[tuple[str, float], float] = {}
        cloud = HostileCloud(node, Operation.OPERATOR_QUESTION, CONNECT_SECONDS)
        self._opener = Opener(
            node.stage.keys, cloud, None, ASK_SECONDS, watched(probes(), node.stage)
        )
        self._desk = Desk(
            keys=node.stage.keys,
            store=OperatorStore(node, Operation.OPERATOR_STORE),
            clock=node.clock,
            result_seconds=terms.result,
            operator="operator",
            written=lambda record, deed: node.stage.chronicle.note(node.name, deed, record.id[:8]),
        )

    async def run(self) -> None:
        """Go from request to request until the history ends."""
        while True:
            await asyncio.sleep(0.3 + 3.0 * self._chance.random())
            intent = self._chance.choice(self._intents)
            try:
                await self._see_to(intent)
            except (DedupdError, CannotAsk) as error:
                self._node.stage.chronicle.note(self._node.name, "fails", str(error)[:60])

    async def _see_to(self, intent: Intent) -> None:
        record = (await self._desk.find(intent.id)).record
        if record.state is State.UNKNOWN:
            settle = self._settle if self._care is Care.CAREFUL else self._decide
            await settle(intent, record)
        elif record.state is State.QUEUED and self._chance.random() < 0.3:
            await deeds.cancel(self._desk, record.id)
        elif self._care is Care.CARELESS and self._chance.random() < 0.4:
            await self._forget(record)

    async def _settle(self, intent: Intent, record: Record) -> None:
        """Look in Nova when nothing can come any more, and say what there is.

        That is some time after the first look, which came behind what waited.
        """
        answered = self._node.clock() + self._node.stage.door_opens_in
        sent = record.id, record.sending.started_at
        doubted = max(self._first_looks.setdefault(sent, answered), record.sending.send_deadline)
        if self._node.clock() < doubted + self._terms.settle + PATIENCE_SECONDS:
            return
        made = made_by(self._node.stage, intent).surviving
        if made:
            await self._adopt(record, made[0])
        else:
            self._ledger.looked(intent.id, self._node.stage.loop.time(), Absent())
            await self._chance.choice((deeds.fail, deeds.send_again))(self._desk, record)

    async def _decide(self, intent: Intent, record: Record) -> None:
        """Settle it, or forget it, whatever there is; nobody is so quick as a lease is short."""
        doubtful_since = record.sending.ended_at or record.sending.send_deadline
        if self._node.clock() < doubtful_since + QUICKEST_SECONDS:
            return
        made = made_by(self._node.stage, intent).surviving
        deed = self._chance.choice(("fail", "send again", "adopt", "forget"))
        if deed == "forget" or (deed == "adopt" and not made):
            await self._forget(record)  # counted when it is done
            return
        self._ledger.careless[intent.id] += 1
        if deed == "adopt":
            await self._adopt(record, self._chance.choice(made))
        else:
            settle = deeds.fail if deed == "fail" else deeds.send_again
            await settle(self._desk, record)

    async def _adopt(self, record: Record, resource_id: str) -> None:
        stored = await self._desk.find_unknown(record.id)
        await deeds.adopt(self._desk, self._opener.open(stored), resource_id)

    async def _forget(self, record: Record) -> None:
        deeds.check_forgettable(record, force=False)
        await deeds.forget(self._desk, record)
        self._ledger.forgets[record.id][-1].returned = self._node.stage.loop.time()
