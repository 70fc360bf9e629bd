"""What the observer writes down: claims, answers, sends and looks, as they truly were."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from dedupd.cloud.probes.base import Absent, Finding
from dedupd.exchange import Answer
from dedupd.request import Record, State


@dataclass
class Life:
    """One claim of an id, and what became of it."""

    record: Record
    when: float
    accepted: bool = False
    """Whether a caller was told that it goes on."""
    withdrawn: bool = False
    """Whether it was taken back before anything was sent."""
    heard: bool = False
    """Whether the front that claimed it was told so."""


@dataclass
class Forget:
    """A record that an operator deleted."""

    when: float
    returned: float | None = None
    """When the command was done, if it was told that all went well."""


@dataclass
class Post:
    """One POST that left its worker."""

    when: float
    timeout: float
    waited: float = 0.0
    """Seconds until the cloud accepted it."""
    spent: bool = False
    """Whether it can have no effect (any more) that nobody knows of."""


@dataclass(frozen=True)
class Given:
    """One answer that a caller got."""

    began: float
    when: float
    request_id: str
    user: str
    project: str
    name: str
    """What the caller wanted to make is called."""
    status: int
    replayed: bool
    standing: str
    """What ``Idempotency-Status`` said."""
    applied: bool
    """Whether ``Preference-Applied`` was said."""
    body: bytes


@dataclass
class Ledger:
    """One history's observations; ``clock`` is its time in seconds."""

    clock: Callable[[], float]
    look_after: Callable[[Post], float] = lambda post: post.when
    """From when on a look counts for sending again."""
    lives: dict[tuple[str, str], Life] = field(default_factory=dict)
    given: list[Given] = field(default_factory=list)
    made: dict[str, list[Answer]] = field(default_factory=lambda: defaultdict(list))
    """The cloud's answers to POSTs, those too that nobody got."""
    passed: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """What those were answered who have no token: status and body."""
    violations: list[str] = field(default_factory=list)
    sends: int = 0
    """How many POSTs were begun; one that has to wait may leave later."""
    meddled: set[str] = field(default_factory=set)
    """What somebody deleted past dedupd."""
    touched: set[str] = field(default_factory=set)
    """What somebody deleted or renamed: of several servers, another one is the first then."""
    excused: set[str] = field(default_factory=set)
    """The requests whose server somebody unmarked, or whose keypair's name somebody set free."""
    released: dict[str, float] = field(default_factory=dict)
    """When a life of each id was released last."""
    forgets: dict[str, list[Forget]] = field(default_factory=lambda: defaultdict(list))
    """What an operator forgot."""
    careless: Counter[str] = field(default_factory=Counter)
    """How often an operator decided about a request without a look."""
    earlier: set[str] = field(default_factory=set)
    """The servers that an earlier life of a token made, long ago."""
    before: int = 0
    """How many of the cloud's effects were there when the history began."""
    _posts: dict[str, list[Post]] = field(default_factory=lambda: defaultdict(list))

    def claimed(self, record: Record) -> None:
        """A claim was won; what its front has heard of never comes back when it is gone."""
        before = self.lives.get((record.id, record.birth))
        if before is not None and before.heard:
            self.violations.append(f"4: {record.id[:8]} was gone, and came back by itself")
        self.lives[record.id, record.birth] = Life(record, self.clock())

    def heard(self, record: Record) -> None:
        """A front is told that its claim was won."""
        self.lives[record.id, record.birth].heard = True

    def moved(self, before: Record, after: Record) -> None:
        """A record was written; what has ended stays as it is, until only a tombstone is left."""
        if before.state >= State.DONE and after.state is not State.TOMBSTONE:
            self.violations.append(f"2: {before.id[:8]} had ended, and was changed")
        if before.state is State.UNKNOWN and after.state is State.QUEUED:
            self._answered_for(before.id)
        if after.state is State.RELEASED:
            self.released[after.id] = self.clock()

    def forgotten(self, record: Record) -> None:
        """A record was deleted; ``record`` is as it stood."""
        life = self.lives[record.id, record.birth]
        life.withdrawn = record.state.awaited
        if record.attempts and not record.state.vacant:
            self.violations.append(f"4: {record.id[:8]} was forgotten after it was sent")

    def forgotten_by_hand(self, record: Record) -> None:
        """An operator deleted a record: its token counts as never used."""
        self.forgets[record.id].append(Forget(self.clock()))
        self.careless[record.id] += 1
        self._answered_for(record.id)

    def _answered_for(self, request_id: str) -> None:
        """An operator who does not look says that what was sent has had no effect."""
        for post in self._posts[request_id] if self.careless[request_id] else ():
            post.spent = True

    def accepted(self, record: Record | None, request_id: str, began: float) -> None:
        """A caller who came at ``began`` was told that a request goes on; ``record`` stands for it.

        Where none stands, or only one that was claimed since, the one that was accepted may have
        been released or forgotten meanwhile, and a later claim be withdrawn.
        """
        life = self.lives.get((request_id, record.birth)) if record else None
        ends = [forget.when for forget in self.forgets.get(request_id, ())]
        ended = max([self.released.get(request_id, -1.0), *ends]) >= began
        if ended and (life is None or life.when >= began):
            return
        if life is None and request_id in self.forgets:
            return
        if life is None:
            self.violations.append(f"4: {request_id[:8]} was accepted, and there is no record")
        else:
            life.accepted = True

    def sent(self, request_id: str, timeout: float) -> Post:
        """A POST leaves its worker: all that went before must be known to be spent."""
        if any(not post.spent for post in self._posts[request_id]):
            self.violations.append(f"6: {request_id[:8]} was sent again unprobed")
        post = Post(self.clock(), timeout)
        self._posts[request_id].append(post)
        return post

    def looked(self, request_id: str, began: float, finding: Finding) -> None:
        """A probe was answered."""
        if not isinstance(finding, Absent):
            return
        for post in self._posts[request_id]:
            post.spent = post.spent or began >= self.look_after(post)
