"""The types of option values: each turns text into a checked value, or says what is wrong.

A ``ValueError`` from here names the value, the rule, and what to write instead; ``load`` puts the
option's name in front.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

from oslo_config import types

_LISTEN = re.compile(
    r"(?:\[(?P<six>[^\s\[\]]+)\]|(?P<host>[^\s:/\[\]@]+)):(?P<port>[0-9]{1,5})", re.ASCII
)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_VERSIONED = re.compile(r"/v[0-9]+(?:\.[0-9]+)?/*\Z")
_HIGHEST_PORT = 65535


class Described(Enum):
    """A choice whose members each carry a sentence for the sample configuration.

    They are no strings: oslo.config would take an overridden one for text again.
    """

    description: str

    def __new__(cls, value: str, description: str) -> Self:
        """Make the member ``value``; ``description`` says when to choose it."""
        member = object.__new__(cls)
        member._value_ = value
        member.description = description
        return member

    def __str__(self) -> str:
        """As it is written in the configuration."""
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 asks the system for a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it; a host name other than localhost never counts."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        """As it is written in the configuration, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class StoreScheme(StrEnum):
    """What keeps the records."""

    SQLITE = "sqlite"
    MEMORY = "memory"
    ETCD = "etcd"
    ETCDS = "etcds"

    @property
    def is_etcd(self) -> bool:
        """Whether an etcd cluster does, over TLS or not."""
        return self in (StoreScheme.ETCD, StoreScheme.ETCDS)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """Where records are kept: ``path`` for SQLite, ``endpoints`` (``host:port``) for etcd."""

    scheme: StoreScheme
    path: Path | None = None
    endpoints: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As it is written in the configuration."""
        if self.path is not None:
            return f"{self.scheme}:///{self.path}"
        return f"{self.scheme}://{','.join(self.endpoints)}"


class Parsed(types.ConfigType):
    """Text that one function turns into a value; the sample shows the text."""

    def __init__(self, parse: Callable[[str], Any], type_name: str) -> None:
        """Take the function, and the name the sample gives such values."""
        super().__init__(type_name=type_name)
        self._parse = parse

    def __call__(self, value: Any) -> Any:
        """Parse text; what is parsed already (an override, a default) stays as it is."""
        return self._parse(value.strip()) if isinstance(value, str) else value

    def _formatter(self, value: Any) -> str:
        return str(value)


class Number(types.Float):
    """A finite number within bounds, both included; ``unit`` is part of every message."""

    def __init__(self, unit: str, *, low: float = 0, high: float | None = None) -> None:
        """Take the unit in the plural, such as ``seconds``, and the bounds."""
        super().__init__(min=low, max=high, type_name=f"number of {unit}")
        self._rule = f"write a number of {unit}, {_bounds(low, high)}"

    def __call__(self, value: Any) -> float:
        """The number. Not-a-number and infinity pass every comparison, so they are named."""
        try:
            number = super().__call__(value)
        except (TypeError, ValueError):
            number = math.nan
        if number is None or not math.isfinite(number):
            raise ValueError(f"{value!r} is not allowed: {self._rule}")
        return float(number)


class Whole(types.Integer):
    """A whole number within bounds, both included."""

    def __init__(self, unit: str, *, low: int = 1, high: int | None = None) -> None:
        """Take the unit in the plural, such as ``bytes``, and the bounds."""
        super().__init__(min=low, max=high, type_name=f"whole number of {unit}")
        self._rule = f"write a whole number of {unit}, {_bounds(low, high)}"

    def __call__(self, value: Any) -> int:
        """The number."""
        try:
            number = super().__call__(value)
        except (TypeError, ValueError):
            number = None
        if number is None:
            raise ValueError(f"{value!r} is not allowed: {self._rule}")
        return int(number)


class Choice(types.String):
    """One of an enumeration's values."""

    def __init__(self, members: type[Described]) -> None:
        """Take the enumeration."""
        super().__init__(choices=[(str(one), one.description) for one in members])
        self._members = {str(one): one for one in members}

    def __call__(self, value: Any) -> Any:
        """The enumeration's member."""
        try:
            return self._members[str(value).strip()]
        except KeyError:
            names = " or ".join(self._members)
            raise ValueError(f"{value!r} is unknown: write {names}") from None


class Text(types.String):
    """Text that a pattern matches as a whole; ``rule`` says so in words."""

    def __init__(self, pattern: str, rule: str) -> None:
        """Take the pattern, and the rule it stands for."""
        super().__init__()
        self._pattern = re.compile(pattern)
        self._rule = rule

    def __call__(self, value: Any) -> str:
        """The text, unchanged."""
        text = str(value)
        if self._pattern.fullmatch(text) is None:
            raise ValueError(f"{text!r} is not allowed: {self._rule}")
        return text


def parse_address(text: str, usual: int = 8775) -> Address:
    """``host:port``, with an IPv6 host in brackets; ``usual`` is the port that advice names.

    Raises:
        ValueError: anything else.
    """
    found = _LISTEN.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not HOST:PORT: write 127.0.0.1:{usual}, or [::1]:{usual} for IPv6"
        )
    host, port = found["six"] or found["host"], int(found["port"])
    if port > _HIGHEST_PORT:
        raise ValueError(f"{text!r}: ports end at {_HIGHEST_PORT}; 0 takes any free one")
    if not _is_host(host, six=found["six"] is not None):
        raise ValueError(f"{text!r}: {host!r} is neither an IP address nor a host name")
    return Address(host, port)


def parse_endpoint(text: str) -> str:
    """The root URL of a compute API, without a slash at its end.

    Raises:
        ValueError: no http(s) scheme, no host, credentials, a query, or a version in it.
    """
    parts, shown = _split(text), without_user(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{shown!r} begins with neither http:// nor https://: {_ENDPOINT}")
    if not parts.hostname or not _port_is_right(parts):
        raise ValueError(f"{shown!r} names no host, or a port beyond {_HIGHEST_PORT}: {_ENDPOINT}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{shown!r} has a user, a query or a fragment: {_ENDPOINT}")
    if _VERSIONED.search(parts.path):
        raise ValueError(
            f"{text!r} ends with a version, which every request's path already has: {_ENDPOINT}"
        )
    return text.rstrip("/")


_ENDPOINT = "write http://controller:8774"


def parse_store_url(text: str) -> StoreUrl:
    """``sqlite:///records.db`` (three slashes: relative; four: absolute), etcd, or ``memory://``.

    Raises:
        ValueError: another scheme, a host, a query, or no path; for etcd, a bad endpoint.
    """
    if text in ("memory:", "memory://"):
        return StoreUrl(StoreScheme.MEMORY)
    scheme, _, rest = text.partition("://")
    if scheme in (StoreScheme.ETCD, StoreScheme.ETCDS):
        endpoints = tuple(_parse_member(part.strip()) for part in rest.rstrip("/").split(","))
        return StoreUrl(StoreScheme(scheme), endpoints=endpoints)
    if scheme != StoreScheme.SQLITE:
        raise ValueError(f"{without_user(text)!r} is no store: {_STORE}")
    if not rest.startswith("/") or not rest.strip("/") or re.search(r"[?#\0]", rest):
        raise ValueError(f"{without_user(text)!r} has a host, a query or no path: {_STORE}")
    if rest == "/:memory:":
        raise ValueError(f"{text!r} would not outlive a connection: write memory://")
    return StoreUrl(StoreScheme.SQLITE, expand(rest.removeprefix("/")))


_STORE = (
    "write sqlite:////var/lib/dedupd/records.db, etcd://host1:2379,host2:2379 (etcds:// for TLS), "
    "or memory:// for one that is lost at the end"
)


def _parse_member(text: str) -> str:
    """One member of an etcd cluster as ``host:port``; the port may be left out.

    Raises:
        ValueError: a user, a path, or no host; a password is kept out of the message.
    """
    if "@" in text:
        raise ValueError(f"'...@{text.rpartition('@')[2]}' has a user: set username in [store]")
    bare = text.endswith("]") or ":" not in text
    address = parse_address(f"{text}:{_ETCD_PORT}" if bare else text, _ETCD_PORT)
    if address.port == 0:
        raise ValueError(f"{text!r} has port 0: write the one that etcd listens on, often 2379")
    return str(address)


_ETCD_PORT = 2379


def parse_absolute(text: str) -> Path:
    """An absolute path, ``~`` expanded; nothing need be there yet, and nobody looks.

    Raises:
        ValueError: relative.
    """
    path = expand(text)
    if not path.is_absolute():
        raise ValueError(f"{text!r} is relative: write an absolute path, or one below ~")
    return path


def parse_file(text: str) -> Path:
    """An absolute file that this user can read, ``~`` expanded.

    Raises:
        ValueError: relative, or it cannot be read.
    """
    path = parse_absolute(text)
    if not is_readable(path):
        raise ValueError(f"{text!r} is not a file that this user may read: name one")
    return path


def is_readable(path: Path) -> bool:
    """Whether it is a file that this user may read; False, too, where it may not even look."""
    return os.access(path, os.R_OK) and path.is_file()


def expand(text: str) -> Path:
    """A path with ``~`` expanded.

    Raises:
        ValueError: the home directory is not known, or the text cannot be a path.
    """
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a path: write one")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r}: no home directory is known: write an absolute path") from None


def _bounds(low: float, high: float | None) -> str:
    return f"{low} or more" if high is None else f"from {low} to {high}"


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:
        raise ValueError(f"{without_user(text)!r} is not a URL: {_ENDPOINT}") from None


def _port_is_right(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _is_host(host: str, *, six: bool) -> bool:
    try:
        return (ip_address(host).version == 6) is six
    except ValueError:
        digits_only = host.replace(".", "").isdigit()
        return not six and not digits_only and _HOST_NAME.fullmatch(host) is not None


def without_user(text: str) -> str:
    """The URL without what stands before its last ``@``: a message must not carry a password.

    Not even one whose slashes and at signs were not percent-encoded, as they must be.
    """
    return re.sub(r"//.*@", "//...@", text, flags=re.DOTALL)
