"""What is checked: the properties of the protocol, and the ways to break it that must be found."""

from __future__ import annotations

from dataclasses import dataclass

SAFETY = {
    "one_effect": "a token has at most one effect in Nova, ever",
    "one_answer": "no two clients are told of different effects",
    "true_failure": "no failure is stored, and nothing is released, while an effect is there",
    "true_success": "what a stored success names is there, and was made for this request",
    "no_broken_promise": "what a client was told goes on is not withdrawn",
    "no_blind_send": "nothing is sent while an earlier send is in doubt",
    "no_return": "a claim that was withdrawn does not come back",
}
"""Properties of every moment, by their names in the model."""

PROGRESS = {"progress": "every claimed request ends, or is unknown"}
"""Properties of whole runs, in which nobody is kept from its next step for ever."""

LATE_SAFETY = {name: SAFETY[name] for name in ("one_answer", "true_success")}
"""What is left where a worker may pause for any time between its last check and its send, and no
token is used again that was released."""

LATE_PROGRESS = {"one_survivor": "a second effect is undone"}
"""What is left then if, from there on, nobody dies, Nova tells, and waits are long."""

LIVE = PROGRESS | LATE_PROGRESS
"""All properties of whole runs."""

LATE = ("UNBOUNDED_PAUSE",)
LATE_AND_ALIVE = ("UNBOUNDED_PAUSE", "NOTHING_MORE_FAILS")


@dataclass(frozen=True)
class Variant:
    """The model, broken in one place."""

    name: str
    violates: str
    what: str
    faults: int = 2
    """Within so many it violates its property."""


DEFECTS = (
    Variant("SEND_BEFORE_WRITE", "one_effect", "the request is sent before the record says so"),
    Variant("UNFENCED_BEGIN", "one_effect", "SENDING is written without comparing the version"),
    Variant("UNFENCED_COMMIT", "true_failure", "an answer is written without comparing"),
    Variant(
        "LATE_ANSWER_WINS", "true_failure", "a late answer counts though it was sent again since"
    ),
    Variant("EARLY_LOOK", "one_effect", "a look counts before the settle time has passed"),
    Variant("BLIND_RESEND", "no_blind_send", "an ambiguous answer is sent again without a look"),
    Variant("AMBIGUOUS_IS_FAILURE", "true_failure", "an ambiguous answer is kept as a failure"),
    Variant("AMBIGUOUS_IS_NO_EFFECT", "one_effect", "an ambiguous answer counts as no effect"),
    Variant(
        "COMPENSATE_NAMED", "true_success", "a worker that lost the race deletes what is named"
    ),
    Variant(
        "COMPENSATE_PENDING", "true_success", "it deletes while others still look for it", faults=3
    ),
    Variant(
        "OVERTAKEN_IS_LEFT",
        "one_survivor",
        "an overtaken worker does not look for what it made",
        faults=3,
    ),
    Variant(
        "VAIN_IS_FORGOTTEN",
        "one_survivor",
        "what was released in vain is forgotten before a late sender wakes up",
    ),
    Variant("REQUEUE_SENDING", "one_effect", "the sweeper puts SENDING back into the queue"),
    Variant("CLAIM_IN_TWO_STEPS", "one_effect", "a claim reads first and writes then"),
    Variant("UNFENCED_FORGET", "one_effect", "a claim is withdrawn although a worker has it"),
    Variant(
        "UNFENCED_CLAIM", "no_return", "a claim is heard of while a copy of it may be carried out"
    ),
    Variant("CANCEL_SENDING", "true_failure", "what is being sent can be cancelled"),
    Variant("NO_TAKE_OVER", "progress", "nobody takes over from a worker that is gone"),
    Variant("NO_REPUBLISH", "progress", "nobody publishes again what the queue has lost"),
)
"""Each must violate its property: else the model could not have found it."""

ASSUMPTIONS = (
    Variant("LATE_COMMIT", "one_effect", "Nova acts after the settle time"),
    Variant("UNBOUNDED_PAUSE", "one_effect", "a paused worker sends after the settle time"),
    Variant("UNBOUNDED_PAUSE", "one_survivor", "and dies, or Nova does not tell for too long"),
    Variant("HIDDEN", "one_effect", "Nova does not list what is there"),
    Variant("CARELESS_OPERATOR", "true_failure", "an operator settles without having looked"),
)
"""Each is needed: without it its property does not hold."""

BROKEN = {
    "Each defect must be found:": DEFECTS,
    "Each assumption is needed:": ASSUMPTIONS,
}
