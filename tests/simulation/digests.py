"""Prints the digests of some histories: what two processes must agree on."""

from __future__ import annotations

import sys

from dedupd.sim.histories.run import run

if __name__ == "__main__":
    for seed in map(int, sys.argv[1:]):
        print(seed, run(seed).digest)
