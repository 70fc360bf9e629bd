"""``[seal]``: the keys that protect what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from dedupd.conf import values

GROUP = cfg.OptGroup("seal", help="The keys that protect what is stored.")

OPTIONS = [
    cfg.Opt(
        "key_file",
        type=values.Parsed(values.expand, "path"),
        default="seal.keys",
        help="The file with the keys that seal credentials, bodies and answers in the store, and "
        "that turn tokens into ids. A relative path is below state_path. Keep it to its owner "
        "(mode 0600) and back it up apart from the database: without it the records cannot be "
        "read, and used tokens look new.",
    ),
]


@dataclass(frozen=True, slots=True)
class SealSettings:
    """Where the keys are: an absolute path, of which nothing is known but that it may be a file."""

    key_file: Path
