"""``[retention]``: how long answers and used tokens are remembered."""

from __future__ import annotations

from dataclasses import dataclass

from oslo_config import cfg

from dedupd.conf import values

GROUP = cfg.OptGroup("retention", help="How long answers and used tokens are remembered.")

OPTIONS = [
    cfg.Opt(
        "result_hours",
        type=values.Number("hours", low=0.001, high=8760),
        default=24,
        help="For how many hours after its completion a request's answer is kept and replayed. "
        "Make it longer than your clients go on repeating.",
    ),
    cfg.Opt(
        "tombstone_days",
        type=values.Number("days", high=3650),
        default=7,
        help="For how many days after its answer has expired a token is still known as used, so "
        "that a late repeat is refused (412) and never executed again. A tombstone takes "
        "little room; raise it where messages may be delivered weeks later.",
    ),
]


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long things are remembered, checked."""

    result_hours: float
    tombstone_days: float
