"""Where everything stands in etcd, and what the values hold.

Below ``[store] prefix`` (``/dedupd/v1/``):

================================= ========================================== ====================
key                               value                                      lives
================================= ========================================== ====================
``pending/<id>/<project>``        the head; empty once it is UNKNOWN         until it has ended
``requests/<id>``                 the head, with the result                  from then on
``payloads/<id>``                 what to send, sealed                       until it has ended
``listing/<project>/<time>/<id>`` the record's birth                         as the record
``expiry/<time>/<id>``            nothing                                    as the expiry
``workers/<worker>``              the worker's lease, as others see it       as the etcd lease
``fences/<name>``                 nothing; see ``etcd_fence``                a minute
``leader``                        the id of the worker that leads or led     until it resigns
``meta``                          layout, identity key and region            for ever
================================= ========================================== ====================

A record's head is at one of two keys: while it is awaited under ``pending/``, which is all that a
sweep reads; from then on under ``requests/``, where its appearance is the completion that every
front watches, and brings the answer along. The version of a record is its key's mod_revision.

Nothing here costs by the number of all records: what is pending is counted by the keys of
``pending/``, what is overdue is the front end of ``expiry/``, and a project's newest records are
the front end of its ``listing/``, whose time runs backwards in steps of ``LISTING_SECONDS``.

etcd leases are not used for expiry. They could not turn an answer into a tombstone, which is a
write of its own; and they begin anew whenever etcd elects a leader or is restored from a backup,
whereas a time in a key means the same ever after. An index key costs less than a lease's own
bookkeeping (etcd holds every attached key in memory twice more).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from oslo_log import log

from dedupd.deflate import Deflate
from dedupd.ports import Stored, Unreadable
from dedupd.request import Record, State

LOG = log.getLogger(__name__)

LISTING_SECONDS = 10
"""Records of one project that were created within so many seconds are listed in the order of their
claims; beyond, by the clocks of the fronts."""

SOME_HEAD = b"?"
"""Stands for a head whose value is not known; no value is like it."""

_LATEST = 2**32 - 1
_MICROSECONDS = 1_000_000
_END_OF_TIME = 2**63 - 1


class Head(NamedTuple):
    """What stands at a record's key. ``token`` was drawn for the write that put it there."""

    token: bytes
    record: Record
    result: bytes | None = None


class Place(NamedTuple):
    """Where a record stands in listings: the lower, the newer."""

    time: str
    revision: int
    """The claim's, negated."""
    id: str


class _Value(msgspec.Struct, frozen=True, array_like=True):
    """A head as etcd has it: the record of one that is no longer awaited is packed."""

    token: bytes
    record: Record | bytes
    result: bytes | None


_EXAMPLE = [
    *("", "", "", ""),
    *("server create", "/v2.1/servers", b""),
    dict.fromkeys(
        [
            "path",
            "microversion",
            *(f"server.{name}" for name in ("name", "imageRef", "flavorRef")),
            *(f"server.{name}" for name in ("networks", "metadata", "key_name")),
        ],
        b"",
    ),
    *(0.0, 3, ""),
    [["", 0.0, 0.0, "answered", 202, "", 0.0]],
    *(None, None, 202),
    ["server", "", "", "http://controller:8774/v2.1/servers/"],
    *("", 0.0, 0.0, 0),
]
"""A finished record, in its fields' order. It is spelled out and is no ``Record``, so that a field
which a record is given later leaves it as it is: what was packed beside it could not be read."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Value).decode
_decode_record = msgspec.msgpack.Decoder(Record).decode
_SMALL = Deflate(_encode(_EXAMPLE))


def encode(record: Record, token: bytes, result: bytes | None) -> bytes:
    """A head as a value; the record's version is left to etcd."""
    plain = msgspec.structs.replace(record, version=0)
    kept = plain if record.state.awaited else _SMALL.pack(_encode(plain))
    return _encode(_Value(token, kept, result))


def decode(value: bytes, version: int) -> Head:
    """The head in a value, its record with this version.

    Raises:
        ValueError: it is none.
    """
    found = _decode(value)
    record = found.record
    if isinstance(record, bytes):
        record = _decode_record(_SMALL.unpack(record))
    return Head(found.token, msgspec.structs.replace(record, version=version), found.result)


def head_at(pair: Any) -> Head:
    """The head that a key holds.

    Raises:
        Unreadable: it holds something else.
    """
    try:
        return decode(pair.value, pair.mod_revision)
    except ValueError as error:
        raise Unreadable(
            f"etcd: {pair.key.decode(errors='backslashreplace')} is not one of dedupd's records: "
            f"{error}. Its request may have been carried out (docs/operations.md, 'At three in the "
            "morning')."
        ) from None


def readable_at(pair: Any) -> Head | None:
    """The same for whoever reads many: what cannot be read is logged and passed over."""
    try:
        return head_at(pair)
    except Unreadable as error:
        LOG.error("%s", error)
        return None


def stored(head: Head, payload: bytes | None = None) -> Stored:
    """What the port calls a record with all that it carries."""
    return Stored(head.record, payload, head.result)


class Keys:
    """The keys below one prefix."""

    def __init__(self, prefix: str) -> None:
        root = prefix.encode()
        self.meta = root + b"meta"
        self.all_pending = root + b"pending/"
        self.all_requests = root + b"requests/"
        self.all_payloads = root + b"payloads/"
        self.all_listings = root + b"listing/"
        self.all_expiries = root + b"expiry/"
        self.all_workers = root + b"workers/"
        self.all_fences = root + b"fences/"
        self.leader = root + b"leader"

    def pending(self, record: Record) -> bytes:
        """The head of an awaited record; an empty mark of an unknown one."""
        return b"%b%b/%b" % (self.all_pending, _bytes(record.id), _bytes(record.project_id))

    def pending_of(self, id_: str) -> bytes:
        """What the pending key of an id begins with, whatever its project."""
        return b"%b%b/" % (self.all_pending, _bytes(id_))

    def request(self, id_: str) -> bytes:
        """The head of a record that is no longer awaited."""
        return self.all_requests + _bytes(id_)

    def head(self, record: Record) -> bytes:
        """Where the record's head stands."""
        return self.pending(record) if record.state.awaited else self.request(record.id)

    def image(self, record: Record, value: bytes = SOME_HEAD) -> dict[bytes, bytes]:
        """All of the record's keys but its payload's; ``value`` is what its head's holds."""
        return {self.listing(record): record.birth.encode(), **self.moving(record, value)}

    def moving(self, record: Record, value: bytes = SOME_HEAD) -> dict[bytes, bytes]:
        """Those among them that follow the record's state."""
        image = {self.head(record): value}
        if record.state is State.UNKNOWN:
            image[self.pending(record)] = b""
        if record.expires_at is not None:
            image[self.expiry(record, record.expires_at)] = b""
        return image

    def payload(self, id_: str) -> bytes:
        """What a pending record carries."""
        return self.all_payloads + _bytes(id_)

    def listing(self, record: Record) -> bytes:
        """The record's entry in its project's listing."""
        time = listing_time(record)
        return b"%b%b/%b" % (self.listings(record.project_id), time.encode(), _bytes(record.id))

    def expiry(self, record: Record, at: float) -> bytes:
        """The record's entry among those that end some time."""
        return b"%b%016x/%b" % (self.all_expiries, _microseconds(at), _bytes(record.id))

    def expired_until(self, now: float) -> bytes:
        """The key behind all entries that may be overdue."""
        return b"%b%016x0" % (self.all_expiries, _microseconds(now))

    def worker(self, worker_id: str) -> bytes:
        """A worker's lease."""
        return self.all_workers + _bytes(worker_id)

    def fence(self, name: str) -> bytes:
        """What a process's claims compare."""
        return self.all_fences + _bytes(name)

    def listings(self, project_id: str) -> bytes:
        """What all of a project's listing keys begin with."""
        return b"%b%b/" % (self.all_listings, _quoted(project_id))

    def pending_parts(self, key: bytes) -> tuple[str, str]:
        """Id and project of a pending key."""
        id_, _, project = key[len(self.all_pending) :].decode(*_CODING).partition("/")
        return id_, project

    def listing_prefix(self, key: bytes) -> bytes:
        """What all keys begin with that list the same project as this one."""
        return key[: key.index(b"/", len(self.all_listings)) + 1]

    @staticmethod
    def listed(key: bytes, revision: int) -> Place:
        """A listing entry's place; ``revision`` is the key's mod_revision, the claim's."""
        _, time, id_ = key.rsplit(b"/", 2)
        return Place(time.decode(), -revision, id_.decode(*_CODING))

    @staticmethod
    def last_part(key: bytes) -> str:
        """What stands behind the last slash."""
        return key.rpartition(b"/")[2].decode(*_CODING)


def place(record: Record, claimed: int) -> Place:
    """The place of a record that was claimed in the revision ``claimed``."""
    return Place(listing_time(record), -claimed, record.id)


def listing_time(record: Record) -> str:
    """The time of a record's creation as its listing key has it."""
    step = int(record.created_at // LISTING_SECONDS)
    return f"{_LATEST - min(max(step, 0), _LATEST):08x}"


def end_of(prefix: bytes) -> bytes:
    """The first key behind all that begin with ``prefix`` (which ends with a slash)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


_CODING = ("utf-8", "surrogatepass")
"""Ids may come from a caller (a marker, say) and hold anything."""


def _bytes(text: str) -> bytes:
    return text.encode(*_CODING)


@lru_cache(maxsize=4096)
def _quoted(project_id: str) -> bytes:
    """Without a slash, so that no project is a part of another's keys."""
    return quote(_bytes(project_id), safe="").encode()


def _microseconds(seconds: float) -> int:
    return int(min(max(seconds * _MICROSECONDS, 0.0), float(_END_OF_TIME - 1023)))
