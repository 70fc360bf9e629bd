"""``[store]``: what keeps the records."""

from __future__ import annotations

from dataclasses import dataclass

from oslo_config import cfg

from dedupd.conf import values

GROUP = cfg.OptGroup("store", help="What keeps the records; they are the truth.")

OPTIONS = [
    cfg.Opt(
        "url",
        type=values.Parsed(values.parse_store_url, "URL"),
        default="sqlite:///records.db",
        help="Where the records are kept. sqlite:///records.db is below state_path, "
        "sqlite:////srv/records.db absolute; the file must be on a local disk, since network file "
        "systems lock badly. memory:// forgets all when the process ends: for tests only.",
    ),
]


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What keeps the records, checked; a SQLite path is absolute here."""

    url: values.StoreUrl
