"""The invariants, checked against what truly happened in the simulated Nova.

1. For each token at most one effect survives in Nova.
2. All 2xx answers for a token are the same, and what they name was made by it.
3. No stored failure stands while its effect exists; no 2xx without the effect.
4. Every accepted request ends done, released, cancelled or unknown: none is lost, none is stuck.
   No claim that its front has heard of comes back when it is gone. (``ledger.py``.)
5. Nothing is replayed across projects; no secret goes to another user.
6. Nothing in SENDING or UNKNOWN is sent again before a look that began after the settle time found
   nothing. (Seen while it happens: ``ledger.py``.)
7. What has no token reaches Nova once at most. (``strangers.py``.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from dedupd.exchange import NOT_JSON
from dedupd.request import Record, Resource, State
from dedupd.sim.histories.intents import GROUPS, KEYPAIRS, SERVERS, Intent, half_of
from dedupd.sim.histories.ledger import Given
from dedupd.sim.histories.stage import Stage
from dedupd.sim.nova.world import Effect

SECRETS = {"server": "adminPass", "keypair": "private_key"}


@dataclass(frozen=True)
class Effects:
    """What a request made in Nova: all of it, and what is still there."""

    made: tuple[str, ...]
    surviving: tuple[str, ...]
    users: frozenset[str]
    names: dict[str, str]
    """What each was called when it was made."""


def violations(stage: Stage, intents: Iterable[Intent], *, ended: bool) -> list[str]:
    """What is wrong at the end of a history; ``ended``: whether everything must have ended."""
    found = list(stage.ledger.violations)
    given: dict[str, list[Given]] = defaultdict(list)
    for answer in stage.ledger.given:
        given[answer.request_id].append(answer)
    for intent in {intent.id: intent for intent in intents}.values():
        effects = made_by(stage, intent)
        record = stage.standing(intent.id)
        answers = [answer for answer in given[intent.id] if _carries_out(answer)]
        short = intent.id[:8]
        if intent.id in stage.ledger.excused:
            continue
        by_hand = stage.ledger.careless[intent.id]
        found += [f"1: {short}: {text}" for text in _one_effect(intent, effects, 1 + by_hand)]
        found += [f"2: {short}: {text}" for text in _same(stage, intent, answers, effects)]
        if stage.ledger.touched.isdisjoint(effects.made) and intent.id not in stage.ledger.forgets:
            found += [f"2: {short}: {text}" for text in _novas(stage, intent, answers, effects)]
        found += [f"2: {short}: {text}" for text in _forgotten(stage, intent, answers)]
        found += [
            f"3: {short}: {text}" for text in _true(record, answers, effects, by_hand=bool(by_hand))
        ]
        if record is not None and record.state is State.DONE and record.resource is not None:
            found += [f"3: {short}: {text}" for text in _there(stage, record.resource, effects)]
        found += [f"5: {short}: {text}" for text in _private(answers, effects, record)]
    return found + [f"4: {text}" for text in _lives(stage, ended=ended)]


def _carries_out(answer: Given) -> bool:
    """Whether it is Nova's word that the request was carried out."""
    return 200 <= answer.status < 300 and not answer.applied


def made_by(stage: Stage, intent: Intent) -> Effects:
    """What a request has made so far."""
    world = stage.nova.world
    mine = [
        effect for effect in stage.nova.ledger[stage.ledger.before :] if _made_by(intent, effect)
    ]
    made = tuple(name for effect in mine for name in effect.resources)
    match intent.path:
        case "/v2.1/servers":
            alive = tuple(name for name in made if world.servers[name].deleted is None)
        case "/v2.1/os-keypairs":
            pairs = {name for mine_ in mine for name in world.keypairs.get(mine_.user, {})}
            alive = tuple(name for name in dict.fromkeys(made) if name in pairs)
        case _:
            alive = tuple(name for name in made if name in world.groups)
    names = {made: name for effect in mine for made, name in _pairs(effect)}
    return Effects(made, alive, frozenset(effect.user for effect in mine), names)


def _pairs(effect: Effect) -> Iterator[tuple[str, str]]:
    return zip(effect.resources, effect.names, strict=True)


def _made_by(intent: Intent, effect: Effect) -> bool:
    if effect.method != "POST" or effect.path != intent.path:
        return False
    if intent.path == SERVERS:
        tagged = f"dedupd.{intent.id}" in effect.tags
        return tagged or effect.metadata.get("dedupd:id") == intent.id
    names = (intent.name, f"{intent.name}-altered")
    return effect.project == intent.project and effect.names[0] in names


def _one_effect(intent: Intent, effects: Effects, times: int) -> Iterator[str]:
    """At most one; and one more for each time that an operator took that on himself."""
    if len(effects.surviving) > intent.wanted * times:
        yield f"{len(effects.surviving)} effects survive: {', '.join(effects.surviving)}"
    if intent.path == GROUPS and len(effects.made) > times:
        yield f"{len(effects.made)} effects of what cannot be looked for"


def _same(stage: Stage, intent: Intent, answers: list[Given], effects: Effects) -> Iterator[str]:
    """One answer for each life of the token, secrets included for whom they are.

    That may be another user in each life: so they are compared user by user. What a forgotten
    token's user may be told of its earlier life is in docs/exactly-once.md (what is not promised).
    """
    seen = {(answer.status, _without_secrets(answer.body)) for answer in answers}
    full = {(answer.user, answer.body) for answer in answers if answer.user in effects.users}
    most = max(Counter(user for user, _ in full).values(), default=0)
    lives = 1 + len(stage.ledger.forgets.get(intent.id, ()))
    if len(seen) > lives or most > lives:
        yield f"{len(answers)} answers differ"
    for answer in answers if intent.id not in stage.ledger.forgets else ():
        named = _named(stage, intent, answer.body)
        wanted = (answer.name, *(f"{answer.name}-{number}" for number in (1, 2)))
        if effects.names.get(named) not in wanted:
            yield f"{named} was answered to who wanted {answer.name}, and never made by that"


def _novas(stage: Stage, intent: Intent, answers: list[Given], effects: Effects) -> Iterator[str]:
    """A caller gets what Nova said, even where that answer was lost and had to be rebuilt.

    A private key, which Nova is never told, is that of the public one.
    """
    said = [_document(answer.body) for answer in stage.ledger.made[intent.id]]
    for answer in answers:
        if answer.user not in effects.users:
            continue
        told = _document(answer.body)
        private_key = told.get("keypair", {}).pop("private_key", None)
        if told not in said:
            yield f"an answer is none of Nova's: {answer.body!r}"
        if intent.generates and private_key != half_of(told["keypair"]["public_key"]):
            yield f"a private key that does not fit: {private_key}"


def _forgotten(stage: Stage, intent: Intent, answers: list[Given]) -> Iterator[str]:
    """Who comes when a token counts as never used is told of nothing that was before."""
    births = [life.when for (id_, _), life in stage.ledger.lives.items() if id_ == intent.id]
    for forget in stage.ledger.forgets.get(intent.id, ()):
        for answer in answers:
            since = forget.returned is not None and forget.returned <= answer.began
            if since and not any(forget.when <= birth <= answer.when for birth in births):
                yield "the answer of what an operator had forgotten was given again"


def _true(
    record: Record | None, answers: list[Given], effects: Effects, *, by_hand: bool
) -> Iterator[str]:
    """What is told is true; what an operator decided without a look is for him to answer for."""
    state = None if record is None else record.state
    status = None if record is None else record.status
    failed = state in (State.DONE, State.TOMBSTONE) and not (status and 200 <= status < 300)
    nothing = state in (None, State.QUEUED, State.RELEASED, State.CANCELLED)
    if (failed or nothing) and effects.surviving and not by_hand:
        told = "no record" if record is None else f"{record.state.label} {status}"
        yield f"{told}, and {', '.join(effects.surviving)} exists"
    succeeded = state is State.DONE and not failed
    if (answers or succeeded) and not effects.made:
        yield "success without an effect"


def _there(stage: Stage, resource: Resource, effects: Effects) -> Iterator[str]:
    """What the record names must be there, unless somebody else deleted it."""
    reserved = resource.type == "reservation"
    for named in _reserved(stage, resource.id) if reserved else [resource.id]:
        if named not in effects.surviving and named not in stage.ledger.meddled:
            yield f"{named} is named as its effect and does not exist"


def _reserved(stage: Stage, reservation_id: str) -> list[str]:
    """The servers of a reservation, in the order in which they were made."""
    servers = stage.nova.world.servers.values()
    return [server.id for server in servers if server.reservation_id == reservation_id]


def _private(answers: list[Given], effects: Effects, record: Record | None) -> Iterator[str]:
    for answer in answers:
        secret = any(_secret(answer.body))
        if secret and answer.user not in effects.users:
            yield f"a secret went to {answer.user}"
        if record is not None and record.project_id != answer.project:
            yield f"an answer went to project {answer.project}"


def _lives(stage: Stage, *, ended: bool) -> Iterator[str]:
    for (request_id, birth), life in stage.ledger.lives.items():
        short = request_id[:8]
        if life.accepted and life.withdrawn:
            yield f"{short} was accepted, and then withdrawn"
        record = stage.standing(request_id)
        stands = record is not None and record.birth == birth
        if ended and record is not None and stands and record.state.awaited:
            yield f"{short} is still {record.state.label}"


def _document(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except NOT_JSON:
        return None


def _secret(body: bytes) -> Iterator[str]:
    document = _document(body)
    for kind, name in SECRETS.items():
        if isinstance(document, dict) and name in document.get(kind, {}):
            yield name


def _without_secrets(body: bytes) -> bytes:
    document = _document(body)
    for kind, name in SECRETS.items():
        if isinstance(document, dict) and isinstance(document.get(kind), dict):
            document[kind].pop(name, None)
    return msgspec.json.encode(document, order="sorted")


def _named(stage: Stage, intent: Intent, body: bytes) -> str:
    """What an answer says that it made; of a reservation the first."""
    [made] = _document(body).values()
    if isinstance(made, str):
        return next(iter(_reserved(stage, made)), made)
    return str(made["name"] if intent.path == KEYPAIRS else made["id"])
