"""Neutron, Glance and Cinder as Nova's own functional tests have them, and what those leave out."""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import fixtures
import nova.conf
from neutronclient.common import exceptions as neutron_exceptions
from nova.tests import fixtures as nova_fixtures
from nova.volume import cinder as nova_cinder

Row = dict[str, Any]

_LOCKED_IN_NEUTRON = (
    "activate_port_binding",
    "create_port",
    "create_port_binding",
    "delete_port",
    "delete_port_binding",
    "list_ports",
    "show_port",
    "show_port_binding",
    "update_port",
)


class _Host(fixtures.Fixture):
    """What the fixtures of the services want of a test case."""

    def stub_out(self, old: str, new: object) -> None:
        self.useFixture(fixtures.MonkeyPatch(old, new))

    def flags(self, group: str | None = None, **options: object) -> None:
        for option, value in options.items():
            nova.conf.CONF.set_override(option, value, group)


class StandIns:
    """The three services, in place as soon as this is made."""

    def __init__(self) -> None:
        host = _Host()
        host.setUp()
        nova_fixtures.NeutronFixture.network_1["shared"] = True  # for every project
        self.neutron = host.useFixture(nova_fixtures.NeutronFixture(host))
        self.glance = host.useFixture(nova_fixtures.GlanceFixture(host))
        self.cinder = host.useFixture(nova_fixtures.CinderFixture(host))
        self._complete_neutron()
        self._complete_glance()
        self._complete_cinder()

    def _complete_neutron(self) -> None:
        """Calls from several threads, restarts on old data, and security groups by name."""
        lock = threading.RLock()
        for name in _LOCKED_IN_NEUTRON:
            setattr(self.neutron, name, _locked(lock, getattr(self.neutron, name)))

        # Its first port has a fixed id and address, which servers of an earlier process may have.
        address = ":".join(["00", *(f"{byte:02x}" for byte in uuid.uuid4().bytes[:5])])
        identity = {"id": str(uuid.uuid4()), "mac_address": address}
        self.neutron.default_port = self.neutron.default_port | identity

        def find_resource(resource: str, name_or_id: str, *_: object, **__: object) -> Row:
            for group in list(self.security_groups.values()):
                if name_or_id in (group["id"], group["name"]):
                    return group
            raise neutron_exceptions.NotFound(f"no {resource} {name_or_id}")

        self.neutron.find_resource = find_resource

    def _complete_glance(self) -> None:
        """Filters: without them, the rotation of createBackup would delete every image."""
        detail = self.glance.detail

        def filtered(context: object, **keywords: Any) -> list[Row]:
            filters = keywords.get("filters") or {}
            wanted = {
                key.removeprefix("property-"): str(value)
                for key, value in filters.items()
                if key.startswith("property-")
            }
            images: list[Row] = detail(context, **keywords)
            return [image for image in images if _has_properties(image, wanted)]

        self.glance.detail = filtered

    def _complete_cinder(self) -> None:
        """What the old POST /os-volumes and /os-snapshots need besides."""
        api, volumes = nova_cinder.API, self.cinder.volumes
        create, snapshot = api.create, api.create_snapshot_force

        def create_volume(self: Any, context: Any, *arguments: Any, **keywords: Any) -> Row:
            volume: Row = create(self, context, *arguments, **keywords)
            volume.update(
                created_at=_now(),
                volume_type_id=None,
                snapshot_id=None,
                project_id=context.project_id,
                volume_metadata=keywords.get("metadata") or {},
            )
            return volume

        def create_snapshot(self: Any, *arguments: Any) -> Row:
            made: Row = snapshot(self, *arguments)
            return made | {"volume_size": 1, "progress": "100%", "created_at": _now()}

        def get_all(_self: Any, context: Any, search_opts: object = None) -> list[Row]:  # noqa: ARG001
            mine = (None, context.project_id)
            return [volume for volume in volumes.values() if volume.get("project_id") in mine]

        api.create = create_volume
        api.create_snapshot = create_snapshot
        api.get_all = get_all
        api.delete = lambda _self, _context, volume_id: volumes.pop(volume_id, None)

    @property
    def networks(self) -> dict[str, Row]:
        """By id."""
        rows: dict[str, Row] = self.neutron._networks
        return rows

    @property
    def subnets(self) -> dict[str, Row]:
        """By id."""
        rows: dict[str, Row] = self.neutron._subnets
        return rows

    @property
    def ports(self) -> dict[str, Row]:
        """By id."""
        rows: dict[str, Row] = self.neutron._ports
        return rows

    @property
    def security_groups(self) -> dict[str, Row]:
        """By id."""
        rows: dict[str, Row] = self.neutron._security_groups
        return rows

    @property
    def images(self) -> dict[str, Row]:
        """By id."""
        rows: dict[str, Row] = self.glance.images
        return rows

    def facts(self) -> dict[str, object]:
        """What a test needs to know of them to boot servers."""
        return {
            "image": self.glance.image1["id"],
            "network": self.neutron.network_1["id"],
            "free_ports": [self.neutron.port_1["id"]],
            "volume_boot": self.cinder.IMAGE_BACKED_VOL,
        }


def _locked(lock: threading.RLock, call: Callable[..., Any]) -> Callable[..., Any]:
    def one_at_a_time(*arguments: Any, **keywords: Any) -> Any:
        with lock:
            return call(*arguments, **keywords)

    return one_at_a_time


def _has_properties(image: Row, wanted: dict[str, str]) -> bool:
    has = image.get("properties") or {}
    return all(str(has.get(key)) == value for key, value in wanted.items())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000", time.gmtime())
