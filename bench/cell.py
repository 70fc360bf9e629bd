"""One measurement: the load generator run once against what is up already."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.processes import ROOT

Measurement = dict[str, Any]
"""What bench/load.py prints."""


@dataclass(frozen=True)
class Cell:
    """One kind of load."""

    mode: str
    connections: int

    def load(
        self,
        urls: Sequence[str],
        watched: Sequence[int],
        seconds: float,
        *,
        header: str = "X-Client-Token",
    ) -> Measurement:
        """Runs the load generator once, and has it watch the CPU of these processes."""
        command = [sys.executable, "-m", "bench.load", *urls, "--mode", self.mode]
        command += ["--connections", str(self.connections), "--seconds", str(seconds)]
        command += ["--token-header", header, "--watch", *map(str, watched)]
        command += ["--tokens", "256", "--warm-up", str(min(0.5, seconds / 4))]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
        measured: Measurement = json.loads(done.stdout)
        return measured
