"""Copies of writes that are carried out late, and the fence that keeps those of claims from it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dedupd.sim.histories import copies, faults
from dedupd.sim.histories.copies import Copy, Fence, Sleepers
from dedupd.sim.histories.faults import LATER, Fault, Operation
from dedupd.store import etcd_fence


class Clock:
    """Seconds, as the test has them."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fence(clock: Clock) -> Fence:
    return Fence(clock)


def test_the_fence_stands_for_as_long_as_the_real_one() -> None:
    assert copies.LEASE_SECONDS == etcd_fence.LEASE_SECONDS
    assert copies.USED_SECONDS == etcd_fence.USED_SECONDS


def test_one_fence_serves_many_claims(fence: Fence) -> None:
    key = fence.standing()
    fence.tear_down()
    assert fence.standing() is key
    assert fence.is_there(key)


def test_what_is_condemned_stands_until_the_next_claim(fence: Fence) -> None:
    key = fence.standing()
    fence.condemn()
    assert fence.is_there(key)
    following = fence.standing()
    fence.tear_down()
    assert not fence.is_there(key)
    assert fence.is_there(following)


def test_nobody_hears_of_a_claim_in_doubt_before_its_fence_is_gone(fence: Fence) -> None:
    key = fence.standing()
    fence.clear()
    assert not fence.is_there(key)


def test_one_that_was_used_for_long_is_replaced(fence: Fence, clock: Clock) -> None:
    key = fence.standing()
    clock.now = copies.USED_SECONDS
    following = fence.standing()
    assert following is not key
    fence.tear_down()
    assert (fence.is_there(key), fence.is_there(following)) == (False, True)


def test_what_an_ended_process_leaves_goes_by_itself(fence: Fence, clock: Clock) -> None:
    key = fence.standing()
    clock.now = copies.LEASE_SECONDS
    assert not fence.is_there(key)


def test_a_copy_is_carried_out_once_by_its_time_or_when_all_wake() -> None:
    due: list[tuple[float, Callable[[Copy], object], Copy]] = []
    sleepers = Sleepers(lambda delay, callback, copy: due.append((delay, callback, copy)))
    done: list[str] = []
    sleepers.leave(0.1, 50.0, lambda: done.append("long"))
    sleepers.wake()
    sleepers.leave(0.1, 50.0, lambda: done.append("behind"))
    for _, callback, copy in sorted(due, key=lambda entry: entry[0]):
        callback(copy)
    assert [delay for delay, _, _ in due] == [50.1, 0.05, pytest.approx(0.15)]
    assert done == ["long", "behind"]


def test_every_course_is_drawn_and_lies_for_moments_or_minutes() -> None:
    drawn = [copies.course(number / 1000) for number in range(1000)]
    outcomes = {(each.answered, each.carried_out) for each in drawn}
    assert outcomes == {(True, True), (False, True), (False, False)}
    seconds = sorted(each.seconds for each in drawn)
    assert seconds[0] >= copies.SHORTEST_SECONDS
    assert seconds[400] < 5.0 < seconds[900]
    assert seconds[-1] < copies.LONGEST_SECONDS


def test_a_later_kind_changes_nothing_else_that_a_seed_decides() -> None:
    often = dict.fromkeys(Fault, 1.0)
    older = {fault: factor for fault, factor in often.items() if fault not in LATER}
    chances, same = faults.stream(1, "any").chance, faults.stream(1, "any").chance
    menus = faults.menus(chances, faults.stream(2, "any").chance, often)
    before = faults.menus(same, faults.stream(3, "any").chance, older | dict.fromkeys(LATER, 0.0))
    assert chances.random() == same.random()
    for operation in Operation:
        menu = [entry for entry in menus[operation] if entry[1] not in LATER]
        assert menu == list(before[operation])
