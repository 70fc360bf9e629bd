"""What the commands' arguments may be, for argparse."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from dedupd.number import whole


def whole_number(high: int, low: int = 1) -> Callable[[str], int]:
    """A type: whole numbers within bounds, both included."""

    def number(text: str) -> int:
        found = whole(text, low, high)
        if found is None:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high}")
        return found

    return number
