"""One request as the routes see it: who calls, with which microversion, and asking for what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from dedupd.sim.nova.wire import Fault

MINIMUM_MINOR = 1
MAXIMUM_MINOR = 104
"""The range of microversions 2.x that Nova 34 (and so the simulation) serves."""

_INCAPABLE = "The server has either erred or is incapable of performing the requested operation."

DEFAULT_PROJECT = "6f70656e737461636b20342065766572"
"""Project of a token that names none, as with Nova's former noauth middleware."""


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request: what Keystone would have said about the token."""

    user: str
    project: str
    roles: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """Whether Nova's default policy treats the caller as an administrator."""
        return "admin" in self.roles

    @property
    def may_read(self) -> bool:
        """Whether the default policy lets the caller read its project."""
        return not self.roles.isdisjoint(("reader", "member", "admin"))

    @property
    def may_write(self) -> bool:
        """Whether the default policy lets the caller change its project."""
        return not self.roles.isdisjoint(("member", "admin"))


class Call(msgspec.Struct, frozen=True):
    """One request after authentication and version negotiation. `now` is in seconds (epoch)."""

    method: str
    path: str
    segments: tuple[str, ...]
    query: list[tuple[str, str]]
    body: bytes
    caller: Caller
    minor: int
    host_url: str
    version: str
    request_id: str
    now: float

    @property
    def api_url(self) -> str:
        """The address of the API that was called, which links in answers start with."""
        return f"{self.host_url}/{self.version}"

    def decoded(self) -> Any:
        """Return the body decoded from JSON, None if it is empty.

        Raises Nova's faults: 400 if it is malformed, 500 if it is not even UTF-8.
        """
        if not self.body:
            return None
        try:
            return msgspec.json.decode(self.body.decode())
        except UnicodeDecodeError:
            raise Fault(500, _INCAPABLE) from None
        except msgspec.DecodeError:
            raise Fault(400, "Malformed request body") from None

    def last(self, name: str) -> str | None:
        """Return the last value of a query parameter, which is the one Nova reads, or None."""
        return dict(self.query).get(name)

    def require(self, policy: str, *, write: bool) -> None:
        """Raise Nova's 403 unless the caller's roles allow the named policy."""
        allowed = self.caller.may_write if write else self.caller.may_read
        if not allowed:
            raise forbidden(policy)


def forbidden(policy: str) -> Fault:
    """Return Nova's 403 for a policy that the caller fails."""
    return Fault(403, f"Policy doesn't allow os_compute_api:{policy} to be performed.")


@lru_cache(maxsize=4096)
def caller_from_token(token: str) -> Caller:
    """Return the caller that a token `user[:project[:role,role]]` stands for."""
    user, project, roles = [*token.split(":", 2), "", ""][:3]
    default = "admin,member,reader" if user == "admin" else "member,reader"
    return Caller(user, project or DEFAULT_PROJECT, frozenset((roles or default).split(",")))


def requested_minor(headers: Mapping[str, str]) -> tuple[str, int]:
    """Return the microversion asked for, as text for the headers and as its minor number.

    `OpenStack-API-Version: compute 2.N` wins over `X-OpenStack-Nova-API-Version: 2.N`; neither
    means 2.1. Raises a Fault 400 if it is malformed, UnsupportedVersion if it is out of range.
    """
    text = _version_text(headers)
    if text == "latest":
        return f"2.{MAXIMUM_MINOR}", MAXIMUM_MINOR
    matched = re.fullmatch(r"([1-9]\d*)\.([1-9]\d*|0)", text)
    if matched is None:
        message = f"API Version String {text} is of invalid format."
        form = "Must be of format MajorNum.MinorNum."
        raise Fault(400, f"{message} {form}")
    major, minor = int(matched[1]), int(matched[2])
    if major == 2 and MINIMUM_MINOR <= minor <= MAXIMUM_MINOR:
        return text, minor
    raise UnsupportedVersion(text)


class UnsupportedVersion(Fault):
    """The 406 for a microversion out of range: its version headers repeat what was asked for."""

    def __init__(self, text: str) -> None:
        limits = f"Minimum is 2.{MINIMUM_MINOR} and maximum is 2.{MAXIMUM_MINOR}."
        super().__init__(406, f"Version {text} is not supported by the API. {limits}")
        self.text = text


def _version_text(headers: Mapping[str, str]) -> str:
    for entry in headers.get("openstack-api-version", "").split(","):
        service, _, version = entry.strip().partition(" ")
        if service == "compute" and version:
            return version.strip()
    return headers.get("x-openstack-nova-api-version", "2.1").strip()


def parsed_query(text: str) -> list[tuple[str, str]]:
    """Return the query string's parameters in order, blank values kept."""
    return parse_qsl(text, keep_blank_values=True)
