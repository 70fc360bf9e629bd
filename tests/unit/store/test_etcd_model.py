"""Random operations, one after another, on etcd and in memory: they give the same answers."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant

from dedupd.ports import Store
from tests.contract.stores import etcd_store
from tests.unit.store.test_model import SETTLE_SECONDS, BothStores, bare


class EtcdAndMemory(BothStores):
    """etcd counts its leases' time itself, and publishes a moment later."""

    SCALE = 60
    REVIVES = False

    def make_subject(self) -> Store:
        return etcd_store(self.clock)

    @invariant()
    def publish_the_same(self) -> None:
        heard, expected = self.heard[self.subject], self.heard[self.memory]

        async def arrive() -> None:
            async with asyncio.timeout(SETTLE_SECONDS):
                while len(heard) < len(expected):  # noqa: ASYNC110 # the listener is a list
                    await asyncio.sleep(0.001)

        self.runner.run(arrive())
        assert list(map(bare, heard)) == list(map(bare, expected))


TestEtcdAndMemory = EtcdAndMemory.TestCase
TestEtcdAndMemory.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
