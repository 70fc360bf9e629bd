"""What others do in the same cloud meanwhile, past dedupd."""

from __future__ import annotations

import asyncio
import random

import msgspec

from dedupd.sim.histories.intents import KEYPAIRS, SERVERS, Intent, key
from dedupd.sim.histories.stage import Stage
from dedupd.sim.nova.world import Server

_VERSION = ("openstack-api-version", "compute 2.96")


class Meddler:
    """Somebody of the same projects who deletes, renames or unmarks servers."""

    def __init__(self, stage: Stage, chance: random.Random) -> None:
        self._stage = stage
        self._chance = chance

    async def run(self) -> None:
        """Meddle a few times."""
        for _ in range(3):
            await asyncio.sleep(1.0 + 5.0 * self._chance.random())
            now = self._stage.clock()
            servers = self._stage.nova.world.servers.values()
            hosted = [server for server in servers if server.is_hosted(now)]
            if hosted:
                self._meddle(self._chance.choice(hosted))

    def _meddle(self, server: Server) -> None:
        self._stage.ledger.touched.add(server.id)
        match self._chance.randrange(3):
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

    def _ask(self, method: str, server: Server, part: str, body: bytes) -> None:
        token = ("x-auth-token", f"mallory:{server.project}")
        self._stage.chronicle.note("meddler", method, server.id, part)
        target = f"{SERVERS}/{server.id}{part}"
        self._stage.nova.handle(method, target, [token, _VERSION], body)


def make_before(stage: Stage, intents: list[Intent]) -> None:
    """Make the keypairs of these names before anybody asks dedupd for them."""
    for intent in intents:
        if intent.path == KEYPAIRS:
            token = ("x-auth-token", f"{intent.user}:{intent.project}")
            wanted = intent.document["keypair"].get("public_key", key(2).public_key)
            document = {"keypair": {"name": intent.name, "public_key": wanted}}
            stage.nova.handle("POST", KEYPAIRS, [token], msgspec.json.encode(document))
    stage.ledger.before = len(stage.nova.ledger)
