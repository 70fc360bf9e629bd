from __future__ import annotations

import pytest

from dedupd.api.auth import Identity
from dedupd.api.identity_cache import IdentityCache

ANN = Identity("ann", "p1")
BOB = Identity("bob", "p1")


class Clock:
    """Time that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cache_of(clock: Clock, seconds: float, largest: int = 10) -> IdentityCache:
    return IdentityCache(seconds, largest=largest, clock=clock, wall_clock=clock)


def test_an_identity_is_kept_for_its_time(clock: Clock) -> None:
    cache = cache_of(clock, 10)
    assert cache.get(b"a") is None
    cache.put(b"a", ANN)
    clock.now += 9.9
    assert cache.get(b"a") == ANN
    assert cache.get(b"b") is None
    clock.now += 0.1
    assert cache.get(b"a") is None


def test_never_past_the_expiry_of_its_token(clock: Clock) -> None:
    cache = cache_of(clock, 10)
    cache.put(b"a", Identity("ann", "p1", expires_at=clock.now + 3))
    clock.now += 2.9
    assert cache.get(b"a")
    clock.now += 0.1
    assert cache.get(b"a") is None


def test_what_has_expired_is_not_kept_and_drops_what_was(clock: Clock) -> None:
    cache = cache_of(clock, 10)
    cache.put(b"a", ANN)
    cache.put(b"a", Identity("ann", "p1", expires_at=clock.now))
    assert cache.get(b"a") is None
    assert len(cache) == 0


def test_zero_seconds_keep_nothing(clock: Clock) -> None:
    cache = cache_of(clock, 0)
    cache.put(b"a", ANN)
    assert cache.get(b"a") is None
    assert len(cache) == 0


def test_put_again_begins_anew(clock: Clock) -> None:
    cache = cache_of(clock, 10)
    cache.put(b"a", ANN)
    clock.now += 6
    cache.put(b"a", BOB)
    clock.now += 6
    assert cache.get(b"a") == BOB


def test_what_has_ended_is_dropped(clock: Clock) -> None:
    cache = cache_of(clock, 10)
    for name in (b"a", b"b", b"c"):
        cache.put(name, ANN)
        clock.now += 4
    cache.put(b"d", ANN)
    assert len(cache) == 3
    assert [cache.get(name) for name in (b"a", b"b")] == [None, ANN]


def test_the_oldest_goes_beyond_the_bound(clock: Clock) -> None:
    cache = cache_of(clock, 10, largest=2)
    for name in (b"a", b"b", b"c"):
        cache.put(name, ANN)
    assert len(cache) == 2
    assert [cache.get(name) for name in (b"a", b"b", b"c")] == [None, ANN, ANN]
