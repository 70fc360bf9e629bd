"""A small cloud inside Nova: cells, flavors, and the services behind the API."""

import argparse
import time
import uuid
from pathlib import Path
from typing import Any

import nova.virt.node
from nova import context as nova_context
from nova import objects, service
from nova.compute import rpcapi as compute_rpc
from nova.conductor import rpcapi as conductor_rpc
from nova.objects import host_mapping
from nova.scheduler import rpcapi as scheduler_rpc
from nova.scheduler.client import report
from oslo_utils.fixture import uuidsentinel

from realnova import databases

# Flavor id, name, MiB of memory, virtual CPUs, GiB of disk.
_FLAVORS = (
    ("1", "m1.nano", 64, 1, 1),
    ("42", "m1.micro", 128, 1, 1),
    ("2", "m1.tiny", 512, 1, 1),
    ("3", "m1.medium", 4096, 2, 40),
)
_POLL_SECONDS = 0.05
_CELL1 = "c1c1c1c1-0000-4000-8000-000000000001"


def fill(state: Path) -> None:
    """Write cells and flavors into new databases."""
    context = nova_context.get_admin_context()
    urls = databases.urls(state)
    objects.CellMapping(
        context=context,
        uuid=objects.CellMapping.CELL0_UUID,
        name="cell0",
        transport_url="none:///",
        database_connection=urls["nova_cell0"],
    ).create()
    objects.CellMapping(
        context=context,
        uuid=_CELL1,
        name="cell1",
        transport_url="fake://",
        database_connection=urls["nova_cell1"],
    ).create()
    for flavor_id, name, memory, cpus, disk in _FLAVORS:
        objects.Flavor(
            context=context,
            flavorid=flavor_id,
            name=name,
            memory_mb=memory,
            vcpus=cpus,
            root_gb=disk,
            ephemeral_gb=0,
            swap=0,
            rxtx_factor=1.0,
            disabled=False,
            is_public=True,
        ).create()


def start_services(state: Path, options: argparse.Namespace) -> list[Any]:
    """Start conductor, scheduler and the compute hosts, in threads of this process."""
    _skip_allocations_of_all()
    if options.hold_cast:
        _hold_cast(options.hold_cast, options.hold_until)
    # The fake driver draws new node ids in every process: with these, a restart on old data works.
    for number in range(1, options.hosts + 1):
        node = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"compute{number}.realnova"))
        uuidsentinel._sentinels[f"node_compute{number}"] = node
    services = [
        _start("nova-conductor", conductor_rpc.RPC_TOPIC),
        _start("nova-scheduler", scheduler_rpc.RPC_TOPIC),
    ]
    for number in range(1, options.hosts + 1):
        host = {} if number == 1 else {"host": f"compute{number}"}
        topics = (compute_rpc.RPC_TOPIC, compute_rpc.RPC_TOPIC_ALT)
        services.append(_start("nova-compute", topics[0], topic_alt=topics[1], **host))
    if not (state / "compute_id").exists():  # the fake driver does not write it
        nova.virt.node.write_local_node_uuid(uuidsentinel.node_compute1)
    host_mapping.discover_hosts(nova_context.get_admin_context())
    return services


def _start(binary: str, topic: str, **more: str) -> Any:
    started = service.Service.create(binary=binary, topic=topic, **more)
    started.start()
    return started


def _skip_allocations_of_all() -> None:
    """Take away a cost that only a test cloud has.

    With every claim, the compute manager asks Placement for the allocations of each instance on
    the host, for a reshape that the fake driver never wants: quadratic with all of them on one.
    """
    report.SchedulerReportClient.get_allocations_for_provider_tree = lambda *_: {}


def _hold_cast(seconds: float, until: Path | None) -> None:
    """Make nova-api wait after its commit, before it tells the conductor and answers.

    Args:
        seconds: For how long.
        until: The file whose coming ends it before, if one is named.
    """
    api = conductor_rpc.ComputeTaskAPI
    cast = api.schedule_and_build_instances

    def held(*arguments: Any, **keywords: Any) -> Any:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not (until and until.exists()):
            time.sleep(min(left, _POLL_SECONDS))
        return cast(*arguments, **keywords)

    api.schedule_and_build_instances = held
