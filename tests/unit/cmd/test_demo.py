"""How the demo counts, and what it says of what it counted."""

from __future__ import annotations

from io import StringIO

import msgspec
import pytest
from rich.console import Console

from dedupd.cmd.demo.findings import Control, Findings, control_group, differing, lost
from dedupd.cmd.demo.observer import living, surplus
from dedupd.cmd.demo.screen import Screen, summary
from dedupd.cmd.demo.storm import Reply, Tally
from dedupd.sim.nova.world import Effect


def reply(server: str = "s1", status: int = 202) -> Reply:
    return Reply(status, f"/servers/{server}", msgspec.json.encode({"server": {"id": server}}))


def tally(**replies: list[Reply]) -> Tally:
    made = Tally(wanted=len(replies))
    for name, given in replies.items():
        for each in given:
            made.note(name, each)
    return made


def effect(
    method: str, path: str, *ids: str, project: str = "demo", kind: str = "server"
) -> Effect:
    names = tuple(f"name-{id_[0]}" for id_ in ids)
    return Effect(1.0, method, path, "demo", project, "req-1", kind, ids, names=names)


FINDINGS = Findings(
    seed=7,
    tokens=2,
    clients=3,
    posts=9,
    unanswered_posts={"connection refused": 1},
    lost_answers={"drop-after": 2},
    kills=1,
    in_flight_at_kill=4,
    answers=8,
    differing=0,
    servers=2,
    duplicates=0,
    lost=0,
    control=Control(wanted=10, posts=13, lost_answers=3, servers=12, duplicates=2),
    seconds=9.5,
)


def shown(found: Findings) -> str:
    console = Console(file=StringIO(), width=100)
    console.print(summary(found))
    text = console.file
    assert isinstance(text, StringIO)
    return text.getvalue()


def test_servers_are_those_made_and_not_deleted() -> None:
    effects = [
        effect("POST", "/v2.1/servers", "a1", "b1"),
        effect("POST", "/v2.1/servers", "a2"),
        effect("DELETE", "/v2.1/servers/b1", "b1"),
        effect("POST", "/v2.1/servers/a1/action", "a1", kind="reboot"),
        effect("POST", "/v2.1/servers", "c1", project="plain"),
    ]
    assert living(effects, "demo") == {"name-a": ["a1", "a2"]}
    assert surplus(living(effects, "demo")) == {"name-a": 1}
    assert surplus(living(effects, "plain")) == {}


def test_differing_answers_are_seen() -> None:
    same, other = [reply(), reply()], [reply("s1"), reply("s2")]
    assert differing(tally(one=same)) == 0
    assert differing(tally(one=same, two=other)) == 1
    assert "ANOTHER ANSWER" in tally(two=other).recent[-1]


@pytest.mark.parametrize(
    ("replies", "servers", "waiting"),
    [
        ([], ["s1"], 0),
        ([reply()], [], 0),
        ([reply("s2")], ["s1"], 0),
        ([reply(), reply(status=400)], ["s1"], 0),
        ([reply()], ["s1"], 1),
    ],
)
def test_what_counts_as_lost(replies: list[Reply], servers: list[str], waiting: int) -> None:
    made = tally(one=replies)
    made.waiting["one"] = waiting
    assert lost(["one"], made, {"one": servers}) == 1


def test_what_does_not_count_as_lost() -> None:
    assert lost(["one"], tally(one=[reply(), reply()]), {"one": ["s1", "s2"]}) == 0


def test_the_control_group_is_counted_as_it_is() -> None:
    made = tally(one=[reply()], two=[reply("s2")])
    made.posts = 5
    control = control_group(made, 3, {"one": ["s1", "s3"], "two": ["s2"]})
    assert control == Control(wanted=2, posts=5, lost_answers=3, servers=3, duplicates=1)


def test_half_of_the_answers_is_noticed() -> None:
    made = Tally(wanted=3)
    made.note("one", reply())
    assert not made.halfway.is_set()
    made.note("two", reply())
    assert made.halfway.is_set()


@pytest.mark.parametrize("fault", ["duplicates", "lost", "differing"])
def test_any_fault_fails_it(fault: str) -> None:
    assert FINDINGS.passed
    assert "same answer for all" in shown(FINDINGS)
    spoiled = msgspec.structs.replace(FINDINGS, **{fault: 1})
    assert not spoiled.passed
    assert "This must not happen" in shown(spoiled)


def test_the_live_picture_shows_the_counters() -> None:
    console = Console(file=StringIO(), width=100, force_terminal=True)
    screen = Screen(console)
    made = tally(one=[reply()])
    made.fail("two", "connection refused")
    with screen.showing():
        screen.phase("The storm", 8)
        screen.draw(made, 17)
    text = console.file
    assert isinstance(text, StringIO)
    assert "two: connection refused; the client repeats" in text.getvalue()
    assert "17" in text.getvalue()
