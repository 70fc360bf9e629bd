"""What others do in the same cloud meanwhile, past dedupd."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec

from dedupd.sim.histories.intents import KEYPAIRS, SERVERS, Intent, key
from dedupd.sim.histories.stage import EPOCH, Stage
from dedupd.sim.nova.world import Server

LONG_AGO = EPOCH - 8 * 86400.0
"""When an earlier life of a token was: its tombstone has expired since."""

_VERSION = ("openstack-api-version", "compute 2.96")


class Meddler:
    """Somebody of the same projects who deletes, renames or unmarks servers.

    Args:
        stage: Where.
        chance: Decides when and what.
        before: For which requests there were keypairs before; those are deleted, too.
        haste: How much quicker than usual, and how much fonder of taking marks away.
    """

    def __init__(
        self, stage: Stage, chance: random.Random, before: list[Intent], haste: float
    ) -> None:
        self._stage = stage
        self._chance = chance
        self._before = before
        self._haste = haste

    async def run(self) -> None:
        """Meddle a few times."""
        for _ in range(round(3 * self._haste)):
            await asyncio.sleep((1.0 + 5.0 * self._chance.random()) / self._haste)
            now = self._stage.clock()
            servers = self._stage.nova.world.servers.values()
            earlier = self._stage.ledger.earlier
            hosted = [one for one in servers if one.is_hosted(now) and one.id not in earlier]
            if self._before and self._chance.random() < 0.3:
                self._tidy(self._before.pop())
            elif hosted:
                self._meddle(self._chance.choice(hosted))

    def _meddle(self, server: Server) -> None:
        self._stage.ledger.touched.add(server.id)
        [act] = self._chance.choices(range(3), (1.0, 1.0, self._haste))
        match act:
            case 0:
                self._stage.ledger.meddled.add(server.id)
                self._ask("DELETE", server, "", b"")
            case 1:
                body = msgspec.json.encode({"server": {"name": "renamed"}})
                self._ask("PUT", server, "", body)
            case _:
                # Who unmarks a server while its POST is in doubt makes it unrecognisable.
                marks = (*server.tags, *server.metadata.values())
                self._stage.ledger.excused.update(mark.removeprefix("dedupd.") for mark in marks)
                self._ask("PUT", server, "/tags", b'{"tags":[]}')

    def _tidy(self, intent: Intent) -> None:
        """Delete the keypair that was there before, unless another has its name by now."""
        made = self._stage.nova.ledger[self._stage.ledger.before :]
        if not any(intent.name in effect.resources for effect in made):
            # A POST that is in doubt may make one now, which cannot be told from the one before.
            self._stage.ledger.excused.add(intent.id)
            token = ("x-auth-token", f"{intent.user}:{intent.project}")
            self._stage.chronicle.note("meddler", "DELETE", intent.name)
            self._stage.nova.handle("DELETE", f"{KEYPAIRS}/{intent.name}", [token], b"")

    def _ask(self, method: str, server: Server, part: str, body: bytes) -> None:
        token = ("x-auth-token", f"mallory:{server.project}")
        self._stage.chronicle.note("meddler", method, server.id, part)
        target = f"{SERVERS}/{server.id}{part}"
        self._stage.nova.handle(method, target, [token, _VERSION], body)


def make_keypairs_before(stage: Stage, intents: list[Intent]) -> list[Intent]:
    """Make keypairs of the wanted names before anybody asks dedupd; returns for which."""
    wanted = [intent for intent in _each_once(intents) if intent.path == KEYPAIRS]
    for intent in wanted:
        public_key = intent.document["keypair"].get("public_key", key(2).public_key)
        _make(stage, intent, {"keypair": {"name": intent.name, "public_key": public_key}})
    stage.ledger.before = len(stage.nova.ledger)
    return wanted


def make_servers_before(stage: Stage, intents: list[Intent]) -> None:
    """Make what an earlier life of each token made, days ago: marked with the same id."""
    for intent in _each_once(intents):
        if intent.path == SERVERS:
            _make(stage, intent, {"server": intent.document["server"] | intent.mark})
    for server in stage.nova.world.servers.values():
        server.created = server.updated = server.scheduled = server.launched = LONG_AGO
        stage.ledger.earlier.add(server.id)
    stage.ledger.before = len(stage.nova.ledger)


def _each_once(intents: list[Intent]) -> list[Intent]:
    return list({intent.id: intent for intent in intents}.values())


def _make(stage: Stage, intent: Intent, document: Any) -> None:
    fields = [
        ("x-auth-token", f"{intent.user}:{intent.project}"),
        ("openstack-api-version", f"compute {intent.version}"),
    ]
    stage.nova.handle("POST", intent.path, fields, msgspec.json.encode(document))
