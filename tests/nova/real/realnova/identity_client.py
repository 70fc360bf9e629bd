"""The calls of Keystone's API that fill it: users, projects, roles and the catalogue."""

import http.client
import json
from collections.abc import Iterable
from typing import Any

from realnova.settings import PASSWORD

REGION = "RegionOne"
INTERFACES = ("public", "internal", "admin")
_SECONDS = 60


class Client:
    """An administrator of the Keystone at a port on loopback."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._token: str | None = None
        self._token = self._log_in()

    def call(self, method: str, path: str, body: object = None) -> Any:
        """What Keystone answers; RuntimeError if that is an error."""
        return self._send(method, path, body)[1]

    def rows(self, collection: str, **wanted: str) -> list[dict[str, Any]]:
        """What GET /v3/<collection> lists, as far as it has the wanted values."""
        rows = self.call("GET", f"/{collection}")[collection]
        return [row for row in rows if all(row[key] == value for key, value in wanted.items())]

    def create(self, kind: str, **values: object) -> str:
        """POST one <kind>; its id."""
        created = self.call("POST", f"/{kind}s", {kind: values})
        identifier: str = created[kind]["id"]
        return identifier

    def grant(self, project: str, user: str, roles: Iterable[str]) -> None:
        """Give a user roles in a project, all by id."""
        for role in roles:
            self.call("PUT", f"/projects/{project}/users/{user}/roles/{role}")

    def _log_in(self) -> str:
        domain = {"id": "default"}
        user = {"name": "admin", "domain": domain, "password": PASSWORD}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": "admin", "domain": domain}}
        body = {"auth": {"identity": identity, "scope": scope}}
        headers, _ = self._send("POST", "/auth/tokens", body)
        return str(headers["X-Subject-Token"])

    def _send(self, method: str, path: str, body: object) -> tuple[http.client.HTTPMessage, Any]:
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["X-Auth-Token"] = self._token
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SECONDS)
        connection.request(method, f"/v3{path}", json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content!r}")
        return answer.headers, json.loads(content) if content else None
