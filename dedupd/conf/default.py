"""``[DEFAULT]``: what every part shares. The library's logging options join this group."""

from __future__ import annotations

import os
from pathlib import Path

from oslo_config import cfg

from dedupd.conf import values

GROUP: cfg.OptGroup | None = None

OPTIONS = [
    cfg.Opt(
        "region_name",
        type=values.Text(r"[\x21-\x7e]{1,255}", "write 1 to 255 visible ASCII characters"),
        default="RegionOne",
        help="The name of the region whose compute API this is, the same for every front and "
        "worker. It is part of every client token's scope: the same token in two regions means two "
        "requests. A store keeps the name that it was first used with and refuses any other, under "
        "which used tokens would look new: each region has a [store] url or prefix, and a [queue] "
        "name, of its own.",
    ),
    cfg.Opt(
        "state_path",
        type=values.Parsed(values.parse_absolute, "directory"),
        default="~/.local/state/dedupd",
        help="The directory for what must outlive the process: the SQLite database and, where "
        "nothing else is set, the keys. It is made with mode 0700 when it is first needed. Where "
        "XDG_STATE_HOME is set, the default is $XDG_STATE_HOME/dedupd instead. Set it to "
        "/var/lib/dedupd for a system service.",
    ),
]


def set_defaults(conf: cfg.ConfigOpts) -> None:
    """Follow XDG_STATE_HOME, which its specification ignores unless it is absolute."""
    home = os.environ.get("XDG_STATE_HOME", "")
    if Path(home).is_absolute():
        conf.set_default("state_path", f"{home}/dedupd")
