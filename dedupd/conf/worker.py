"""``[worker]``: leases, sweeps, and stopping."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from oslo_config import cfg

from dedupd.conf import values

GROUP = cfg.OptGroup("worker", help="The worker: its lease, its sweeps, and how it stops.")

OPTIONS = [
    cfg.Opt(
        "health_listen",
        type=values.Parsed(partial(values.parse_address, usual=8776), "host:port"),
        default="127.0.0.1:8776",
        help="The address and port on which `dedupd worker` answers /healthz/live, "
        "/healthz/ready and /metrics, and nothing else. Port 0 takes any free one.",
    ),
    cfg.Opt(
        "lease_seconds",
        type=values.Number("seconds", low=1, high=3600),
        default=10,
        help="For how many seconds a worker counts as living after it last said so. When they "
        "have passed, others look up what it had sent. Raise it where the machine stalls for "
        "seconds; a longer lease only delays that look-up.",
    ),
    cfg.Opt(
        "stop_seconds",
        type=values.Number("seconds", high=3600),
        default=30,
        help="For how many seconds a worker that is told to stop (SIGTERM) may finish what is "
        "under way; the rest is handed back. A second signal cuts it short. Keep it below the "
        "time after which the service manager kills.",
    ),
    cfg.Opt(
        "sweep_seconds",
        type=values.Number("seconds", low=0.05, high=3600),
        default=5,
        help="How many seconds pass between two sweeps, which find work that the queue lost, "
        "records whose worker died, and records that have expired. Lower it to recover sooner.",
    ),
]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The worker, checked."""

    health_listen: values.Address
    lease_seconds: float
    stop_seconds: float
    sweep_seconds: float
