"""``[store]``: what keeps the records."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from oslo_config import cfg, types

from dedupd.conf import values
from dedupd.conf.values import StoreScheme
from dedupd.errors import ConfigError

GROUP = cfg.OptGroup("store", help="What keeps the records; they are the truth.")

OPTIONS = [
    cfg.Opt(
        "url",
        type=values.Parsed(values.parse_store_url, "URL"),
        default="sqlite:///records.db",
        help="Where the records are kept. sqlite:///records.db is below state_path, "
        "sqlite:////srv/records.db absolute; the file must be on a local disk, since network file "
        "systems lock badly. etcd://host1:2379,host2:2379,host3:2379 names the members of an etcd "
        "cluster, which fronts and workers on many machines share; write etcds:// for TLS. "
        "memory:// forgets all when the process ends: for tests only.",
    ),
    cfg.Opt(
        "cafile",
        type=values.Parsed(values.expand, "path"),
        help="The certificate authorities that may have signed etcd's certificates (PEM); with "
        "etcds:// only. Where it is not set, the system's.",
    ),
    cfg.Opt(
        "certfile",
        type=values.Parsed(values.expand, "path"),
        help="The certificate of dedupd itself (PEM), for an etcd that asks its clients for one "
        "(--client-cert-auth); with etcds:// and keyfile.",
    ),
    cfg.Opt(
        "keyfile",
        type=values.Parsed(values.expand, "path"),
        help="The private key of certfile (PEM, without a passphrase, readable by dedupd alone).",
    ),
    cfg.Opt(
        "username",
        type=types.String(),
        default="",
        help="The etcd user, where etcd's authentication is on; with etcds:// only, so that the "
        "password does not travel in clear. It needs to read and write all keys below prefix.",
    ),
    cfg.Opt(
        "password",
        type=types.String(),
        default="",
        secret=True,
        help="The etcd user's password. OS_STORE__PASSWORD in the environment keeps it out of "
        "files.",
    ),
    cfg.Opt(
        "prefix",
        type=values.Text(r"/[\x21-\x7e]{0,200}/", "write a path with a slash at both ends"),
        default="/dedupd/v1/",
        help="What all of dedupd's keys in etcd begin with. Change it where two installations "
        "share a cluster.",
    ),
    cfg.Opt(
        "allow_lossy_etcd",
        type=types.Boolean(),
        default=False,
        help="Whether to start on etcd 3.5.0 to 3.5.4, which lose acknowledged writes when they "
        "are killed, so that a request may be carried out twice. For tests only.",
    ),
]


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What keeps the records, checked; a SQLite path is absolute here."""

    url: values.StoreUrl
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    prefix: str = "/dedupd/v1/"
    allow_lossy_etcd: bool = False

    @property
    def files(self) -> dict[str, Path]:
        """The PEM files that are set, by their options."""
        named = {"cafile": self.cafile, "certfile": self.certfile, "keyfile": self.keyfile}
        return {name: path for name, path in named.items() if path is not None}


def check(settings: StoreSettings) -> None:
    """Refuse what contradicts itself, and files that cannot be read.

    Raises:
        ConfigError: the first contradiction found.
    """
    secure = settings.url.scheme is StoreScheme.ETCDS
    given = [*settings.files, *(["username"] if settings.username else [])]
    if given and not secure:
        raise ConfigError(
            f"[store] {given[0]} is set, but url = {settings.url} is not TLS: write etcds://, or "
            f"take {given[0]} out."
        )
    if (settings.certfile is None) != (settings.keyfile is None):
        raise ConfigError("[store] certfile and keyfile belong together: set both, or neither.")
    if bool(settings.username) != bool(settings.password):
        raise ConfigError("[store] username and password belong together: set both, or neither.")
    for name, path in settings.files.items():
        if not values.is_readable(path):
            raise ConfigError(
                f"[store] {name} = {path} is not a file that this user may read. Name a PEM file."
            )
