"""``python -m model``: every property and every variant, one line each."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter

from model import variants
from model.spin import Search, Verifier, build
from model.variants import Variant


def main() -> int:
    """Check all; 0 where everything is as it must be."""
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    parser.add_argument("--faults", type=int, default=3, help="what may go wrong (default: 3)")
    faults = parser.parse_args().faults
    with tempfile.TemporaryDirectory() as scratch:
        results = [*_properties(Path(scratch), faults), *_variants(Path(scratch))]
    return 0 if all(results) else 1


def _properties(scratch: Path, faults: int) -> Iterator[bool]:
    print(f"Two workers, two clients, and {faults} faults of any kind, at any moment:")
    yield from _all_hold(_built(scratch, False, faults), variants.SAFETY)
    yield from _all_hold(_built(scratch, True, faults), variants.PROGRESS)
    print("Where a worker may pause for any time just before it sends:")
    yield from _all_hold(_built(scratch, False, faults, *variants.LATE), variants.LATE_SAFETY)
    print("The same, and from there on nobody dies and Nova tells:")
    alive = _built(scratch, True, faults, *variants.LATE_AND_ALIVE)
    yield from _all_hold(alive, variants.LATE_PROGRESS)


def _variants(scratch: Path) -> Iterator[bool]:
    for title, table in variants.BROKEN.items():
        print(title)
        yield from (_fails(scratch, variant) for variant in table)


def _all_hold(verifier: Verifier, properties: Mapping[str, str]) -> Iterator[bool]:
    for name, what in properties.items():
        began = perf_counter()
        search = verifier.search(name)
        _line("holds" if search.holds else "FAILS", name, what, search, began)
        if not search.complete:
            print(verifier.trail(name) if search.errors else search.output, file=sys.stderr)
        yield search.holds


def _fails(scratch: Path, variant: Variant) -> bool:
    began = perf_counter()
    live = variant.violates in variants.LIVE
    search = _built(scratch, live, variant.faults, variant.name).search(variant.violates)
    verdict = "found" if search.errors else "MISSED"
    _line(verdict, f"{variant.name} ({variant.violates})", variant.what, search, began)
    return search.errors > 0


def _line(verdict: str, name: str, what: str, search: Search, began: float) -> None:
    seconds = perf_counter() - began
    print(
        f"  {verdict:6} {name:40} {search.states:>10,} states {seconds:6.1f} s  {what}", flush=True
    )


def _built(scratch: Path, live: bool, faults: int, *defines: str) -> Verifier:
    directory = Path(tempfile.mkdtemp(dir=scratch))
    return build(directory, (f"FAULTS={faults}", *defines), live=live)


sys.exit(main())
