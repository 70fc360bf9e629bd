"""Just enough of Glance and Neutron over HTTP for clients that look up images and networks.

`openstack server create --image NAME --network NAME` asks the image and the network service by
itself. These answer from what the stand-ins hold: /image/v2/... and /network/v2.0/....
"""

import json
import urllib.parse
import uuid
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from realnova.stand_ins import Row, StandIns
from realnova.web import Application, Environ, StartResponse

_IMAGES = "/image/v2/images"
_NETWORK = "/network/v2.0/"


class LookUps:
    """The WSGI application around Nova's that answers for the other two services."""

    def __init__(self, stand_ins: StandIns, nova: Application) -> None:
        self._stand_ins = stand_ins
        self._nova = nova

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or leave it to Nova."""
        path = environ["PATH_INFO"].rstrip("/")
        if not path.startswith(("/image", "/network")):
            return self._nova(environ, start_response)
        status, answer = self._answer(path, environ)
        phrase = HTTPStatus(status).phrase
        start_response(f"{status} {phrase}", [("Content-Type", "application/json")])
        return [b"" if answer is None else json.dumps(answer).encode()]

    def _answer(self, path: str, environ: Environ) -> tuple[int, object]:
        base = f"http://{environ['HTTP_HOST']}"
        if path in ("/image", "/image/v2"):
            return 200, _versions("v2.9", f"{base}/image/v2/")
        if path == "/network":
            return 200, _versions("v2.0", f"{base}{_NETWORK}")
        if path.startswith(_IMAGES):
            images = [_as_glance_shows(image) for image in self._stand_ins.images.values()]
            return _find(images, "images", path.removeprefix(_IMAGES).strip("/"), environ)
        if path.startswith(_NETWORK):
            return self._network(environ, *path.removeprefix(_NETWORK).split("/", 1))
        return _not_found()

    def _network(self, environ: Environ, kind: str, identifier: str = "") -> tuple[int, object]:
        collections = {
            "networks": self._stand_ins.networks,
            "subnets": self._stand_ins.subnets,
            "ports": self._stand_ins.ports,
            "security-groups": self._stand_ins.security_groups,
        }
        rows = collections.get(kind, {})
        if environ["REQUEST_METHOD"] == "DELETE" and kind in ("ports", "security-groups"):
            rows.pop(identifier, None)
            return 204, None
        if environ["REQUEST_METHOD"] == "POST" and kind == "security-groups":
            return 201, {"security_group": self._create_security_group(environ)}
        shown = [_plain(row) for row in rows.values()]
        return _find(shown, kind.replace("-", "_"), identifier, environ)

    def _create_security_group(self, environ: Environ) -> Row:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        group: Row = {
            **self._stand_ins.neutron.security_group,
            "tenant_id": None,
            "project_id": None,
            **json.loads(body)["security_group"],
            "id": str(uuid.uuid4()),
        }
        self._stand_ins.security_groups[group["id"]] = group
        return group


def _find(rows: list[Row], key: str, identifier: str, environ: Environ) -> tuple[int, object]:
    """One row by its id, or all that the query asks for."""
    if not identifier:
        query = dict(urllib.parse.parse_qsl(environ.get("QUERY_STRING", "")))
        return 200, {key: [row for row in rows if _fits(row, query)]}
    for row in rows:
        if row["id"] == identifier:
            # Glance shows an image as it is, Neutron under the name of its kind.
            return 200, row if key == "images" else {key[:-1]: row}
    return _not_found()


def _fits(row: Row, query: dict[str, str]) -> bool:
    names = {"id", "name", "status"}
    if not row.get("shared"):
        names |= {"tenant_id", "project_id"}
    return all(str(row.get(key)) == value for key, value in query.items() if key in names)


def _as_glance_shows(image: Row) -> Row:
    shown = _plain(image)
    shown.update(shown.pop("properties", None) or {}, schema="/v2/schemas/image")
    for key in ("deleted", "deleted_at"):
        shown.pop(key, None)
    return shown


def _plain(row: Row) -> Row:
    """The row as JSON knows it: times become strings."""

    def plain(value: Any) -> str:
        return value.strftime("%Y-%m-%dT%H:%M:%SZ") if hasattr(value, "strftime") else str(value)

    result: Row = json.loads(json.dumps(row, default=plain))
    return result


def _versions(identifier: str, url: str) -> object:
    link = {"rel": "self", "href": url}
    return {"versions": [{"id": identifier, "status": "CURRENT", "links": [link]}]}


def _not_found() -> tuple[int, object]:
    return 404, {"message": "not found"}
