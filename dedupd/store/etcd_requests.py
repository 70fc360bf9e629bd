"""Requests to etcd, spelled shortly: compares, puts, deletes, ranges, and what they answer.

They are plain dictionaries with the names of etcd's messages (rpc.proto) until they are sent, when
gRPC's message is made of all of them at once: half of the time that making each by itself takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from dedupd.store.etcd_keys import end_of
from dedupd.store.etcd_stubs import rpc

Compare = dict[str, Any]
Operation = dict[str, dict[str, Any]]

_CREATE, _MOD, _VALUE = rpc.Compare.CREATE, rpc.Compare.MOD, rpc.Compare.VALUE
_GREATER = rpc.Compare.GREATER


class Transaction(TypedDict):
    """One compare-and-swap (etcd's TxnRequest)."""

    compare: list[Compare]
    success: list[Operation]
    failure: list[Operation]


def is_version(key: bytes, version: int) -> Compare:
    """The key was last written in this revision."""
    return {"key": key, "target": _MOD, "mod_revision": version}


def has_value(key: bytes, value: bytes) -> Compare:
    """The key holds exactly this."""
    return {"key": key, "target": _VALUE, "value": value}


def exists(key: bytes) -> Compare:
    """The key is there."""
    return {"key": key, "target": _CREATE, "result": _GREATER, "create_revision": 0}


def is_absent(key: bytes) -> Compare:
    """The key is not there."""
    return {"key": key, "target": _CREATE, "create_revision": 0}


def none_below(prefix: bytes) -> Compare:
    """No key begins with the prefix."""
    return is_absent(prefix) | {"range_end": end_of(prefix)}


def put(key: bytes, value: bytes, lease: int = 0) -> Operation:
    """Write a key, tied to a lease if one is named."""
    return {"request_put": {"key": key, "value": value, "lease": lease}}


def delete(key: bytes) -> Operation:
    """Delete a key if it is there."""
    return {"request_delete_range": {"key": key}}


def get(key: bytes) -> Operation:
    """Read a key."""
    return {"request_range": {"key": key}}


def get_below(prefix: bytes) -> Operation:
    """Read all keys that begin with the prefix."""
    return {"request_range": {"key": prefix, "range_end": end_of(prefix)}}


def changes(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> list[Operation]:
    """The operations that leave ``after`` where ``before`` stood."""
    deletes = [delete(key) for key in before if key not in after]
    puts = [put(key, value) for key, value in after.items() if before.get(key) != value]
    return deletes + puts


def transaction(
    compare: list[Compare], success: list[Operation], failure: list[Operation] | None = None
) -> Transaction:
    """One compare-and-swap."""
    return {"compare": compare, "success": success, "failure": failure or []}


def message(transaction: Transaction) -> Any:
    """What is sent for a transaction by itself."""
    return rpc.TxnRequest(**transaction)


def puts(transaction: Transaction) -> list[dict[str, Any]]:
    """What a transaction writes where its compares hold."""
    return [each["request_put"] for each in transaction["success"] if "request_put" in each]


def size(transaction: Transaction) -> int:
    """How many bytes the values make that it compares and puts."""
    values = [*transaction["compare"], *puts(transaction)]
    return sum(len(each.get("value", b"")) for each in values)


def found(response: Any) -> Any:
    """The one key that a range of a transaction's response has found, or None."""
    pairs = response.response_range.kvs
    return pairs[0] if pairs else None
