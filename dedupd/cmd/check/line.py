"""What a check comes to."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable

import msgspec

from dedupd.errors import DedupdError

CHECK_SECONDS = 15.0
"""How long one check may take; they run beside each other."""


class Result(enum.StrEnum):
    """How a check ended; only FAILED keeps dedupd from working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "not checked"


class Line(msgspec.Struct, frozen=True):
    """One line: what was checked, how it ended, and what there is to know or to do."""

    check: str
    result: Result
    detail: str


Finding = tuple[Result, str]


def ok(detail: str) -> Finding:
    """All is well; ``detail`` says what was found."""
    return Result.OK, detail


def warning(detail: str) -> Finding:
    """It works, but not as well as it could; ``detail`` says what is missing."""
    return Result.WARNING, detail


def failed(detail: str) -> Finding:
    """It does not work; ``detail`` says what to do."""
    return Result.FAILED, detail


async def within_deadline(check: str, work: Awaitable[Finding]) -> Line:
    """The check's line, whatever happens in it."""
    [found] = await asyncio.gather(_limited(work), return_exceptions=True)
    if isinstance(found, TimeoutError):
        return Line(check, Result.FAILED, f"no answer within {CHECK_SECONDS:g} s")
    if isinstance(found, BaseException):
        known = isinstance(found, DedupdError)
        return Line(check, Result.FAILED, str(found) if known else repr(found))
    return Line(check, *found)


async def _limited(work: Awaitable[Finding]) -> Finding:
    async with asyncio.timeout(CHECK_SECONDS):
        return await work
