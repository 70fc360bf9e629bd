"""The real Nova and the real Keystone, as tests use them."""

import dataclasses
import subprocess
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.nova.call import Answer, call
from tests.nova.program import Program, environment

Row = dict[str, Any]

ADMIN = "admin"
DEMO = "demo"
ALT_DEMO = "alt_demo"
READER = "reader"
PASSWORD = "secret"
DEFAULT_PROJECT = "6f70656e737461636b20342065766572"
"""Project of a token that names none, in a Nova without Keystone."""

MICROVERSION = "2.96"
"""What the helpers below ask with: every row has tags, metadata and description."""
PAGE = "100"
"""How many servers are asked for at once: a thousand with all details can take Nova a minute."""
SETTLE_SECONDS = 60.0
SCHEDULING_SECONDS = 600.0
_POLL_SECONDS = 0.05
_PROJECTS = {ADMIN: "admin", DEMO: "demo", ALT_DEMO: "alt_demo", READER: "demo"}


@dataclass(frozen=True)
class Fault:
    """What happens to the next requests that fit; tests/nova/real/realnova/faults.py tells all."""

    fault: str
    """drop, delay or a status, and before or after Nova's work: `drop-after`, `503-before`; or
    `late-commit`."""
    method: str = "POST"
    path: str = ""
    """A regular expression, searched in the path."""
    times: int = 1
    seconds: float = 1.0
    status: int = 503
    """What a late commit is answered with; 0: nothing."""
    probability: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Options:
    """How a Nova is run."""

    quota: int = -1
    """Servers of a project; -1: no limit."""
    hold_cast: float = 0.0
    """Seconds between the commit of a create and the 202."""
    hold_until: Path | None = None
    """A file whose coming ends that before."""
    threads: int = 16
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """More lines of nova.conf: {"api.max_limit": "2"}."""

    def arguments(self) -> list[str]:
        """As the program takes them."""
        return [
            f"--instances-quota={self.quota}",
            f"--hold-cast={self.hold_cast}",
            f"--threads={self.threads}",
            *([f"--hold-until={self.hold_until}"] if self.hold_until else []),
            *(f"--set={name}={value}" for name, value in self.settings.items()),
        ]


class RealKeystone:
    """A Keystone of its own process. Users: admin, demo, alt_demo, reader; password `secret`."""

    def __init__(self) -> None:
        """Start it; its catalogue names no compute service yet that would answer."""
        self._program = Program("realnova.identity", ["--compute=http://compute.invalid"])
        self.auth_url: str = self._program.facts["auth_url"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it; leave nothing behind."""
        self._program.stop()

    def token(self, user: str = DEMO, project: str | None = None) -> str:
        """A new token of a user for a project, by default the user's own."""
        return self._log_in(user, project)[0]

    def project_id(self, user: str) -> str:
        """Id of the user's own project."""
        identifier: str = self._log_in(user)[1]["project"]["id"]
        return identifier

    def user_id(self, user: str) -> str:
        """Id of a user."""
        identifier: str = self._log_in(user)[1]["user"]["id"]
        return identifier

    def point_compute_at(self, url: str, look_ups: str | None = None) -> None:
        """Let the catalogue name the compute service at `url`, without /v2.1.

        The image and the network service go to `look_ups`, a RealNova's own url (default: `url`).
        """
        beside = look_ups or url
        urls = {
            "compute": f"{url}/v2.1",
            "image": f"{beside}/image",
            "network": f"{beside}/network",
        }
        headers = {"X-Auth-Token": self.token(ADMIN)}
        services = self._call("GET", "/services", None, headers).json["services"]
        kinds = {row["id"]: row["type"] for row in services}
        for row in self._call("GET", "/endpoints", None, headers).json["endpoints"]:
            if new := urls.get(kinds[row["service_id"]]):
                body = {"endpoint": {"url": new}}
                self._call("PATCH", f"/endpoints/{row['id']}", body, headers)

    def credentials(self, user: str = DEMO) -> dict[str, str]:
        """The OS_* variables of OpenStack's clients."""
        return {
            "OS_AUTH_URL": self.auth_url,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_USERNAME": user,
            "OS_PASSWORD": PASSWORD,
            "OS_PROJECT_NAME": _PROJECTS[user],
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_REGION_NAME": "RegionOne",
        }

    def options(self, *groups: str) -> dict[str, str]:
        """dedupd's own user, for these groups of its options, and who its callers are."""
        user = {
            "auth_type": "password",
            "auth_url": self.auth_url,
            "username": "dedupd",
            "password": PASSWORD,
            "user_domain_id": "default",
            "project_name": "service",
            "project_domain_id": "default",
        }
        found = {f"{group}.{name}": value for group in groups for name, value in user.items()}
        return found | {"auth.strategy": "keystone"}

    def openstack(self, *arguments: str, user: str = DEMO) -> subprocess.CompletedProcess[str]:
        """Run the `openstack` command of the real Nova's environment as a user."""
        command = [str(environment() / "bin" / "openstack"), *arguments]
        return subprocess.run(
            command,
            env=self.credentials(user) | {"HOME": str(self._program.directory)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SETTLE_SECONDS,
        )

    def _log_in(self, user: str, project: str | None = None) -> tuple[str, Row]:
        domain = {"id": "default"}
        who = {"name": user, "domain": domain, "password": PASSWORD}
        scope = {"project": {"name": project or _PROJECTS[user], "domain": domain}}
        identity = {"methods": ["password"], "password": {"user": who}}
        answer = self._call(
            "POST", "/auth/tokens", {"auth": {"identity": identity, "scope": scope}}
        )
        token = answer.header("X-Subject-Token")
        assert token
        return token, answer.json["token"]

    def _call(
        self, method: str, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> Answer:
        answer = call(method, self.auth_url + path, body, headers)
        assert answer.status < 300, answer
        return answer


class RealNova:
    """A Nova of its own process, and its Placement.

    Without Keystone, a token is `user[:project[:role,role]]`: `demo` and `alice:blue` are members,
    `admin` is an administrator.
    """

    def __init__(
        self, options: Options | None = None, keystone: RealKeystone | None = None
    ) -> None:
        """Start it; with a Keystone, its tokens are the ones that count."""
        arguments = (options or Options()).arguments()
        if keystone:
            arguments += ["--auth=keystone", f"--keystone-url={keystone.auth_url}"]
        self._program = Program("realnova.compute", arguments)
        facts = self._program.facts
        self.admin = keystone.token(ADMIN) if keystone else ADMIN
        """A token of an administrator; what the helpers use."""
        self.url = f"http://127.0.0.1:{facts['port']}"
        self.image: str = facts["image"]
        self.flavor: str = facts["flavor"]
        self.network: str = facts["network"]
        self.volume: str = facts["volume_boot"]
        """A volume that boots."""
        self.pids: tuple[int, int] = (facts["pid"], facts["placement_pid"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and its Placement; leave nothing behind."""
        self._program.stop()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = DEMO,
        microversion: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request straight to Nova; `path` begins with /v2.1 or /v2."""
        sent = {"X-Auth-Token": token, **(headers or {})}
        if microversion:
            sent["OpenStack-API-Version"] = f"compute {microversion}"
        return call(method, self.url + path, body, sent)

    def server_body(self, name: str, **more: object) -> Row:
        """The body of a POST /servers that works at every microversion."""
        networks = [{"uuid": self.network}]
        server: Row = {
            "name": name,
            "imageRef": self.image,
            "flavorRef": self.flavor,
            "networks": networks,
        }
        return {"server": server | more}

    def faults(self, *rules: Fault) -> None:
        """Set the rules in place of all earlier ones, and begin to count what is seen anew."""
        body = [dataclasses.asdict(rule) for rule in rules]
        answer = self.call("PUT", "/__fault__", body)
        assert answer.status == 200, answer

    def clear_faults(self) -> None:
        """No faults, and nothing seen."""
        self.faults()

    def seen(self, method: str | None = None) -> list[tuple[str, str]]:
        """Method and path of every request since the rules were set, in order."""
        rows = self.call("GET", "/__fault__").json["seen"]
        return [(verb, path) for verb, path in rows if method in (None, verb)]

    def lost(self) -> list[str]:
        """The bodies of Nova's answers that a fault has kept back since the rules were set."""
        bodies: list[str] = self.call("GET", "/__fault__").json["lost"]
        return bodies

    def servers(
        self, token: str | None = None, *, deleted: bool = False, **filters: str
    ) -> list[Row]:
        """Every row of GET /servers/detail, from all its pages.

        Those of all projects, without a token; `deleted`: those deleted as well, with status
        DELETED. A filter that this microversion does not know is an error.
        """
        return self._servers(token, filters, deleted=deleted)

    def all_servers(self, seconds: float = SCHEDULING_SECONDS) -> list[Row]:
        """The rows of all that there are and were, when none is being built any more.

        Nova's list with the deleted ones lacks those that are; and a page that ends with one of
        them is followed by a wrong one where that is scheduled meanwhile (``API.get_all`` in
        nova/compute/api.py: what is still to be scheduled behind such a marker is left out).
        """
        deadline = time.monotonic() + seconds
        while True:
            standing = self._servers(None, {"limit": PAGE})
            rows = [*standing, *self._servers(None, {"limit": PAGE}, deleted=True)]
            building = sum(row["status"] == "BUILD" for row in rows)
            if not building:
                return list({row["id"]: row for row in rows}.values())
            assert time.monotonic() < deadline, f"{building} in BUILD after {seconds} s"
            time.sleep(_POLL_SECONDS)

    def server(self, identifier: str) -> Row:
        """One server's row."""
        answer = self._ask("GET", f"/v2.1/servers/{identifier}")
        assert answer.status == 200, answer
        row: Row = answer.json["server"]
        return row

    def wait_for_server(
        self,
        identifier: str,
        statuses: Sequence[str] = ("ACTIVE",),
        seconds: float = SETTLE_SECONDS,
    ) -> Row:
        """The row of a server as soon as it has one of the statuses."""
        deadline = time.monotonic() + seconds
        while (row := self.server(identifier))["status"] not in statuses:
            assert time.monotonic() < deadline, f"still {row['status']} after {seconds} s: {row}"
            time.sleep(_POLL_SECONDS)
        return row

    def delete_server(self, identifier: str, seconds: float = SETTLE_SECONDS) -> None:
        """Delete a server and wait until it is gone; one that is gone already is no error."""
        path = f"/v2.1/servers/{identifier}"
        answer = self._ask("DELETE", path)
        assert answer.status in (204, 404), answer
        deadline = time.monotonic() + seconds
        while self._ask("GET", path).status != 404:
            assert time.monotonic() < deadline, f"{identifier} still there after {seconds} s"
            time.sleep(_POLL_SECONDS)

    def delete_servers(self, **filters: str) -> None:
        """Delete every server of every project that the filters list."""
        for row in self._servers(None, filters):
            self.delete_server(row["id"])

    def keypairs(self, user: str = DEMO) -> list[Row]:
        """The keypairs of a user, by id, as GET /os-keypairs lists them."""
        path = f"/v2.1/os-keypairs?user_id={urllib.parse.quote(user)}"
        rows = self._all_pages(path, "keypairs", self.admin)
        return [row["keypair"] for row in rows]

    def delete_keypair(self, name: str, user: str = DEMO) -> None:
        """Delete a user's keypair; one that is not there is no error."""
        path = f"/v2.1/os-keypairs/{urllib.parse.quote(name)}?user_id={urllib.parse.quote(user)}"
        answer = self._ask("DELETE", path)
        assert answer.status in (204, 404), answer

    def delete_keypairs(self, user: str = DEMO) -> None:
        """Delete all keypairs of a user."""
        for row in self.keypairs(user):
            self.delete_keypair(row["name"], user)

    def _servers(
        self, token: str | None, filters: Mapping[str, str], *, deleted: bool = False
    ) -> list[Row]:
        query = dict(filters)
        if token is None:
            query["all_tenants"] = "1"
        if deleted:
            query["changes-since"] = "2000-01-01T00:00:00Z"
        path = f"/v2.1/servers/detail?{urllib.parse.urlencode(query)}"
        return self._all_pages(path, "servers", token)

    def _ask(self, method: str, path: str, token: str | None = None) -> Answer:
        return self.call(method, path, token=token or self.admin, microversion=MICROVERSION)

    def _all_pages(self, path: str, key: str, token: str | None) -> list[Row]:
        rows: list[Row] = []
        while path:
            answer = self._ask("GET", path, token)
            assert answer.status == 200, answer
            rows += answer.json[key]
            links = {row["rel"]: row["href"] for row in answer.json.get(f"{key}_links", [])}
            path = links.get("next", "").removeprefix(self.url)
        return rows
