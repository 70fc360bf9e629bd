"""``[auth]``: how callers are known."""

from __future__ import annotations

from dataclasses import dataclass

from oslo_config import cfg

from dedupd.conf import values


class Strategy(values.Described):
    """How callers are known."""

    KEYSTONE = "keystone", "Keystone validates X-Auth-Token, as [keystone_authtoken] says"
    NOAUTH = "noauth", "X-Auth-Token is user[:project[:role,role]] and is believed; for development"


GROUP = cfg.OptGroup("auth", help="How callers are known.")

OPTIONS = [
    cfg.Opt(
        "strategy",
        type=values.Choice(Strategy),
        default="keystone",
        help="Who says which user and project a caller is. With noauth anybody may claim to be "
        "anyone, so that dedupd then refuses to listen on anything but loopback.",
    ),
    cfg.Opt(
        "cache_seconds",
        type=values.Number("seconds", high=3600),
        default=10,
        help="How many seconds a token that Keystone found valid is believed without asking "
        "again, at most until it expires; refusals are never remembered. It is also how long a "
        "revoked token still works here (Nova checks it too). 0 asks Keystone every time.",
    ),
    cfg.Opt(
        "timeout_seconds",
        type=values.Number("seconds", low=0.1, high=300),
        default=10,
        help="How many seconds Keystone may take to validate a token; after that the caller gets "
        "503 and nothing is executed. Raise it where Keystone is far away or slow.",
    ),
]


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """How callers are known, checked."""

    strategy: Strategy
    cache_seconds: float
    timeout_seconds: float
