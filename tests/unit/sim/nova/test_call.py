"""Who calls, and with which version."""

import pytest

from dedupd.sim.nova.call import DEFAULT_PROJECT, caller_from_token, requested_minor
from dedupd.sim.nova.wire import Fault


@pytest.mark.parametrize(
    ("token", "user", "project", "admin", "writes", "reads"),
    [
        ("admin", "admin", DEFAULT_PROJECT, True, True, True),
        ("demo", "demo", DEFAULT_PROJECT, False, True, True),
        ("alice:blue", "alice", "blue", False, True, True),
        ("bob:blue:reader", "bob", "blue", False, False, True),
        ("bob::reader", "bob", DEFAULT_PROJECT, False, False, True),
        ("bob:blue:outsider", "bob", "blue", False, False, False),
        ("carol:blue:admin", "carol", "blue", True, True, True),
    ],
)
def test_token(token: str, user: str, project: str, admin: bool, writes: bool, reads: bool) -> None:
    caller = caller_from_token(token)
    assert (caller.user, caller.project) == (user, project)
    assert (caller.is_admin, caller.may_write, caller.may_read) == (admin, writes, reads)


@pytest.mark.parametrize("text", ["", "2", "2.x", "2.01", "x.1", "2.1.1", "-2.1"])
def test_malformed_versions_are_400(text: str) -> None:
    with pytest.raises(Fault, match="invalid format") as raised:
        requested_minor({"x-openstack-nova-api-version": text})
    assert raised.value.status == 400


@pytest.mark.parametrize("text", ["2.0", "2.105", "1.1", "3.1"])
def test_versions_out_of_range_are_406(text: str) -> None:
    with pytest.raises(Fault, match="is not supported") as raised:
        requested_minor({"openstack-api-version": f"compute {text}"})
    assert raised.value.status == 406
