"""``[queue]``: how workers hear that there is work, and how much may wait."""

from __future__ import annotations

from dataclasses import dataclass

from oslo_config import cfg

from dedupd.conf import values

GROUP = cfg.OptGroup("queue", help="How workers hear of work. It is a hint: records are the truth.")

OPTIONS = [
    cfg.Opt(
        "url",
        type=values.Parsed(values.parse_queue_url, "URL"),
        default="memory://",
        help="The broker. memory:// serves a single process; what it forgets when that process "
        "ends is found again in the records.",
    ),
    cfg.Opt(
        "name",
        type=values.Text(r"[A-Za-z0-9_.-]{1,64}", "write 1 to 64 of A-Z a-z 0-9 _ . -"),
        default="dedupd",
        help="The queue's name on the broker. Change it where two installations share one.",
    ),
    cfg.Opt(
        "max_depth",
        type=values.Whole("requests"),
        default=10000,
        help="How many requests may wait or be under way in all; one more is answered 503 with "
        "Retry-After, and nothing is stored. Choose what Nova can work off in the time that "
        "callers are willing to wait.",
    ),
    cfg.Opt(
        "project_share",
        type=values.Number("parts of max_depth", low=0.001, high=1),
        default=0.5,
        help="The part of max_depth that one project may fill, from 0.001 to 1, so that one "
        "project's storm leaves room for the others. 1 sets no limit.",
    ),
]


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """The queue, checked."""

    url: str
    name: str
    max_depth: int
    project_share: float
