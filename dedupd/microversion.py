"""The compute API microversion that a request asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from dedupd.errors import BadRequest

HEADER = b"openstack-api-version"
LEGACY_HEADER = b"x-openstack-nova-api-version"
HEADERS = frozenset({HEADER, LEGACY_HEADER})
_NUMBER = re.compile(r"([1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})")


class Microversion(msgspec.Struct, frozen=True, order=True):
    """One compute microversion; ``latest`` sorts above all."""

    major: int
    minor: int

    def __str__(self) -> str:
        """As it stands in a header: ``2.96`` or ``latest``."""
        return "latest" if self == LATEST else f"{self.major}.{self.minor}"


LATEST = Microversion(9999, 9999)
LOWEST = Microversion(2, 1)
"""What Nova takes where none is asked for."""


def parse(headers: Iterable[tuple[bytes, bytes]]) -> Microversion | None:
    """The microversion that these headers (lower-case names) ask of compute, or None.

    As Nova reads them (package microversion_parse): ``OpenStack-API-Version: compute 2.96`` may
    be one of several, comma separated, the last one for compute counts; where there is none, the
    older ``X-OpenStack-Nova-API-Version: 2.96``.

    Raises:
        BadRequest: it is neither a number pair nor ``latest``; the message names the header.
    """
    modern: str | None = None
    legacy: str | None = None
    for name, value in headers:
        if name == HEADER:
            modern = _of_compute(value.decode("latin-1")) or modern
        elif name == LEGACY_HEADER:
            legacy = value.decode("latin-1").rpartition(",")[2].strip()
    if modern is not None:
        return _read(modern, "OpenStack-API-Version", "compute 2.96")
    if legacy is not None:
        return _read(legacy, "X-OpenStack-Nova-API-Version", "2.96")
    return None


def _of_compute(value: str) -> str | None:
    found = None
    for item in value.split(","):
        service, _, version = item.strip().partition(" ")
        if service.lower() == "compute":
            found = version.strip()
    return found


def _read(text: str, header: str, example: str) -> Microversion:
    if text.lower() == "latest":
        return LATEST
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise BadRequest(
            f"{header} is malformed: a microversion is two numbers and a dot, or 'latest', "
            f"as in {header}: {example}."
        )
    return Microversion(int(match[1]), int(match[2]))
