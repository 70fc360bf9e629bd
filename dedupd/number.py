"""Whole numbers as somebody has written them."""


def whole(text: str, low: int, high: int) -> int | None:
    """The number, in decimal digits; None where it is none, or out of bounds (both included)."""
    short = len(text) <= len(str(high))  # Python converts no number of thousands of digits
    if not (text.isascii() and text.isdigit() and short):
        return None
    number = int(text)
    return number if low <= number <= high else None
