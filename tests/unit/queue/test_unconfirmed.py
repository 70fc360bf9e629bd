from __future__ import annotations

from dedupd.queue.unconfirmed import Unconfirmed


def published(*items: str) -> Unconfirmed[str]:
    unconfirmed: Unconfirmed[str] = Unconfirmed()
    for item in items:
        unconfirmed.published(item)
    return unconfirmed


def test_one_is_confirmed_by_its_number() -> None:
    unconfirmed = published("a", "b", "c")
    assert unconfirmed.take(2, multiple=False) == ["b"]
    assert unconfirmed.take(2, multiple=False) == []
    assert len(unconfirmed) == 2


def test_one_confirmation_stands_for_all_before_it() -> None:
    unconfirmed = published("a", "b", "c", "d")
    unconfirmed.take(2, multiple=False)
    assert unconfirmed.take(3, multiple=True) == ["a", "c"]
    assert unconfirmed.take(3, multiple=True) == []
    assert unconfirmed.take(9, multiple=True) == ["d"]
    assert not unconfirmed


def test_the_oldest_is_the_one_that_has_waited_for_longest() -> None:
    unconfirmed = published("a", "b", "c")
    assert unconfirmed.oldest == "a"
    unconfirmed.take(1, multiple=False)
    assert unconfirmed.oldest == "b"
    unconfirmed.take(3, multiple=True)
    assert unconfirmed.oldest is None
