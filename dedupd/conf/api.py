"""``[api]``: where the front listens, and how long and how much it lets callers wait."""

from __future__ import annotations

from dataclasses import dataclass

from oslo_config import cfg

from dedupd.conf import values


class Concurrent(values.Described):
    """What a repeat gets while the first request with its token still runs."""

    LATCH = "latch", "hold the repeat until the answer is there, at most hold_seconds"
    CONFLICT = "conflict", "answer 409 at once"


GROUP = cfg.OptGroup("api", help="The front: where it listens, and how callers wait.")

OPTIONS = [
    cfg.Opt(
        "listen",
        type=values.Parsed(values.parse_address, "host:port"),
        default="127.0.0.1:8775",
        help="The address and port that the front listens on; IPv6 in brackets, [::1]:8775. Port "
        "0 takes any free one. Change it to let other machines in, which needs [auth] strategy = "
        "keystone, and put TLS in front of it.",
    ),
    cfg.Opt(
        "hold_seconds",
        type=values.Number("seconds", high=3600),
        default=50,
        help="How many seconds a caller is held while Nova works, before it is told to come back "
        "(504 for the first, 409 for a repeat; the request goes on). Keep it below the time-outs "
        "of clients and load balancers, which are often 60. A caller's own Prefer: wait=N is "
        "honoured up to this value.",
    ),
    cfg.Opt(
        "body_timeout",
        type=values.Number("seconds", low=1, high=3600),
        default=60,
        help="How many seconds a caller has to send the body of a request, with a second more for "
        "each 1024 bytes of it. Then it is answered 408 and its connection is closed, so that "
        "callers who send slowly or not at all cannot hold all connections.",
    ),
    cfg.Opt(
        "concurrent",
        type=values.Choice(Concurrent),
        default="latch",
        help="What a repeat gets while the first request with its token still runs. Choose "
        "conflict where clients keep to the IETF Idempotency-Key draft and expect 409.",
    ),
    cfg.Opt(
        "max_body_bytes",
        type=values.Whole("bytes", high=256 * 1024 * 1024),
        default=1024 * 1024,
        help="The largest body, in bytes, that a request with a client token may have; more is "
        "answered 413 and nothing is stored. Nova itself refuses bodies over 114688 bytes unless "
        "told otherwise. Requests without a token are streamed through whatever their size.",
    ),
    cfg.Opt(
        "max_waiters",
        type=values.Whole("callers"),
        default=10000,
        help="How many callers may be held at the same time; one more is answered 503. Each costs "
        "a connection and some tens of kilobytes. Raise it together with the limit of open files "
        "(ulimit -n).",
    ),
    cfg.Opt(
        "workers",
        type=values.Whole("processes", high=256),
        default=1,
        help="How many processes `dedupd api` runs, which share the address. Each takes some "
        "80 MB when idle and 20 KB more for each caller that is held, and serves about one core; "
        "one that dies is started again. The standalone process is always one.",
    ),
]


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The front's settings, checked."""

    listen: values.Address
    hold_seconds: float
    body_timeout: float
    concurrent: Concurrent
    max_body_bytes: int
    max_waiters: int
    workers: int
