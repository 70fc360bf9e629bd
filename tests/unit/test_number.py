"""Whole numbers within bounds."""

from __future__ import annotations

import pytest

from dedupd.number import whole


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("10", 10), ("007", 7), ("100", 100)])
def test_digits_within_the_bounds_are_a_number(text: str, number: int) -> None:
    assert whole(text, 1, 100) == number


@pytest.mark.parametrize(
    "text", ["", "0", "101", "0001", "-1", "+1", "1.0", "1e1", " 1", "²", "٣", "1_0", "9" * 5000]
)
def test_anything_else_is_none(text: str) -> None:
    assert whole(text, 1, 100) is None
