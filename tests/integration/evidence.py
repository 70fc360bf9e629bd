"""What is needed to follow a violation: the record with its attempts, and the ledger's rows."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

from tests.integration.front import Front
from tests.integration.load import USER
from tests.integration.verdict import Effects, Verdict, Violation, Wrong

_SHOWN = 20
"""Of how many violations everything is told, the gravest first."""


def told_in_full(verdict: Verdict, front: Front, effects: Effects) -> Iterator[str]:
    """All of it, line by line; nothing where nothing is wrong."""
    gravest = sorted(verdict.found, key=lambda one: list(Wrong).index(one.wrong))
    for violation in gravest[:_SHOWN]:
        yield str(violation)
        yield from _followed(violation, front, effects)


def _followed(violation: Violation, front: Front, effects: Effects) -> Iterator[str]:
    if violation.order is None:
        return
    path = f"/dedupd/v1/requests/{violation.order.client_token}"
    try:
        record = front.call("GET", path, token=violation.order.user or USER)
        yield f"  record: {record.status} {record.body.decode(errors='replace')}"
    except (OSError, http.client.HTTPException) as error:
        yield f"  record: cannot be read: {error!r}"
    for row in effects.rows(violation.order):
        yield f"  ledger: {json.dumps(row)}"
