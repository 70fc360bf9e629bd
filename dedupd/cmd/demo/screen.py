"""What the demo shows: live in a terminal, as plain lines elsewhere, and a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from dedupd.cmd.demo.findings import Findings
from dedupd.cmd.demo.storm import Tally

LINE_SECONDS = 1.0
"""How often a line is written where there is no terminal."""

EVENT_LINES = 8


class Screen:
    """Shows one phase after another: its progress, its counters, and what happened last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._progress = Progress(
            TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn()
        )
        self._task = self._progress.add_task("", total=None)
        self._began = time.monotonic()
        self._last_line = 0.0

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Keep the terminal's lower part up to date within the block; it vanishes afterwards."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def phase(self, text: str, total: int) -> None:
        """Begin a phase in which ``total`` clients are to be answered."""
        self._progress.reset(self._task, total=total, description=text)
        self.event(text)

    def event(self, text: str) -> None:
        """Say what happened; it stays on the screen."""
        line = f"{self._elapsed():5.1f} s  {text}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def draw(self, tally: Tally, servers: int) -> None:
        """Show where it stands."""
        if self._live is not None:
            self._progress.update(self._task, completed=tally.answered)
            self._live.update(self._picture(tally, servers), refresh=True)
        elif self._elapsed() - self._last_line >= LINE_SECONDS:
            self._last_line = self._elapsed()
            self.event(", ".join(f"{name} {value}" for name, value in _counters(tally, servers)))

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _picture(self, tally: Tally, servers: int) -> RenderableType:
        counters = Table.grid(padding=(0, 2))
        for name, value in _counters(tally, servers):
            counters.add_row(name, Text(str(value), style="bold", justify="right"))
        recent = list(tally.recent)
        lines = Text("\n".join(recent + [""] * (EVENT_LINES - len(recent))), style="dim")
        lines.no_wrap, lines.overflow = True, "ellipsis"
        columns = Table.grid(padding=(0, 2), expand=True)
        columns.add_column()
        columns.add_column(ratio=1)
        columns.add_row(counters, Panel(lines, title="what the clients see", title_align="left"))
        return Group(self._progress, columns)


def _counters(tally: Tally, servers: int) -> Sequence[tuple[str, int]]:
    return (
        ("POSTs sent", tally.posts),
        ("under way", tally.in_flight),
        ("without an answer", tally.unanswered.total()),
        ("clients answered", tally.answered),
        ("servers wanted", tally.wanted),
        ("servers in Nova", servers),
    )


def summary(found: Findings) -> RenderableType:
    """The table at the end."""
    table = Table(title="What was measured", title_justify="left", show_header=True)
    table.add_column("")
    table.add_column("through dedupd", justify="right")
    table.add_column("plain retries, no dedupd", justify="right")
    control = found.control
    rows: Sequence[tuple[str, int, int | str]] = (
        ("servers wanted, one token each", found.tokens, control.wanted),
        ("clients that want each of them", found.clients, 1),
        ("POSTs sent by the clients", found.posts, control.posts),
        ("answers that Nova lost", sum(found.lost_answers.values()), control.lost_answers),
        ("kill -9 of dedupd", found.kills, "-"),
        ("POSTs under way at that moment", found.in_flight_at_kill, "-"),
        ("answers received", found.answers, control.wanted),
        ("tokens with different answers", found.differing, "-"),
        ("requests lost", found.lost, "-"),
        ("servers in Nova", found.servers, control.servers),
        ("duplicates", found.duplicates, control.duplicates),
    )
    for name, ours, theirs in rows:
        bad = ours and name in _MUST_BE_ZERO
        table.add_row(name, Text(str(ours), style="bold red" if bad else "bold"), str(theirs))
    return Group(table, _verdict(found))


_MUST_BE_ZERO = frozenset({"tokens with different answers", "requests lost", "duplicates"})


def _verdict(found: Findings) -> Text:
    if not found.passed:
        return Text("This must not happen: please report it, with the seed.", style="bold red")
    return Text(
        "One server for each token, and the same answer for all of its clients "
        f"(seed {found.seed}, {found.seconds:.1f} s).",
        style="bold green",
    )
