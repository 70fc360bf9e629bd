"""What is kept of a violation: what is needed to follow it, the ledger, and where the logs are."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chaos.novas import Nova
from tests.integration.evidence import told_in_full
from tests.integration.site import Site
from tests.integration.verdict import Effects, Verdict, Violation, Wrong


def evidence(verdict: Verdict, site: Site, nova: Nova, directory: Path) -> str:
    """All of it as text, the whole ledger as a file; empty where nothing is wrong."""
    if not verdict.found:
        return ""
    ledger = nova.ledger()
    (directory / "ledger.json").write_text(json.dumps(ledger))
    lines = told_in_full(verdict, site.fronts[0], Effects(ledger))
    logs = sorted(str(path) for path in directory.rglob("*log") if path.is_file())
    return "\n".join([*lines, "logs:", *(f"  {path}" for path in logs)])


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
