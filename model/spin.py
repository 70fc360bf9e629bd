"""Spin makes a verifier of the model in C; the verifier tries every schedule."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("protocol.pml")
MAX_DEPTH = 1_000_000
"""Steps of one schedule; a search that would need more is not complete, and says so."""

_INCOMPLETE = ("Search not completed", "max search depth too small", "out of memory")


@dataclass(frozen=True)
class Search:
    """What one search came to."""

    states: int
    errors: int
    complete: bool
    """Whether it was ended by nothing but the last state: no error, no limit, no lack of memory."""
    output: str

    @property
    def holds(self) -> bool:
        """Whether the property holds in every schedule."""
        return self.complete and self.errors == 0


@dataclass(frozen=True)
class Verifier:
    """The verifier of the model with certain bounds and defects, built in a directory."""

    directory: Path
    live: bool

    def search(self, name: str) -> Search:
        """Try every schedule; one that violates the property ends it, and its trail is kept."""
        found = subprocess.run(
            ["./pan", f"-m{MAX_DEPTH}", "-N", name, *(["-a", "-f"] if self.live else [])],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        output = found.stdout + found.stderr
        states, errors = (
            _number(output, what) for what in (r"(\d+) states, stored", r"errors: (\d+)")
        )
        finished = found.returncode == 0 and not any(sign in output for sign in _INCOMPLETE)
        return Search(states, errors, finished and errors == 0, output)

    def trail(self, name: str) -> str:
        """The schedule that violated the property in the latest search, one step a line."""
        steps = _run(["./pan", "-N", name, "-r", f"{MODEL.name}.trail"], self.directory)
        return "\n".join(line for line in steps.splitlines() if f"({name})" not in line)


def build(directory: Path, defines: Sequence[str], *, live: bool) -> Verifier:
    """Build the verifier.

    Args:
        directory: An empty one; everything is left in it.
        defines: As ``FAULTS=2`` or the name of a variant.
        live: For properties of whole runs, under weak fairness; else for those of every moment.
    """
    _run(["spin", "-a", *(f"-D{define}" for define in defines), str(MODEL)], directory)
    kind = ["-DNFAIR=3"] if live else ["-DSAFETY"]
    _run(["gcc", "-O2", "-w", *kind, "-o", "pan", "pan.c"], directory)
    return Verifier(directory, live)


def _run(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def _number(output: str, pattern: str) -> int:
    found = re.search(pattern, output)
    if found is None:
        raise RuntimeError(f"The verifier did not tell {pattern!r}: {output}")
    return int(found[1])
