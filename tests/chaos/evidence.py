"""What is needed to follow a violation: the record, the ledger's rows, where the logs are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.novas import Nova
from tests.integration.load import USER
from tests.integration.site import Site
from tests.integration.verdict import Effects, Verdict, Violation, Wrong

_SHOWN = 20
"""Of how many violations everything is told, the gravest first."""


def evidence(verdict: Verdict, site: Site, nova: Nova, directory: Path) -> str:
    """All of it as text, the whole ledger as a file; empty where nothing is wrong."""
    if not verdict.found:
        return ""
    ledger = nova.ledger()
    (directory / "ledger.json").write_text(json.dumps(ledger))
    effects = Effects(ledger)
    gravest = sorted(verdict.found, key=lambda one: list(Wrong).index(one.wrong))
    lines = [line for one in gravest[:_SHOWN] for line in _told(one, site, effects)]
    logs = sorted(str(path) for path in directory.rglob("*log") if path.is_file())
    return "\n".join([*lines, "logs:", *(f"  {path}" for path in logs)])


def _told(violation: Violation, site: Site, effects: Effects) -> Iterator[str]:
    yield str(violation)
    if violation.order is None:
        return
    path = f"/dedupd/v1/requests/{violation.order.client_token}"
    record = site.fronts[0].call("GET", path, token=USER)
    yield f"  record: {record.status} {record.body.decode(errors='replace')}"
    for row in effects.rows(violation.order):
        yield f"  ledger: {json.dumps(row)}"


async def stuck(site: Site) -> list[Violation]:
    """Every request that somebody should still act on, though everything has come to rest."""
    store = site.store()
    await store.open()
    try:
        pending = await store.pending(100_000)
    finally:
        await store.close()
    return [
        Violation(Wrong.LOST, None, f"{record.id} still stands in {record.state.label}: {record}")
        for record in pending
        if record.state.awaited
    ]
