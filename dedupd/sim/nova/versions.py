"""The version documents: what a client reads before it knows how to ask."""

from __future__ import annotations

from typing import Any

from dedupd.sim.nova.call import MAXIMUM_MINOR, MINIMUM_MINOR
from dedupd.sim.nova.wire import Reply

Json = dict[str, Any]

_MEDIA = "application/vnd.openstack.compute+json;version={}"
_DOCUMENTS: dict[str, Json] = {
    "v2": {
        "id": "v2.0",
        "status": "DEPRECATED",
        "version": "",
        "min_version": "",
        "updated": "2025-07-04T12:00:00Z",
    },
    "v2.1": {
        "id": "v2.1",
        "status": "CURRENT",
        "version": f"2.{MAXIMUM_MINOR}",
        "min_version": f"2.{MINIMUM_MINOR}",
        "updated": "2013-07-23T11:33:21Z",
    },
}


def unversioned(host_url: str, path: str, segments: tuple[str, ...]) -> Reply | None:
    """Return what Nova answers where the path names no version of the API, else None."""
    if not segments:
        return _all_versions(host_url)
    return None if segments[0] in _DOCUMENTS else _choices(host_url, path)


def _all_versions(host_url: str) -> Reply:
    """GET /: every version."""
    documents = [
        document | {"links": [{"rel": "self", "href": f"{host_url}/{prefix}/"}]}
        for prefix, document in _DOCUMENTS.items()
    ]
    return Reply(200, {"versions": documents})


def one_version(host_url: str, prefix: str) -> Reply:
    """GET /v2.1/ and /v2/: one version, with its media type."""
    document = dict(_DOCUMENTS[prefix])
    described = {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}
    document["links"] = [{"rel": "self", "href": f"{host_url}/{prefix}/"}, described]
    document["media-types"] = [_media(prefix)]
    return Reply(200, {"version": document})


def _choices(host_url: str, path: str) -> Reply:
    """300 for a path under no version: the same path under each."""
    rest = path.strip("/")
    listed = [
        {
            "id": document["id"],
            "status": document["status"],
            "links": [{"rel": "self", "href": f"{host_url}/{prefix}/{rest}"}],
            "media-types": [_media(prefix)],
        }
        for prefix, document in _DOCUMENTS.items()
    ]
    return Reply(300, {"choices": listed})


def _media(prefix: str) -> Json:
    return {"base": "application/json", "type": _MEDIA.format(prefix.removeprefix("v"))}
