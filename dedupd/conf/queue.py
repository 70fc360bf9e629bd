"""``[queue]``: how workers hear that there is work, and how much may wait."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from dedupd.conf import values
from dedupd.conf.queue_url import QueueScheme, QueueUrl, parse_queue_url
from dedupd.errors import ConfigError

GROUP = cfg.OptGroup("queue", help="How workers hear of work. It is a hint: records are the truth.")

OPTIONS = [
    cfg.Opt(
        "url",
        type=values.Parsed(parse_queue_url, "URL"),
        default="memory://",
        help="The broker. memory:// serves a single process; what it forgets when that process "
        "ends is found again in the records. For several, RabbitMQ: "
        "amqp://user:password@host:5672,host:5672/virtual_host, with amqps:// for TLS; the hosts "
        "are members of one cluster, and any of them is used. Characters that mean something in a "
        "URL are percent-encoded in user and password; // at the end is the virtual host /.",
        secret=True,
    ),
    cfg.Opt(
        "cafile",
        type=values.Parsed(values.parse_file, "path"),
        help="The certificates (PEM) of the authorities that the broker's certificate may come "
        "from, with amqps://. Where it is not set, those that the system trusts.",
    ),
    cfg.Opt(
        "certfile",
        type=values.Parsed(values.parse_file, "path"),
        help="The certificate (PEM) that dedupd shows, with amqps://, where the broker asks for "
        "one. It may be followed by its key.",
    ),
    cfg.Opt(
        "keyfile",
        type=values.Parsed(values.parse_file, "path"),
        help="The key (PEM) that belongs to certfile, where it is in a file of its own.",
    ),
    cfg.Opt(
        "name",
        type=values.Text(r"[A-Za-z0-9_.-]{1,64}", "write 1 to 64 of A-Z a-z 0-9 _ . -"),
        default="dedupd",
        help="The queue's name on the broker. Change it where two installations share one.",
    ),
    cfg.Opt(
        "delivery_limit",
        type=values.Whole("deliveries", high=1_000_000),
        default=20,
        help="How often RabbitMQ delivers one message to workers that then die. "
        "After that it goes to the queue that has .dead behind its name, for somebody to look at; "
        "the request itself is published again, since its record says that it waits. It is fixed "
        "when the queue is made: delete the queue after a change.",
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

    url: QueueUrl
    cafile: Path | None
    certfile: Path | None
    keyfile: Path | None
    name: str
    delivery_limit: int
    max_depth: int
    project_share: float

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: files for TLS where there is none, or a key without its certificate.
        """
        files = {"cafile": self.cafile, "certfile": self.certfile, "keyfile": self.keyfile}
        given = [name for name, path in files.items() if path is not None]
        if given and self.url.scheme is not QueueScheme.AMQPS:
            raise ConfigError(
                f"[queue] {given[0]} is set, but [queue] url = {self.url} has no TLS: "
                "write amqps://, or leave the file out."
            )
        if self.keyfile is not None and self.certfile is None:
            raise ConfigError(
                "[queue] keyfile is set without certfile: name the certificate that it belongs to."
            )
