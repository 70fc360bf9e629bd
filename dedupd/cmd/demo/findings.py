"""What the demo found: counted, never assumed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dedupd.cmd.demo.observer import surplus
from dedupd.cmd.demo.storm import Tally


class Control(msgspec.Struct, frozen=True):
    """The control group: plain clients that repeat a POST, straight at Nova."""

    wanted: int
    posts: int
    lost_answers: int
    servers: int
    duplicates: int


class Findings(msgspec.Struct, frozen=True):
    """What was measured; requests are counted by their tokens."""

    seed: int
    tokens: int
    clients: int
    posts: int
    unanswered_posts: dict[str, int]
    """POSTs after which a client had to repeat, by the reason."""
    lost_answers: dict[str, int]
    """Answers that Nova lost or spoiled, by the fault."""
    kills: int
    in_flight_at_kill: int
    answers: int
    differing: int
    """Tokens whose clients were not all given the same answer."""
    servers: int
    duplicates: int
    lost: int
    """Tokens of which a client has no answer, or one that names no server in Nova."""
    control: Control
    seconds: float = 0.0
    """How long the whole demo took."""

    def after(self, seconds: float) -> Findings:
        """The same, with how long it took."""
        return msgspec.structs.replace(self, seconds=round(seconds, 3))

    @property
    def passed(self) -> bool:
        """Whether everything happened exactly once, and everyone was told the same."""
        return not (self.duplicates or self.lost or self.differing)


def differing(tally: Tally) -> int:
    """How many names were answered in more than one way."""
    return sum(len(replies) > 1 for replies in tally.replies.values())


def lost(names: list[str], tally: Tally, servers: Mapping[str, list[str]]) -> int:
    """How many names have a client without an answer that names a server which is there."""
    return sum(not _kept(name, tally, servers.get(name, [])) for name in names)


def control_group(tally: Tally, lost_answers: int, servers: dict[str, list[str]]) -> Control:
    """What came of the plain clients."""
    return Control(
        wanted=tally.wanted,
        posts=tally.posts,
        lost_answers=lost_answers,
        servers=sum(map(len, servers.values())),
        duplicates=surplus(servers).total(),
    )


def _kept(name: str, tally: Tally, ids: list[str]) -> bool:
    replies = tally.replies.get(name)
    return (
        not tally.waiting[name]
        and replies is not None
        and all(reply.server in ids for reply in replies)
    )
