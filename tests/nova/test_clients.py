"""OpenStack's own clients, unmodified, through dedupd: without a token, and with one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openstack
import pytest
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from novaclient import client as novaclient

from tests.conftest import StartStandalone
from tests.integration.standalone import Standalone
from tests.nova.cloud import DEMO, PASSWORD, RealKeystone, RealNova
from tests.nova.posts import fits
from tests.nova.test_service_user import credentials

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@dataclass(frozen=True)
class Cloud:
    """A cloud whose catalogue names dedupd as its compute service."""

    nova: RealNova
    keystone: RealKeystone
    front: Standalone

    def session(self) -> Session:
        """Of the user demo."""
        password = v3.Password(
            auth_url=self.keystone.auth_url,
            username=DEMO,
            password=PASSWORD,
            user_domain_id="default",
            project_name="demo",
            project_domain_id="default",
        )
        return Session(auth=password)

    def names(self, prefix: str) -> list[str]:
        """The servers whose names begin so, as Nova tells its administrator."""
        return sorted(row["name"] for row in self.nova.servers(name=f"^{prefix}"))


@pytest.fixture(scope="module")
def front(
    _worker_nova_behind_keystone: RealNova,
    real_keystone: RealKeystone,
    start_standalone_for_module: StartStandalone,
) -> Standalone:
    settings = credentials(real_keystone, "keystone_authtoken", "service_user")
    nova = _worker_nova_behind_keystone
    return start_standalone_for_module(nova.url, settings | {"nova.send_timeout": "60"})


@pytest.fixture
def cloud(
    nova_behind_keystone: RealNova, real_keystone: RealKeystone, front: Standalone
) -> Iterator[Cloud]:
    real_keystone.point_compute_at(front.url, nova_behind_keystone.url)
    yield Cloud(nova_behind_keystone, real_keystone, front)
    real_keystone.point_compute_at(nova_behind_keystone.url)


def unique() -> str:
    return f"client-{uuid.uuid4().hex[:12]}"


def test_the_openstack_command(cloud: Cloud) -> None:
    """A whole life: created, waited for, shown, listed, rebooted, deleted."""
    name = unique()
    made = openstack_command(
        cloud,
        *("server", "create", "--wait", "--image", cloud.nova.image, "--flavor", "m1.nano"),
        *("--network", "private", name),
    )
    assert made["status"] == "ACTIVE"
    assert cloud.names(name) == [name]
    assert openstack_command(cloud, "server", "show", name)["id"] == made["id"]
    assert name in [row["Name"] for row in openstack_command(cloud, "server", "list")]
    assert cloud.keystone.openstack("server", "reboot", "--wait", name).returncode == 0
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
    with openstack.connect(session=cloud.session(), region_name="RegionOne") as connection:
        compute: Any = connection.compute
        wanted = {
            "name": name,
            "image_id": cloud.nova.image,
            "flavor_id": cloud.nova.flavor,
            "networks": [{"uuid": cloud.nova.network}],
        }
        plain = [compute.create_server(**wanted) for _ in range(2)]
        assert plain[0].id != plain[1].id, "without a token, every POST makes one"
        compute.additional_headers["X-Client-Token"] = name
        first, second = compute.create_server(**wanted), compute.create_server(**wanted)
        assert first.id == second.id
        assert first.admin_password == second.admin_password
        assert compute.wait_for_server(first, wait=60).status == "ACTIVE"
    assert cloud.names(name) == [name] * 3


def test_the_sdk_shows_an_error(cloud: Cloud) -> None:
    """Another request under the same token: the message reaches the caller."""
    name = unique()
    with openstack.connect(session=cloud.session(), region_name="RegionOne") as connection:
        compute: Any = connection.compute
        compute.additional_headers["X-Client-Token"] = name
        compute.create_keypair(name=name)
        with pytest.raises(openstack.exceptions.HttpException, match=r"keypair\.name") as caught:
            compute.create_keypair(name=f"{name}-x")
    assert caught.value.status_code == 422


@pytest.mark.parametrize("version", ["2.1", "2.96"])
def test_novaclient(version: str, cloud: Cloud) -> None:
    name = unique()
    plain = novaclient.Client(version, session=cloud.session(), region_name="RegionOne")
    nics = [{"net-id": cloud.nova.network}]
    arguments = (name, cloud.nova.image, cloud.nova.flavor)
    for _ in range(2):
        plain.servers.create(*arguments, nics=nics)
    assert cloud.names(name) == [name] * 2
    tagged = novaclient.Client(
        version,
        session=cloud.session(),
        region_name="RegionOne",
        additional_headers={"X-Client-Token": name},
    )
    first = tagged.servers.create(*arguments, nics=nics)
    second = tagged.servers.create(*arguments, nics=nics)
    assert (first.id, first.adminPass) == (second.id, second.adminPass)
    assert cloud.names(name) == [name] * 3
    assert plain.servers.get(first.id).name == name
