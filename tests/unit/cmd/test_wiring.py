"""What a configuration opens: the connections to Nova, and what the worker knows of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dedupd import conf
from dedupd.cloud.probes.servers import ServerProbe
from dedupd.cmd import wiring
from dedupd.conf import Settings
from dedupd.exchange import Call
from tests.unit.upstreams import upstream

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"
DEADLINE = 30.0


def settings_of(tmp_path: Path, **nova: str) -> Settings:
    overrides = {
        "auth.strategy": "noauth",
        "state_path": str(tmp_path),
        "seal.key_file": str(tmp_path / "seal.keys"),
        "store.url": "memory://",
        "queue.url": "memory://",
        **{f"nova.{name}": value for name, value in nova.items()},
    }
    return conf.load([], overrides=overrides)


async def test_what_goes_afresh_has_connections_of_its_own(tmp_path: Path) -> None:
    peers: list[object] = []

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername"))
        writer.write(OK)

    call = Call("POST", "/v2.1/servers", ((b"Host", b"nova"),), b"{}")
    async with (
        upstream(note) as server,
        wiring.open_cloud(settings_of(tmp_path, endpoint=server.url)) as cloud,
    ):
        for afresh in (False, True, True, False):
            await cloud.send(call, DEADLINE, afresh=afresh)
    kept, first, second, again = peers
    assert kept == again
    assert len({kept, first, second}) == 3


async def test_the_worker_waits_for_request_ids_as_long_as_is_configured(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, endpoint="http://127.0.0.1:9", request_id_seconds="7")
    keys = wiring.load_keys(settings, create=True)
    async with wiring.parts(settings, keys) as shared, wiring.worker(shared) as service:
        probe = service._opener._probes["servers"]
        assert isinstance(probe, ServerProbe)
        assert probe._request_id_seconds == 7
