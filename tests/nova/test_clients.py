"""OpenStack's own clients, unmodified, through dedupd: without a token, and with one."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.front import Front
from tests.nova.cloud import DEMO, RealKeystone, RealNova
from tests.nova.posts import fits
from tests.nova.program import environment

SCRIPT = Path(__file__).with_name("clients_script.py")
SECONDS = 100.0


@dataclass(frozen=True)
class Cloud:
    """A cloud whose catalogue names dedupd as its compute service."""

    nova: RealNova
    keystone: RealKeystone
    front: Front

    def names(self, prefix: str) -> list[str]:
        """The servers whose names begin so, as Nova tells its administrator."""
        return sorted(row["name"] for row in self.nova.servers(name=f"^{prefix}"))


@pytest.fixture
def cloud(
    nova_behind_keystone: RealNova, real_keystone: RealKeystone, front_behind_keystone: Front
) -> Iterator[Cloud]:
    real_keystone.point_compute_at(front_behind_keystone.url, nova_behind_keystone.url)
    yield Cloud(nova_behind_keystone, real_keystone, front_behind_keystone)
    real_keystone.point_compute_at(nova_behind_keystone.url)


def unique() -> str:
    return f"client-{uuid.uuid4().hex[:12]}"


def test_the_openstack_command(cloud: Cloud) -> None:
    """A whole life: created, waited for, shown, deleted."""
    name = unique()
    made = openstack_command(
        cloud,
        *("server", "create", "--wait", "--image", cloud.nova.image, "--flavor", "m1.nano"),
        *("--network", "private", name),
    )
    assert made["status"] == "ACTIVE"
    assert cloud.names(name) == [name]
    assert openstack_command(cloud, "server", "show", name)["id"] == made["id"]
    assert cloud.keystone.openstack("server", "delete", "--wait", name).returncode == 0
    assert cloud.names(name) == []


def test_the_openstack_command_makes_a_keypair(cloud: Cloud) -> None:
    name = unique()
    done = cloud.keystone.openstack("keypair", "create", name)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in cloud.nova.keypairs(cloud.keystone.user_id(DEMO))}
    assert fits(done.stdout, rows[name]["public_key"])
    assert cloud.keystone.openstack("keypair", "delete", name).returncode == 0


def openstack_command(cloud: Cloud, *arguments: str) -> Any:
    """What the command says, as JSON."""
    done = cloud.keystone.openstack(*arguments, "-f", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_sdk(cloud: Cloud) -> None:
    name = unique()
    told = run_script(cloud, "sdk", name)
    check_servers(cloud, name, told)
    assert told["status"] == "ACTIVE"
    keypairs = cloud.nova.keypairs(cloud.keystone.user_id(DEMO))
    assert [row["name"] for row in keypairs if row["name"].startswith(name)] == [name]
    assert told["refusal"]["status"] == 422
    assert "keypair.name" in told["refusal"]["message"], "the SDK shows what dedupd says"


@pytest.mark.parametrize("microversion", ["2.1", "2.96"])
def test_novaclient(microversion: str, cloud: Cloud) -> None:
    name = unique()
    check_servers(cloud, name, run_script(cloud, "novaclient", name, microversion))


def check_servers(cloud: Cloud, name: str, told: Any) -> None:
    """Every POST without a token made one; those with one made one, and had the same answer."""
    first, second = told["tagged"]
    assert first == second
    identifier, password = first
    assert password
    made = {row["id"] for row in cloud.nova.servers(name=f"^{name}$")}
    assert made == {*told["plain"], identifier}
    assert len(made) == 3


def run_script(cloud: Cloud, client: str, name: str, *more: str) -> Any:
    """What tests/nova/clients_script.py says."""
    nova = cloud.nova
    done = subprocess.run(
        [
            *(str(environment() / "bin" / "python"), str(SCRIPT), client),
            *(name, nova.image, nova.flavor, nova.network, *more),
        ],
        env=cloud.keystone.credentials(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
