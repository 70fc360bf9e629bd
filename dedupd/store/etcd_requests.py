"""Requests to etcd, spelled shortly: compares, puts, deletes, ranges, and what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dedupd.store.etcd_keys import end_of
from dedupd.store.etcd_stubs import rpc


def is_version(key: bytes, version: int) -> Any:
    """The key was last written in this revision."""
    return rpc.Compare(key=key, target=rpc.Compare.MOD, mod_revision=version)


def has_value(key: bytes, value: bytes) -> Any:
    """The key holds exactly this."""
    return rpc.Compare(key=key, target=rpc.Compare.VALUE, value=value)


def exists(key: bytes) -> Any:
    """The key is there."""
    return rpc.Compare(
        key=key, target=rpc.Compare.CREATE, result=rpc.Compare.GREATER, create_revision=0
    )


def is_absent(key: bytes) -> Any:
    """The key is not there."""
    return rpc.Compare(key=key, target=rpc.Compare.CREATE, create_revision=0)


def none_below(prefix: bytes) -> Any:
    """No key begins with the prefix."""
    return rpc.Compare(
        key=prefix, range_end=end_of(prefix), target=rpc.Compare.CREATE, create_revision=0
    )


def put(key: bytes, value: bytes, lease: int = 0) -> Any:
    """Write a key, tied to a lease if one is named."""
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=lease))


def delete(key: bytes) -> Any:
    """Delete a key if it is there."""
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))


def get(key: bytes) -> Any:
    """Read a key."""
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key))


def get_below(prefix: bytes) -> Any:
    """Read all keys that begin with the prefix."""
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=prefix, range_end=end_of(prefix)))


def changes(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> list[Any]:
    """The operations that leave ``after`` where ``before`` stood."""
    deletes = [delete(key) for key in before if key not in after]
    puts = [put(key, value) for key, value in after.items() if before.get(key) != value]
    return deletes + puts


def transaction(
    compares: Iterable[Any], success: Iterable[Any], failure: Iterable[Any] = ()
) -> Any:
    """One compare-and-swap."""
    return rpc.TxnRequest(compare=compares, success=success, failure=failure)


def found(response: Any) -> Any:
    """The one key that a range of a transaction's response has found, or None."""
    pairs = response.response_range.kvs
    return pairs[0] if pairs else None
