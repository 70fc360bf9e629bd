"""Two Novas asked the same, and their answers made comparable.

What differs by nature (ids, times, addresses, keys) is replaced by words; what the simulation
deliberately leaves out is named, with the reason, in LEFT_OUT. All the rest must be equal.
"""

import difflib
import json
import re
import string
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dedupd.sim.nova.world import PORT
from tests.nova.call import Answer, call
from tests.nova.cloud import DEFAULT_PROJECT

DEADLINE = 60.0
_POLL_SECONDS = 0.02
QUOTA = 14
"""Servers that a project may have in either."""

LEFT_OUT = {
    "instanceAction.events": "the simulation keeps no events of an action",
    "instanceAction.updated_at": "in the simulation an action takes no time",
    "instanceActions.*.updated_at": "in the simulation an action takes no time",
}
"""What of the answers is not compared, by its path in the body, and why."""

COMPARED_HEADERS = (
    "content-type",
    "location",
    "openstack-api-version",
    "vary",
    "www-authenticate",
    "x-compute-request-id",
    "x-openstack-nova-api-version",
    "x-openstack-request-id",
)

ANONYMOUS = (
    (r"127\.0\.0\.1:\d+", "<host>"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>"),
    (r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", "<time>"),
    (r"\br-[a-z0-9]{8}\b", "<reservation id>"),
    (r'("adminPass": )"[A-Za-z0-9]{12}"', r"\1<password>"),
    (r'("addr": )"[0-9.]+"', r"\1<address>"),
    (r"([0-9a-f]{2}:){15}[0-9a-f]{2}", "<fingerprint>"),
    (r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "<hardware address>"),
    (r"\b[0-9a-f]{56}\b", "<host id>"),
    (r"instance-[0-9a-f]{8}", "<instance name>"),
    (r'("id": )\d+', r"\1<number>"),
    (r"AAAAB3NzaC1yc2E[A-Za-z0-9+/=]{300,}", "<public key>"),
    (r"(BEGIN RSA PRIVATE KEY-----).{1500,1800}(-----END)", r"\1...\2"),
)
"""What differs by nature, and the word that stands for it."""


@dataclass(frozen=True)
class Step:
    """One request, to /v2.1 unless `path` begins with `!`.

    `$name` in path, token and body is what a Nova or an earlier step of the section calls so;
    `keep` names values of the answer, by their path in it; `settle` names the server to wait for.
    `ordered`: the order of the servers listed counts.
    """

    method: str
    path: str
    body: Any = None
    token: str = "$member"
    version: str | None = "2.96"
    headers: Mapping[str, str] = field(default_factory=dict)
    keep: Mapping[str, str] = field(default_factory=dict)
    settle: str = ""
    ordered: bool = False

    def __str__(self) -> str:
        """Say what is asked, in one line."""
        body = "" if self.body is None else str(self.body)[:160]
        return f"{self.method} {self.path} {body} as {self.token} at {self.version}"


class Side:
    """One of the two Novas, and the names by which its answers' ids are known."""

    def __init__(self, url: str, image: str, network: str, volume: str) -> None:
        self.url = url
        self._fixed = {"image": image, "network": network, "volume": volume, "port": PORT}
        self.names = self._fresh_names()

    def _fresh_names(self) -> dict[str, str]:
        return self._fixed | {
            "nothing": "00000000-0000-4000-8000-000000000000",
            "project": DEFAULT_PROJECT,
            "project2": uuid.uuid4().hex,
            "user": f"user-{uuid.uuid4().hex[:8]}",
            "other": f"other-{uuid.uuid4().hex[:8]}",
        }

    def _filled(self, text: str) -> str:
        """Put in what the names stand for, tokens first: they are made of names."""
        return string.Template(string.Template(text).safe_substitute(TOKENS)).safe_substitute(
            self.names
        )

    def ask(self, step: Step) -> Answer:
        """Send a step's request."""
        path = step.path[1:] if step.path.startswith("!") else f"/v2.1{step.path}"
        body = step.body
        if body is not None and not isinstance(body, bytes):
            body = self._filled(json.dumps(body)).encode()
        headers = dict(step.headers)
        if step.token:
            headers["X-Auth-Token"] = self._filled(step.token)
        if step.version:
            headers.setdefault("OpenStack-API-Version", f"compute {step.version}")
        return call(step.method, self.url + self._filled(path), body, headers, seconds=DEADLINE)

    def play(self, step: Step) -> list[str]:
        """Carry out a step; return its answer as lines that do not depend on the side."""
        answer = self.ask(step)
        for name, path in step.keep.items():
            self.names[name] = str(_at(answer.json, path))
        lines = self._lines(step, answer)
        if step.settle:
            self._settle(step.settle, gone=step.method == "DELETE")
        return lines

    def _lines(self, step: Step, answer: Answer) -> list[str]:
        headers = sorted((name.lower(), value) for name, value in answer.headers)
        lines = [f"status {answer.status}"]
        lines += [f"{name}: {value}" for name, value in headers if name in COMPARED_HEADERS]
        try:
            body = _pruned(answer.json, step.ordered)
            lines += json.dumps(body, indent=1, sort_keys=True).splitlines()
        except ValueError:
            lines += answer.body.decode("latin-1").splitlines()
        return [self._anonymous(line) for line in lines]

    def _anonymous(self, line: str) -> str:
        for name, value in self.names.items():
            line = line.replace(value, f"<{name}>")
        for pattern, word in ANONYMOUS:
            line = re.sub(pattern, word, line)
        return line

    def _settle(self, server: str, *, gone: bool) -> None:
        """Wait until a server is deleted, or neither building nor busy."""
        step = Step("GET", f"/servers/{server}", token="$admin", version="2.1")
        deadline = time.monotonic() + DEADLINE
        while (answer := self.ask(step)).status != 404:
            row = answer.json["server"]
            if not gone and row["status"] != "BUILD" and row["OS-EXT-STS:task_state"] is None:
                return
            assert time.monotonic() < deadline, f"not settled after {DEADLINE} s: {row}"
            time.sleep(_POLL_SECONDS)

    def clear(self) -> None:
        """Delete what the section has left, and forget its names."""
        for kind, token in _LEAVINGS:
            rows = self.ask(Step("GET", f"/{kind}", token=token)).json
            for row in rows[kind.removeprefix("os-").replace("-", "_")]:
                name = row["keypair"]["name"] if "keypair" in row else row["id"]
                self.ask(Step("DELETE", f"/{kind}/{name}", token=token))
                if kind == "servers":
                    self._settle(name, gone=True)
        self.names = self._fresh_names()


TOKENS = {
    "member": "$user:$project",
    "reader": "$user:$project:reader",
    "outsider": "$user:$project:outsider",
    "admin": "admin:$project",
    "stranger": "stranger:$project2",
    "tenant": "tenant:$project2",
    "neighbour": "neighbour:$project2",
    "landlord": "landlord:$project2:admin,member,reader",
}
"""Who asks: a member, a mere reader, someone without a role, an admin; others of project 2."""

_LEAVINGS = (
    ("servers", "$admin"),
    ("servers", "$landlord"),
    ("os-server-groups", "$admin"),
    ("os-keypairs", "$member"),
)


def _at(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def _pruned(value: Any, ordered: bool, path: str = "") -> Any:
    """Leave out what is not compared, and sort the rows of lists that come in any order."""
    if isinstance(value, dict):
        paths = {key: f"{path}.{key}".lstrip(".") for key in value}
        kept = [key for key in value if paths[key] not in LEFT_OUT]
        return {key: _pruned(value[key], ordered, paths[key]) for key in kept}
    if isinstance(value, list):
        rows = [_pruned(row, ordered, f"{path}.*") for row in value]
        return sorted(rows, key=_name) if path in ("servers", "images") and not ordered else rows
    return value


def _name(row: Mapping[str, Any]) -> str:
    return str(row["name"])


def difference(step: Step, real: Side, simulated: Side) -> str:
    """Return how the answers to one step differ, as a unified diff; empty if they do not."""
    expected, actual = real.play(step), simulated.play(step)
    diff = difflib.unified_diff(expected, actual, "real", "simulated", n=1, lineterm="")
    told = "\n  ".join(diff)
    return f"{step}\n  {told}" if told else ""
