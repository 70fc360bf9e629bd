"""One project that Nova turns down leaves the others room, and most of its own requests alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dedupd.metrics import Metrics
from dedupd.request import Record
from dedupd.worker import turns as turns_module
from dedupd.worker.turns import Notices, Turn, Turns
from tests.unit.site import Delivered

LIMIT, MOST = 4, 16


def queued(request_id: str, project: str, retry_until: float | None = None) -> Record:
    return Record(
        id=request_id,
        birth="b1",
        project_id=project,
        user_id="u1",
        route="server create",
        path="/v2.1/servers",
        fingerprint=b"",
        parts={},
        created_at=0.0,
        retry_until=retry_until,
    )


class Worker:
    """Requests of several projects, and their turns."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.turns = Turns(LIMIT, MOST, self.metrics.put_off)
        self.begun: dict[str, Turn] = {}
        self.deliveries: dict[str, Delivered] = {}

    def take(
        self, project: str, count: int = 1, *, held_up: bool = False, until: float | None = None
    ) -> list[str]:
        """Take up requests of a project; their names.

        ``until``: the time to which they are sent again, if they were turned down before.
        """
        names = [f"{project}{len(self.deliveries) + number}" for number in range(count)]
        for name in names:
            delivery = self.deliveries[name] = Delivered(name)
            turn = self.turns.begin(queued(name, project, until), delivery)
            if turn is not None:
                self.begun[name] = turn
        if held_up:
            self.hold_up(*names)
        return names

    def hold_up(self, *names: str) -> None:
        for name in names:
            self.begun[name].hold_up(queued(name, "", 9.0))

    def end(self, *names: str) -> list[str]:
        """End their turns; what is to be published again."""
        ended: list[Notices] = [self.begun.pop(name).end() for name in names]
        return [name for notices in ended for name in notices]

    def begins(self, names: list[str]) -> int:
        """Of how many of them it is the turn."""
        return sum(name in self.begun for name in names)

    @property
    def put_off(self) -> float:
        """What the gauge says."""
        return self.metrics.registry.get_sample_value("dedupd_put_off_requests") or 0.0


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.end(*[*worker.begun])
    assert worker.put_off == 0
    assert worker.turns._projects == {}
    assert worker.turns._held_up == 0


def test_all_are_begun_while_none_waits(worker: Worker) -> None:
    names = worker.take("a", 3 * MOST)
    assert worker.begins(names) == 3 * MOST
    assert not any(delivery.ends for delivery in worker.deliveries.values())


def test_what_waits_to_be_sent_again_has_no_message(worker: Worker) -> None:
    [name] = worker.take("a", held_up=True)
    assert worker.deliveries[name].ends == ["acknowledged"]


def test_it_is_counted_once_however_often_it_waits(worker: Worker) -> None:
    [name, _] = worker.take("a", 2)
    for _ in range(LIMIT):
        worker.hold_up(name)
    assert worker.begins(worker.take("a", MOST)) > 0
    worker.end(name)
    assert worker.begins(worker.take("a", 2 * MOST)) == 2 * MOST


@pytest.mark.parametrize(
    ("waiting", "others"), [(1, 12), (2, 8), (LIMIT - 1, 4), (LIMIT, 0), (2 * LIMIT, 0)]
)
def test_the_more_wait_the_fewer_others_are_begun(
    worker: Worker, waiting: int, others: int
) -> None:
    first = worker.take("a", waiting)
    worker.hold_up(*first)
    rest = worker.take("a", 2 * MOST)
    assert worker.begins(rest) == others
    assert worker.put_off == 2 * MOST - others


def test_so_it_is_where_others_were_begun_before(worker: Worker) -> None:
    [first, *_] = worker.take("a", MOST)
    worker.hold_up(first)
    assert worker.begins(worker.take("a", MOST)) == 0


def test_other_projects_have_their_turns(worker: Worker) -> None:
    """Whatever is turned down of any number of projects."""
    for number in range(3 * LIMIT):
        worker.take(f"p{number}-", LIMIT, held_up=True)
        worker.take(f"p{number}-", LIMIT)
    assert worker.begins(worker.take("b", MOST)) == MOST


def test_as_many_are_published_again_as_there_is_room_for(worker: Worker) -> None:
    first = worker.take("a", 2 * LIMIT, held_up=True)
    rest = worker.take("a", 10)
    assert worker.end(*first[:LIMIT]) == []
    assert worker.end(first[LIMIT]) == rest[:4]
    assert worker.put_off == 6
    assert worker.end(first[LIMIT + 1]) == rest[4:]


def test_so_it_is_when_none_waits_any_more(worker: Worker) -> None:
    """Each 429 in a backlog would else have all of it go round once."""
    others = worker.take("a", MOST - LIMIT)
    first = worker.take("a", LIMIT, held_up=True)
    rest = worker.take("a", 5 * MOST)
    assert worker.end(*first) == rest[:4]
    assert worker.end(others[0]) == rest[4:9]


def test_all_are_when_nothing_is_begun_any_more(worker: Worker) -> None:
    first = worker.take("a", LIMIT, held_up=True)
    rest = worker.take("a", 5 * MOST)
    published = worker.end(*first)
    assert published == rest


def test_nothing_is_put_off_once_it_stops(worker: Worker) -> None:
    worker.take("a", LIMIT, held_up=True)
    worker.take("b", LIMIT, held_up=True)
    rest = [*worker.take("a", 3), *worker.take("b", 3)]
    assert [*worker.turns.stop()] == rest
    assert worker.put_off == 0
    assert worker.begins(worker.take("a", 3)) == 3


def test_what_they_were_claimed_as_goes_with_them(worker: Worker) -> None:
    [first] = worker.take("a")
    worker.hold_up(first, *worker.take("a", LIMIT))
    claimed = Delivered("claimed")
    claimed.claimed = object()  # type: ignore[assignment]
    assert worker.turns.begin(queued("claimed", "a"), claimed) is None
    notices = [worker.begun.pop(name).end() for name in [*worker.begun]]
    assert {"claimed": claimed.claimed} in notices


def test_but_not_where_another_message_says_that_it_may_be_another(worker: Worker) -> None:
    first = worker.take("a", LIMIT, held_up=True)
    claimed, again = Delivered("claimed"), Delivered("claimed")
    claimed.claimed = object()  # type: ignore[assignment]
    for delivery in (claimed, again):
        assert worker.turns.begin(queued("claimed", "a"), delivery) is None
    assert worker.put_off == 1
    notices = [worker.begun.pop(name).end() for name in first]
    assert {"claimed": None} in notices


def test_what_comes_beyond_a_bound_is_dropped(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept, it would hold up others."""
    monkeypatch.setattr(turns_module, "MAX_PUT_OFF", 2)
    first = worker.take("a", LIMIT, held_up=True)
    rest = worker.take("a", 3)
    assert worker.put_off == 2
    assert worker.begins(worker.take("b")) == 1
    assert worker.end(*first) == rest[:2]


def test_what_was_turned_down_elsewhere_is_never_put_off(worker: Worker) -> None:
    """Its time goes by: put off behind a backlog, it would be released by nobody."""
    worker.take("a", LIMIT, held_up=True)
    assert worker.begins(worker.take("a", 2 * MOST, until=300.0)) == 2 * MOST
    assert worker.put_off == 0


def test_what_all_projects_hold_up_has_a_bound(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond one for each."""
    monkeypatch.setattr(turns_module, "MAX_HELD_UP", LIMIT)
    first, *_, last = [worker.take(f"p{n}-", held_up=True)[0] for n in range(2 * LIMIT)]
    assert worker.begins(worker.take("p0-", MOST)) == 0
    assert worker.begins(worker.take("b", MOST)) == MOST
    assert worker.end(last) == []
    assert len(worker.end(first)) == MOST


@pytest.mark.parametrize("held_up", [True, False])
def test_who_gives_up_publishes_what_has_no_message_any_more(worker: Worker, held_up: bool) -> None:
    """As it stands, so that another one knows that nobody has it since."""
    [name] = worker.take("a", held_up=held_up)
    assert worker.begun.pop(name).give_up() == ({name: queued(name, "", 9.0)} if held_up else {})
