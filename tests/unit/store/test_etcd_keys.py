"""The keys: each record's own, in the order that listings and expiry rely on."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dedupd.request import Record, State
from dedupd.store import etcd_keys
from dedupd.store.etcd_keys import LISTING_SECONDS, Keys, end_of
from tests.contract.stores import make_record

KEPT = (
    "93c405746f6b656ec44c01bbc3207253c132d5d8dcdc32c9d23ccd24d13cd9d0d40015182e4a325c"
    "5460b8a8d47039d428b420e465604ccbcc4b4f2d2a28cacc2b69828427236a0832fe07fa6fc20120"
    "5870e0000300c406726573756c74"
)
"""The value of a finished record, as it was kept when this was written."""
KEYS = Keys("/dedupd/v1/")
PROJECTS = st.text(min_size=1, max_size=40)
TIMES = st.floats(0, 4e9, allow_nan=False)


def record(project: str = "p1", created_at: float = 0, state: State = State.QUEUED) -> Record:
    return msgspec.structs.replace(
        make_record(), project_id=project, created_at=created_at, state=state
    )


@given(PROJECTS, PROJECTS)
def test_no_project_is_listed_with_another(one: str, other: str) -> None:
    prefix, key = KEYS.listings(one), KEYS.listing(record(other))
    assert (prefix <= key < end_of(prefix)) == (one == other)
    assert KEYS.listing_prefix(key) == KEYS.listings(other)


@given(PROJECTS)
def test_a_pending_key_tells_id_and_project(project: str) -> None:
    pending = record(project)
    assert KEYS.pending_parts(KEYS.pending(pending)) == (pending.id, project)
    assert KEYS.pending(pending).startswith(KEYS.pending_of(pending.id))


@given(TIMES, TIMES)
def test_the_newer_is_listed_first(one: float, other: float) -> None:
    earlier, later = sorted([one, other])
    steps = [int(time // LISTING_SECONDS) for time in (earlier, later)]
    keys = [KEYS.listing(record(created_at=time)) for time in (earlier, later)]
    assert (keys[1] < keys[0]) == (steps[0] < steps[1])


@given(TIMES, TIMES)
def test_the_overdue_are_before_the_end(expiry: float, now: float) -> None:
    key = KEYS.expiry(record(), expiry)
    if expiry <= now:
        assert KEYS.all_expiries <= key < KEYS.expired_until(now)
    if expiry > now + 1e-5:
        assert key > KEYS.expired_until(now)


@given(st.sampled_from([-1e300, -1.0, 1e300]))
def test_times_beyond_all_bounds_have_keys(time: float) -> None:
    for key in (KEYS.expiry(record(), time), KEYS.listing(record(created_at=time))):
        assert len(key) == len(KEYS.expiry(record(), 1.0)) or key.startswith(KEYS.all_listings)


@given(st.binary(max_size=8), st.none() | st.binary(max_size=50), st.sampled_from(State))
def test_a_head_comes_back_as_it_was(token: bytes, result: bytes | None, state: State) -> None:
    before = record(state=state)
    head = etcd_keys.decode(etcd_keys.encode(before, token, result), 7)
    assert head.record == msgspec.structs.replace(before, version=7)
    assert (head.token, head.result) == (token, result)


def test_what_was_kept_can_still_be_read() -> None:
    """A change of the example that records are packed beside would lose all that is kept."""
    head = etcd_keys.decode(bytes.fromhex(KEPT), 7)
    assert head.record == msgspec.structs.replace(record(state=State.DONE), version=7)
    assert (head.token, head.result) == (b"token", b"result")


def test_a_finished_record_is_small() -> None:
    sizes = {
        state: len(etcd_keys.encode(record(state=state), b"", None))
        for state in (State.SENDING, State.DONE)
    }
    assert sizes[State.DONE] < 0.8 * sizes[State.SENDING]


def test_a_record_stands_where_its_state_says() -> None:
    where = {
        state: KEYS.head(record(state=state)).removeprefix(b"/dedupd/v1/").split(b"/")[0]
        for state in State
    }
    assert {state for state, key in where.items() if key == b"pending"} == {
        State.QUEUED,
        State.SENDING,
    }
    marked = [
        state
        for state in State
        if KEYS.pending(record(state=state)) in KEYS.image(record(state=state))
    ]
    assert marked == [State.QUEUED, State.SENDING, State.UNKNOWN]
