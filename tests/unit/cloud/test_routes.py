"""The one table of POSTs: what each is called, how it is found again, what it hides."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dedupd.cloud import routes
from dedupd.cloud.routes import BY_NAME, KEYPAIRS, MAX_DEPTH, ROUTES, SERVERS
from dedupd.errors import BadRequest
from dedupd.exchange import Payload
from dedupd.microversion import LATEST, LOWEST, Microversion
from dedupd.request import Record
from tests.unit.site import PROJECT, VM, call_of

UUID = "01234567-89ab-cdef-0123-456789abcdef"
NEITHER = b"{"


def read(path: str, body: bytes = b"{}", *headers: tuple[bytes, bytes]) -> routes.Reading:
    return routes.read(path, headers, body)


@pytest.mark.parametrize(
    ("path", "name", "base"),
    [
        ("/v2.1/servers", "server create", "/v2.1"),
        ("/v2/servers", "server create", "/v2"),
        ("/compute/v2.1/servers", "server create", "/compute/v2.1"),
        (f"/v2.1/{PROJECT}/servers", "server create", f"/v2.1/{PROJECT}"),
        (f"/v2.1/{UUID}/servers", "server create", f"/v2.1/{UUID}"),
        (f"/a/v2/{PROJECT}/servers", "server create", f"/a/v2/{PROJECT}"),
        ("/v2.1//servers", "server create", "/v2.1"),
        ("//v2.1/servers", "server create", "/v2.1"),
        ("/v2.1/%73ervers", "server create", "/v2.1"),
        ("/v2.1/os-volumes_boot", "server create", "/v2.1"),
        (f"/v2.1/os-volumes_boot/{UUID}/action", "server action", "/v2.1"),
        ("/v2.1/os-volumes_boot/", "other", "/v2.1"),
        ("/v2.1/os-keypairs", "keypair create", "/v2.1"),
        (f"/v2.1/servers/{UUID}/action", "server action", "/v2.1"),
        (f"/v2.1/{PROJECT}/servers/{UUID}/action", "server action", f"/v2.1/{PROJECT}"),
        (f"/v2.1/servers/{UUID}/remote-consoles", "remote console", "/v2.1"),
        ("/v2.1/os-server-groups", "other", "/v2.1"),
        ("/v2.1/servers/", "other", "/v2.1"),
        ("/v2.1/SERVERS", "other", "/v2.1"),
        ("/v2.1/servers.json", "other", "/v2.1"),
        (f"/v2.1/servers/{UUID}", "other", "/v2.1"),
        (f"/v2.1/servers/{UUID}/tags/action", "other", "/v2.1"),
        ("/v2.1", "other", ""),
        ("/v2.0/servers", "other", ""),
        ("/V2.1/servers", "other", ""),
        ("/servers", "server create", ""),
        ("/anything", "other", ""),
        ("/", "other", ""),
        ("/v2.1/servers%0A", "other", "/v2.1"),
        ("/v2.1/a%0A/v2/servers", "other", "/v2.1"),
        ("/a%0Ab", "other", ""),
    ],
)
def test_each_path_has_its_row_and_its_base(path: str, name: str, base: str) -> None:
    """Aliases as measured on Nova 34: what it takes for POST /servers is a server create here."""
    reading = read(path)
    assert (reading.route.name, reading.base) == (name, base)


@pytest.mark.parametrize(
    ("path", "legacy"),
    [
        ("/v2.1/servers", False),
        ("/v2/servers", True),
        (f"/v2/{PROJECT}/servers", True),
        ("/x", False),
    ],
)
def test_v2_is_told_apart(path: str, legacy: bool) -> None:
    assert read(path).legacy is legacy


@pytest.mark.parametrize("rest", ["/%0A", "/servers", "", "%0A"])
def test_a_long_path_takes_no_longer_than_it_is(rest: str) -> None:
    """Each part of one of 1 MB is looked at a few times, not once for each before it."""
    path = "/v2" * 350_000 + rest
    assert routes.read(path, (), b"{}").route.name in {"other", "server create"}


def test_headers_of_any_case_are_read() -> None:
    reading = read("/v2.1/servers", b"{}", (b"OpenStack-API-Version", b"compute 2.96"))
    assert reading.microversion == Microversion(2, 96)
    assert read("/v2.1/servers").microversion is None


def test_a_malformed_microversion_is_refused() -> None:
    with pytest.raises(BadRequest, match="OpenStack-API-Version is malformed"):
        read("/v2.1/servers", b"{}", (b"openstack-api-version", b"compute x"))


@pytest.mark.parametrize("path", ["/v2.1/servers", "/v2.1/os-keypairs"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        NEITHER,
        b"{} x",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b'{"a": 1e400}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        "{}".encode("utf-16"),
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_what_must_be_marked_must_be_json(path: str, body: bytes) -> None:
    """Nova accepts none of it either, or nothing that could be marked."""
    with pytest.raises(BadRequest, match="is not JSON that can be read in UTF-8") as caught:
        read(path, body)
    assert "nothing was sent" in caught.value.message


@pytest.mark.parametrize("body", [b'{"a": "\xff"}', b'{"a": "b\xc3"}'])
def test_of_what_is_not_utf_8_no_position_is_told(body: bytes) -> None:
    """Python's is not that in the body."""
    with pytest.raises(BadRequest, match=r"\(it is not UTF-8\)") as caught:
        read("/v2.1/servers", body)
    assert "position" not in caught.value.message


@pytest.mark.parametrize("body", [b"", NEITHER, b"\xff", b"[" * 5000 + b"]" * 5000])
def test_what_is_sent_as_it_came_may_be_anything(body: bytes) -> None:
    assert read("/v2.1/os-server-groups", body).document is msgspec.UNSET


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_is_nested_too_deep_is_refused_before_a_worker_stumbles_over_it(
    opening: bytes, closing: bytes
) -> None:
    def nested(depth: int) -> bytes:
        return opening * depth + b"[{},{}]" + closing * depth

    assert read("/v2.1/servers", nested(MAX_DEPTH - 2)).document
    with pytest.raises(BadRequest, match=f"nested deeper than {MAX_DEPTH} levels"):
        read("/v2.1/servers", nested(MAX_DEPTH - 1))
    assert read("/v2.1/x", nested(MAX_DEPTH - 1)).document is msgspec.UNSET


def test_what_is_wide_is_not_deep() -> None:
    document = [[{"a": [1]}] for _ in range(MAX_DEPTH)]
    assert read("/v2.1/servers", msgspec.json.encode(document)).document == document


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"a": [1, null]}', {"a": [1, None]}),
        (b"null", None),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b" 12345678901234567890123 \n", 12345678901234567890123),
    ],
)
def test_json_is_read_as_nova_reads_it(body: bytes, document: Any) -> None:
    assert read("/v2.1/servers", body).document == document


class TestTable:
    def test_the_last_row_takes_everything(self) -> None:
        assert ROUTES[-1].path.fullmatch("")
        assert ROUTES[-1].probe == ""

    def test_names_are_unique(self) -> None:
        assert len(BY_NAME) == len(ROUTES)

    def test_every_probe_exists(self) -> None:
        assert {route.probe for route in ROUTES} - {""} == routes.probes().keys()
        assert (BY_NAME["server create"].probe, BY_NAME["keypair create"].probe) == (
            SERVERS,
            KEYPAIRS,
        )

    def test_keypairs_alone_are_per_user(self) -> None:
        assert [route.name for route in ROUTES if route.per_user] == ["keypair create"]


class TestErrand:
    def errand(self, path: str, version: str | None) -> Any:
        record = Record(
            id="0" * 32,
            birth="b1",
            project_id=PROJECT,
            user_id="alice",
            route="server create",
            path=path.partition("?")[0],
            fingerprint=b"",
            parts={},
            created_at=0.0,
        )
        return routes.errand(record, Payload(call_of(VM, path, version), b"seed"))

    @pytest.mark.parametrize(
        ("path", "root", "modern_root"),
        [
            ("/v2.1/servers?a=b", "/v2.1", "/v2.1"),
            (f"/v2.1/{PROJECT}/servers", "/v2.1", "/v2.1"),
            (f"/compute/v2/{PROJECT}/servers", "/compute/v2", "/compute/v2.1"),
            ("/v2/servers", "/v2", "/v2.1"),
        ],
    )
    def test_knows_the_root_without_a_project(self, path: str, root: str, modern_root: str) -> None:
        errand = self.errand(path, "2.96")
        assert (errand.root, errand.modern_root) == (root, modern_root)
        assert errand.document == VM

    @pytest.mark.parametrize(
        ("path", "version", "effective", "requested"),
        [
            ("/v2.1/servers", "2.96", Microversion(2, 96), Microversion(2, 96)),
            ("/v2.1/servers", "latest", LATEST, LATEST),
            ("/v2.1/servers", None, LOWEST, None),
            ("/v2/servers", "2.96", LOWEST, None),
            ("/v2/servers", None, LOWEST, None),
        ],
    )
    def test_knows_what_nova_will_apply(
        self,
        path: str,
        version: str | None,
        effective: Microversion,
        requested: Microversion | None,
    ) -> None:
        """Nova ignores the header on /v2 (measured)."""
        errand = self.errand(path, version)
        assert (errand.effective, errand.requested) == (effective, requested)


class TestRedact:
    @pytest.mark.parametrize(
        ("route", "answer", "left", "removed"),
        [
            (
                "server create",
                {"server": {"id": "s", "adminPass": "x"}},
                {"server": {"id": "s"}},
                ["server.adminPass"],
            ),
            (
                "keypair create",
                {"keypair": {"name": "k", "private_key": "x"}},
                {"keypair": {"name": "k"}},
                ["keypair.private_key"],
            ),
            ("server action", {"adminPass": "x"}, {}, ["adminPass"]),
            (
                "server action",
                {"server": {"adminPass": "x", "id": "s"}},
                {"server": {"id": "s"}},
                ["server.adminPass"],
            ),
            (
                "server action",
                {
                    "server": {
                        "id": "s",
                        "user_data": "eA==",
                        "OS-EXT-SRV-ATTR:host": "compute17",
                        "OS-EXT-SRV-ATTR:user_data": None,
                        "OS-EXT-STS:vm_state": "active",
                        "host_status": "UP",
                    }
                },
                {"server": {"id": "s", "OS-EXT-STS:vm_state": "active"}},
                ["server.user_data", "server.OS-EXT-SRV-ATTR:*", "server.host_status"],
            ),
            (
                "server action",
                {"server": {"user_data": None}},
                {"server": {"user_data": None}},
                [],
            ),
            (
                "server action",
                {"console": {"type": "novnc", "url": "x"}},
                {"console": {"type": "novnc"}},
                ["console.url"],
            ),
            (
                "remote console",
                {"remote_console": {"url": "x"}},
                {"remote_console": {}},
                ["remote_console.url"],
            ),
        ],
    )
    def test_secrets_are_removed_and_named(
        self, route: str, answer: Any, left: Any, removed: list[str]
    ) -> None:
        body, names = routes.redact(BY_NAME[route], msgspec.json.encode(answer))
        assert (msgspec.json.decode(body), names) == (left, removed)

    @pytest.mark.parametrize("route", ["server create", "server action"])
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b'{"server":   {"id": "s"}}',
            b'{"server": null}',
            b'{"server": []}',
            b"[]",
            b'{"reservation_id": "r-1"}',
            b'{"badRequest": {"code": 400, "message": "no"}}',
        ],
    )
    def test_what_has_none_stays_as_it_is(self, route: str, body: bytes) -> None:
        assert routes.redact(BY_NAME[route], body) == (body, [])

    UNREADABLE = (
        b"adminPass: s3cret",
        b'{"adminPass": "s3cret',
        b'"\xff"',
        b"[" * 5000 + b"]" * 5000,
    )

    @pytest.mark.parametrize("route", [route.name for route in routes.ROUTES if route.secrets])
    @pytest.mark.parametrize("body", UNREADABLE)
    def test_nothing_is_left_of_what_cannot_be_read(self, route: str, body: bytes) -> None:
        assert routes.redact(BY_NAME[route], body) == (b"", ["*"])

    @pytest.mark.parametrize("body", UNREADABLE)
    def test_where_nothing_is_secret_all_is(self, body: bytes) -> None:
        assert routes.redact(BY_NAME["other"], body) == (body, [])
