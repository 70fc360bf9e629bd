"""Which fate befalls which request."""

import json

import msgspec
import pytest

from dedupd.sim.faults import SEEN_LIMIT, UNHARMED, BadRule, Effect, Fate, Faults


def faults(*rules: object) -> Faults:
    made = Faults()
    made.replace(json.dumps(rules).encode())
    return made


@pytest.mark.parametrize(
    ("rule", "fate"),
    [
        ({"fault": "drop-before"}, Fate(Effect.NEVER, 0)),
        ({"fault": "drop-after"}, Fate(Effect.IN_TIME, 0)),
        ({"fault": "503-before"}, Fate(Effect.NEVER, 503)),
        ({"fault": "500-after"}, Fate(Effect.IN_TIME, 500)),
        ({"fault": "delay-before", "seconds": 2}, Fate(before=2)),
        ({"fault": "delay-after", "seconds": 2}, Fate(after=2)),
        ({"fault": "late-commit", "seconds": 2}, Fate(Effect.LATE, 503, before=2)),
        ({"fault": "late-commit", "status": 0}, Fate(Effect.LATE, 0, before=1)),
    ],
)
def test_fate(rule: object, fate: Fate) -> None:
    assert faults(rule).strike("POST", "/servers") == fate


def test_a_rule_strikes_what_it_matches_as_often_as_it_says() -> None:
    rules = faults({"fault": "drop-after", "method": "POST", "path": "/servers$", "times": 2})
    assert rules.strike("GET", "/v2.1/servers") == UNHARMED
    assert rules.strike("POST", "/v2.1/servers/x/action") == UNHARMED
    struck = [rules.strike("POST", "/v2.1/servers") for _ in range(3)]
    assert struck == [Fate(status=0), Fate(status=0), UNHARMED]


def test_the_first_rule_left_strikes() -> None:
    rules = faults({"fault": "500-before"}, {"fault": "503-before"})
    statuses = [rules.strike("POST", "/").status for _ in range(3)]
    assert statuses == [500, 503, None]


def test_chance_is_seeded() -> None:
    def pattern(seed: int) -> list[bool]:
        rule = {"fault": "503-before", "times": 1000, "probability": 0.5, "seed": seed}
        rules = faults(rule)
        return [rules.strike("POST", "/") != UNHARMED for _ in range(50)]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 10 < sum(pattern(1)) < 40


def test_the_report_tells_what_is_left_and_what_was_seen() -> None:
    rules = faults({"fault": "drop-after", "times": 2})
    rules.strike("POST", "/servers")
    report = msgspec.json.decode(rules.report())
    assert report["seen"] == [["POST", "/servers"]]
    assert report["rules"][0]["times"] == 1
    rules.replace(b"")
    assert msgspec.json.decode(rules.report()) == {"rules": [], "seen": []}


def test_what_was_seen_is_bounded() -> None:
    rules = Faults()
    for _ in range(SEEN_LIMIT + 5):
        rules.strike("GET", "/")
    assert len(rules.seen) == SEEN_LIMIT


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b'{"fault": "drop-after"}',
        b'[{"fault": "explode"}]',
        b'[{"fault": "drop"}]',
        b'[{"path": "x"}]',
        b'[{"fault": "drop-after", "path": "["}]',
        b'[{"fault": "drop-after", "colour": "red"}]',
        b'[{"fault": "drop-after", "times": "many"}]',
    ],
)
def test_bad_rules_are_refused_and_change_nothing(document: bytes) -> None:
    rules = faults({"fault": "drop-after"})
    with pytest.raises(BadRule):
        rules.replace(document)
    assert rules.strike("POST", "/") == Fate(status=0)
