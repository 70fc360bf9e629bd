"""What a configuration opens: the connections to Nova, and what the worker knows of it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from starlette.requests import Request

from dedupd import conf
from dedupd.cloud.probes.servers import ServerProbe
from dedupd.cmd import wiring
from dedupd.cmd.opening import Opening
from dedupd.conf import Settings
from dedupd.conf.values import parse_address
from dedupd.errors import ConfigError
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


@pytest.mark.parametrize(
    ("listen", "endpoint", "refused"),
    [
        ("127.0.0.1:8774", "http://127.0.0.1:8774", True),
        ("127.0.0.1:8774", "http://localhost:8774/compute", True),
        ("0.0.0.0:8774", "http://localhost:8774", True),
        ("10.0.0.1:8774", "http://10.0.0.1:8774", True),
        ("10.0.0.1:8774", "http://10.0.0.2:8774", False),
        ("127.0.0.1:8775", "http://127.0.0.1:8774", False),
    ],
)
async def test_a_front_does_not_ask_itself(
    tmp_path: Path, listen: str, endpoint: str, refused: bool
) -> None:
    settings = settings_of(tmp_path, endpoint=endpoint)
    address = parse_address(listen)
    settings = replace(settings, api=replace(settings.api, listen=address))
    keys = wiring.load_keys(settings, create=True)
    async with wiring.parts(settings, keys) as shared:
        opening = Opening(shared.store, shared.queue)
        await opening.once()
        expected = pytest.raises(ConfigError, match="is where this front listens itself")
        with expected if refused else nullcontext():
            async with wiring.front(shared, None, opening):
                pass


async def test_whoever_asks_whether_it_is_ready_hears_what_the_opening_met(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, endpoint="http://127.0.0.1:9")
    keys = wiring.load_keys(settings, create=True)
    async with wiring.parts(settings, keys) as shared:
        opening = Opening(shared.store, shared.queue)
        health = wiring.health(shared, None, opening)
        ready = await health.ready(Request({"type": "http"}))
        assert msgspec.json.decode(ready.body)["checks"] == {
            "store": "The store is being opened.",
            "queue": "The queue is opened when the store is open.",
        }
        await opening.once()
        assert (await health.ready(Request({"type": "http"}))).status_code == 200
