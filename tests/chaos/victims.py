"""Those who may be struck, alike: a front, a worker, a member of etcd, RabbitMQ."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.schedule import How, Party
from tests.integration.etcd_server import EtcdServer, Member
from tests.integration.site import Engines, Service, Site


@dataclass(frozen=True)
class Victim:
    """One process; ``strike`` and ``heal`` return when that is done, which may take seconds."""

    name: str
    strike: Mapping[How, Callable[[], object]]
    heal: Mapping[How, Callable[[], object]]
    is_up: Callable[[], bool] = lambda: True
    """Whether it runs, paused or not; not asked of engines, which never end by themselves."""
    leads: Callable[[], bool] = lambda: False


def victims(site: Site) -> dict[Party, list[Victim]]:
    """All of an installation."""
    engines = site.engines
    return {
        Party.FRONT: [_service("front", place, one) for place, one in enumerate(site.fronts)],
        Party.WORKER: [_service("worker", place, one) for place, one in enumerate(site.workers)],
        Party.MEMBER: [_member(place, engines.etcd) for place in range(len(engines.etcd.members))],
        Party.BROKER: [_broker(engines)],
    }


def _service(name: str, place: int, service: Service) -> Victim:
    return Victim(
        f"{name} {place}",
        {How.KILL: service.kill, How.STOP: service.stop, How.PAUSE: service.pause},
        {How.KILL: service.launch, How.STOP: service.launch, How.PAUSE: service.resume},
        lambda: service.running,
    )


def _member(place: int, etcd: EtcdServer) -> Victim:
    member = etcd.members[place]

    def start() -> None:
        etcd.start_members([member])

    return Victim(
        f"etcd {place}",
        {How.KILL: member.kill, How.STOP: member.stop, How.PAUSE: member.pause},
        {How.KILL: start, How.STOP: start, How.PAUSE: member.resume},
        leads=lambda: _leads(member),
    )


def _broker(engines: Engines) -> Victim:
    broker = engines.rabbitmq
    return Victim(
        "RabbitMQ",
        {
            How.KILL: broker.kill,
            How.STOP: broker.stop,
            How.PAUSE: broker.pause,
            How.WIPE: broker.kill,
        },
        {
            How.KILL: broker.start,
            How.STOP: broker.start,
            How.PAUSE: broker.resume,
            How.WIPE: broker.wipe,
        },
    )


def leader(members: Sequence[Victim]) -> Victim:
    """Whoever leads; the first one while nobody does."""
    return next((member for member in members if member.leads()), members[0])


def _leads(member: Member) -> bool:
    """Whether a member of etcd says that it leads."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{member.health_port}/metrics", timeout=1
        ) as answer:
            return b"\netcd_server_is_leader 1\n" in answer.read()
    except OSError:
        return False
