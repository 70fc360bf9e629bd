"""``[nova]``: the compute API behind dedupd, and how long to wait for it."""

from __future__ import annotations

from dataclasses import dataclass

from oslo_config import cfg

from dedupd.conf import values


class Duplicates(values.Described):
    """What happens to servers that nobody's record names, though they carry its mark."""

    REPORT = "report", "log and count them; an operator decides"
    DELETE = "delete", "delete them, after having checked that they carry the mark"


GROUP = cfg.OptGroup("nova", help="The compute API behind dedupd, and how long to wait for it.")

OPTIONS = [
    cfg.Opt(
        "endpoint",
        type=values.Parsed(values.parse_endpoint, "URL"),
        help="The root URL of the compute API, without a version, such as http://controller:8774. "
        "It must be set, except for `dedupd standalone` and `dedupd demo`, which bring a simulated "
        "Nova of their own. Name Nova here, never an address at which dedupd answers.",
    ),
    cfg.Opt(
        "max_in_flight",
        type=values.Whole("requests", high=10000),
        default=64,
        help="How many requests with a token may be under way to Nova at the same time; more wait "
        "in the queue. Waiting there does not count as sending. Lower it where Nova is slow, raise "
        "it where Nova's API has more workers to give.",
    ),
    cfg.Opt(
        "send_timeout",
        type=values.Number("seconds", low=0.1, high=3600),
        default=120,
        help="How many seconds, from the first byte sent, Nova has for its answer. After that the "
        "outcome is looked up in Nova, never sent again blindly. Keep it above the slowest answer "
        "that is usual.",
    ),
    cfg.Opt(
        "connect_timeout",
        type=values.Number("seconds", low=0.1, high=300),
        default=10,
        help="How many seconds a connection to Nova may take to come about. Nothing was sent by "
        "then, so such a request is simply tried again.",
    ),
    cfg.Opt(
        "settle_seconds",
        type=values.Number("seconds", high=86400),
        default=60,
        help="How many seconds Nova is watched for the effect of a sending whose answer was lost, "
        "before the request is sent again: after its deadline, or after Nova has answered to what "
        "came behind it over a new connection, if that is later. It must be longer than Nova can "
        "take between accepting a request and showing what it made: too short a time makes "
        "duplicates, a longer one only delays the answer in that case.",
    ),
    cfg.Opt(
        "probe_seconds",
        type=values.Number("seconds", low=0.01, high=3600),
        default=0.5,
        help="How many seconds pass before a lost outcome is looked up in Nova for the second "
        "time; the pauses grow from there. Lower it for quicker answers, raise it to spare Nova.",
    ),
    cfg.Opt(
        "request_id_seconds",
        type=values.Number("seconds", high=3600),
        default=15,
        help="How many seconds a create's answer that was lost, and is put together again from "
        "what Nova shows, waits for Nova's own id of the request. Nova's conductor notes that some "
        "time after Nova has answered; where it has not by then, the caller gets the answer "
        "without X-Openstack-Request-Id and X-Compute-Request-Id. 0 asks once.",
    ),
    cfg.Opt(
        "retry_seconds",
        type=values.Number("seconds", high=86400),
        default=300,
        help="For how many seconds a request that certainly had no effect (refused connection, "
        "429, 503 before Nova read it) is tried again, before it is released: the caller gets "
        "the last answer, no repeat is given it, and one starts anew. 0 tries once. One that "
        "failed, and was looked for in vain after the settle time, is tried once more at least.",
    ),
    cfg.Opt(
        "duplicates",
        type=values.Choice(Duplicates),
        default="report",
        help="What happens to servers that carry a request's mark although its record names "
        "another one. Choose delete once you trust it.",
    ),
]


@dataclass(frozen=True, slots=True)
class NovaSettings:
    """The compute API, checked. ``endpoint`` is None where none was named."""

    endpoint: str | None
    max_in_flight: int
    send_timeout: float
    connect_timeout: float
    settle_seconds: float
    probe_seconds: float
    request_id_seconds: float
    retry_seconds: float
    duplicates: Duplicates
