"""The launcher of the real Keystone does what the tests that build on it take for granted."""

import uuid

from tests.nova.cloud import ADMIN, ALT_DEMO, DEMO, READER, RealKeystone, RealNova

SERVERS = "/v2.1/servers"


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def test_tokens_of_keystone(nova_behind_keystone: RealNova, real_keystone: RealKeystone) -> None:
    nova, keystone = nova_behind_keystone, real_keystone
    name = unique("owned")
    token = keystone.token(DEMO)
    answer = nova.call("POST", SERVERS, nova.server_body(name), token=token)
    assert answer.status == 202
    identifier = answer.json["server"]["id"]
    seen = {
        user: [row["id"] for row in nova.servers(keystone.token(user), name=name)]
        for user in (DEMO, READER, ALT_DEMO)
    }
    assert seen == {DEMO: [identifier], READER: [identifier], ALT_DEMO: []}
    assert nova.server(identifier)["tenant_id"] == keystone.project_id(DEMO)
    assert nova.call("GET", SERVERS, token="demo").status == 401


def test_a_reader_may_not_create(
    nova_behind_keystone: RealNova, real_keystone: RealKeystone
) -> None:
    body = nova_behind_keystone.server_body(unique("refused"))
    token = real_keystone.token(READER)
    assert nova_behind_keystone.call("POST", SERVERS, body, token=token).status == 403


def test_the_openstack_command(nova_behind_keystone: RealNova, real_keystone: RealKeystone) -> None:
    name = unique("commanded")
    done = real_keystone.openstack(
        *("server", "create", "--image", nova_behind_keystone.image, "--flavor", "m1.nano"),
        *("--network", "private", "-f", "value", "-c", "id", name),
    )
    assert done.returncode == 0, done.stderr
    rows = nova_behind_keystone.servers(name=name)
    assert [row["id"] for row in rows] == [done.stdout.strip()]


def test_the_catalogue_can_point_elsewhere(
    nova_behind_keystone: RealNova, real_keystone: RealKeystone
) -> None:
    real_keystone.point_compute_at("http://elsewhere.invalid:1", nova_behind_keystone.url)
    done = real_keystone.openstack("catalog", "show", "compute", "-f", "json", user=ADMIN)
    assert "http://elsewhere.invalid:1/v2.1" in done.stdout
    done = real_keystone.openstack("catalog", "show", "image", "-f", "json", user=ADMIN)
    assert f"{nova_behind_keystone.url}/image" in done.stdout
