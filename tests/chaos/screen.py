"""What is seen while it runs: live in a terminal, as plain lines elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tests.chaos.nemesis import Nemesis
from tests.chaos.victims import Victim
from tests.integration.fleet import Fleet

_REFRESH_SECONDS = 0.25
_LINE_SECONDS = 10.0


class Screen:
    """Tells what happens, and shows where it stands."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def tell(self, text: str) -> None:
        """Say what happened; it stays on the screen."""
        line = f"{time.monotonic() - self._began:7.1f} s  {text}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    async def show(self, nemesis: Nemesis, fleet: Fleet, seconds: float) -> None:
        """Show it until it is cancelled; ``seconds`` are how long the torment takes."""
        view = _View(nemesis, fleet, seconds)
        if not self._console.is_terminal:
            await self._lines(view)
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(view.picture(), refresh=True)
                await asyncio.sleep(_REFRESH_SECONDS)

    async def _lines(self, view: _View) -> None:
        while True:
            await asyncio.sleep(_LINE_SECONDS)
            self.tell(", ".join(f"{name} {value}" for name, value in view.counters()))


class _View:
    """One moment of a run."""

    def __init__(self, nemesis: Nemesis, fleet: Fleet, seconds: float) -> None:
        self._nemesis, self._fleet = nemesis, fleet
        self._progress = Progress(TextColumn("torment"), BarColumn(60), TimeElapsedColumn())
        self._task = self._progress.add_task("", total=seconds)
        self._began = time.monotonic()

    def counters(self) -> Sequence[tuple[str, int]]:
        """Where it stands."""
        fleet, nemesis = self._fleet, self._nemesis
        return (
            ("faults healed", len(nemesis.healed)),
            ("of", len(nemesis.strikes)),
            ("tokens answered", len(fleet.answers)),
            ("tokens under way", len(fleet.open)),
            ("POSTs of clients", fleet.tries),
            ("unexpected answers", len(fleet.unexpected)),
        )

    def picture(self) -> RenderableType:
        """All of it for a terminal."""
        self._progress.update(self._task, completed=time.monotonic() - self._began)
        counters = Table.grid(padding=(0, 2))
        for name, value in self.counters():
            counters.add_row(name, Text(str(value), style="bold", justify="right"))
        everybody = [one for party in self._nemesis.victims.values() for one in party]
        shown = Text("  ").join(map(self._shown, everybody))
        return Group(self._progress, shown, counters)

    def _shown(self, victim: Victim) -> Text:
        struck = victim.name in self._nemesis.down
        return Text(victim.name, style="bold red reverse" if struck else "green")
