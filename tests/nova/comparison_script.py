"""The script of requests that both Novas answer, in sections that need nothing of each other.

It covers what the simulated Nova serves, as several roles and at microversions 2.1, 2.26, 2.52,
2.75 and 2.96, and much that is wrong. `$name` stands for an id that the real and the simulated
Nova name differently; `tests/nova/comparison.py` tells which there are.
"""

from typing import Any

from tests.nova.comparison import QUOTA, Step

VERSIONS = ("2.1", "2.26", "2.52", "2.75", "2.96")


VOLUME = {
    "boot_index": 0,
    "uuid": "$volume",
    "source_type": "volume",
    "destination_type": "volume",
}


def create(
    name: object, keep: str = "", at: str = "server.id", settle: bool = True, **more: Any
) -> Step:
    """POST /servers. `keep` names what the answer holds `at`; then the build is waited for."""
    version = more.pop("version", "2.96")
    token = more.pop("token", "$member")
    beside = more.pop("beside", {})
    wish = {"name": name, "imageRef": "$image", "flavorRef": "1"} | more
    if version not in ("2.1", "2.26"):
        wish.setdefault("networks", "none")
    wish = {key: value for key, value in wish.items() if value != "absent"}
    kept = {keep: at} if keep else {}
    waiting = f"${keep}" if keep and settle else ""
    body = {"server": wish, **beside}
    return Step("POST", "/servers", body, token, version, keep=kept, settle=waiting)


def act(server: str, body: Any, settle: bool = True, **more: Any) -> Step:
    waiting = f"${server}" if settle else ""
    return Step("POST", f"/servers/${server}/action", body, settle=waiting, **more)


def get(path: str, **more: Any) -> Step:
    return Step("GET", path, **more)


def everywhere(path: str, versions: tuple[str, ...] = VERSIONS) -> list[Step]:
    return [
        get(path, version=version, token=token)
        for version in versions
        for token in ("$member", "$admin")
    ]


FILTERS = [
    "name=fa",
    "name=^fa$",
    "name=FA",
    "name=[",
    "name=",
    "tags=t1",
    "tags=t1,t2",
    "tags=zz",
    "tags-any=t2,zz",
    "not-tags=t2",
    "not-tags-any=t1",
    "tags=t1&tags=t2",
    'metadata={"k":"v"}',
    "reservation_id=$reservation",
    "reservation_id=r-",
    "uuid=$tagged",
    "description=dd",
    "display_name=fa",
    "host=nope",
    "foo=1",
    "_x=1",
    "status=ACTIVE",
    "status=active",
    "status=SHUTOFF",
    "status=weird",
    "image=$image",
    "image=zz",
    "flavor=1",
    "flavor=2",
    "flavor=zz",
    "all_tenants=0",
    "project_id=x",
    "tenant_id=x",
    "user_id=x",
    "deleted=no",
    "key_name=zz",
    "vm_state=active",
    "locked=true",
    "locked=zz",
    "limit=0",
    "limit=-1",
    "limit=x",
    "limit=1001",
    "marker=zz",
    "hostname=fa",
    "launch_index=0",
    "ip=10.9.9",
    "tags=",
    "changes-since=junk",
    "changes-since=2020-01-01T00:00:00Z&name=^gone",
]


PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVdAJGq4yC3QjCgyrtYB5NwvcYBGBzEvEYTvEPVz1jh someone"
)


def keypair(name: str, version: str, token: str = "$member", **more: Any) -> Step:
    return Step("POST", "/os-keypairs", {"keypair": {"name": name, **more}}, token, version)


def group(version: str, **more: Any) -> Step:
    return Step("POST", "/os-server-groups", {"server_group": more}, version=version)


VERSIONS_AND_CREDENTIALS = [
    Step("GET", "!/", token="", version=None),
    Step("GET", "!/v2.1/", token="", version=None),
    Step("GET", "!/v2.1", version="2.96"),
    Step("GET", "!/v2/", token="", version=None),
    Step("GET", "!/v3/servers", version=None),
    get("/servers", token=""),
    get("/servers", version="2.999"),
    get("/servers", version="3.0"),
    get("/servers", version="banana"),
    get("/servers", version="latest"),
    get("/servers", version=None),
    get("/servers", version=None, headers={"X-OpenStack-Nova-API-Version": "2.27"}),
    get("/servers", version=None, headers={"OpenStack-API-Version": "volume 3.60"}),
    get("/servers", version="2.60", headers={"X-OpenStack-Nova-API-Version": "2.27"}),
    Step("GET", "!/v2/servers", version="2.60"),
    get("/$project/servers"),
    get("/0123abcd/servers"),
    get("/servers", token="$outsider"),
    *(
        get("/nosuch", headers={"Accept": accept})
        for accept in ("", "*/*", "text/html", "application/json", "text/plain")
    ),
    Step("PATCH", "/servers"),
    get("/servers/"),
    Step("GET", "!/v2.1//servers"),
    get("/servers/$nothing"),
    get("/servers/xyz"),
]

CREATES = [
    create("s1", "first", version="2.1", metadata={"a": "b"}),
    create("s26", "second", version="2.26", description="said", networks=[{"uuid": "$network"}]),
    create("s52", "third", version="2.52", tags=["x", "y", "x"]),
    create("s75.A_b", "fourth", version="2.75", tags=[], networks="auto"),
    create("s96", "fifth", adminPass="secret", user_data="aGVsbG8=", config_drive=True),
    *everywhere("/servers/$first"),
    *everywhere("/servers/$second"),
    *everywhere("/servers/$fifth"),
    *everywhere("/servers/detail"),
    *everywhere("/servers"),
    get("/servers/$first", token="$stranger"),
    get("/servers/$first", token="$reader"),
    Step("DELETE", "/servers/$first", settle="$first"),
    Step("DELETE", "/servers/$second", settle="$second"),
    Step("DELETE", "/servers/$third", settle="$third"),
    Step("DELETE", "/servers/$fourth", settle="$fourth"),
    create("m", "many", min_count=3, max_count=3, tags=["batch"]),
    get("/servers?sort_key=display_name&name=^m-2", keep={"m2": "servers.0.id"}, settle="$m2"),
    get("/servers?sort_key=display_name&name=^m-3", keep={"m3": "servers.0.id"}, settle="$m3"),
    get("/servers/detail?sort_key=display_name&sort_dir=asc&name=^m-"),
    get("/servers?sort_key=display_name&sort_dir=asc&limit=2", keep={"page": "servers.1.id"}),
    get("/servers?sort_key=display_name&sort_dir=asc&limit=2&marker=$page"),
    get("/servers/detail?limit=1&sort_key=display_name&name=m"),
    create("r", "batch", "reservation_id", False, min_count=2, return_reservation_id=True),
    get("/servers?reservation_id=$batch"),
    create("volume", "booted", imageRef="", block_device_mapping_v2=[VOLUME]),
    get("/servers/$booted"),
    get("/servers/$booted", version="2.1"),
    create("zone", "zoned", availability_zone="nova"),
    get("/servers/detail?name=zone"),
    create("port", "ported", networks=[{"port": "$port"}]),
    create("port again", networks=[{"port": "$port"}]),
    create("over quota", min_count=QUOTA),
]

WRONG_CREATES = [
    *(Step("POST", "/servers", body) for body in (b"{bad", b"", b"[]", b"{}", b"null", b"\xff")),
    Step("POST", "/servers", {"server": None}),
    Step("POST", "/servers", {"server": {}}),
    Step("POST", "/servers", b"x" * 120_000),
    Step("POST", "/servers", b"x" * 120_000, headers={"Accept": "application/json"}),
    Step("POST", "/servers", {"server": {}}, version="2.1"),
    Step("POST", "/servers", {"server": {}}, token="$reader"),
    create("bad", token="$reader"),
    create("bad", token="$outsider"),
    create("bad", imageRef="$nothing"),
    create("bad", imageRef="junk"),
    create("bad", imageRef=""),
    create("bad", imageRef="absent"),
    create("bad", flavorRef="nope"),
    create("bad", flavorRef="absent"),
    create("bad", flavorRef=""),
    create("bad", key_name="nokey"),
    create("bad", networks=[{"uuid": "$nothing"}]),
    create("bad", networks=[{"port": "$nothing"}]),
    create("bad", networks=[{"uuid": "junk"}]),
    create("bad", networks="wrong"),
    create("bad", networks=None),
    create("bad", networks="absent"),
    create("bad", min_count=3, max_count=2),
    create("bad", min_count=0),
    create("bad", min_count="x"),
    create("bad", min_count="0"),
    create("bad", max_count=0),
    create("bad", security_groups=[{}], min_count="3", max_count="2"),
    create("bad", min_count=True),
    create("bad", return_reservation_id="maybe"),
    create(""),
    create(" padded "),
    create("x" * 256),
    create(7),
    create("bad", tags=["a,b"]),
    create("bad", tags=["a/b"]),
    create("bad", tags=["a" * 61]),
    create("bad", tags=[""]),
    create("bad", tags=[f"t{number}" for number in range(51)]),
    create("bad", tags="x"),
    create("bad", tags=["a"], version="2.26"),
    create("bad", description="d", version="2.1"),
    create("bad", hostname="h", version="2.75"),
    create("bad", foo=1),
    create("bad", foo=1, bar=2),
    create("bad", metadata={"a": 1}),
    create("bad", metadata={"a": "x" * 256}),
    create("bad", metadata={"k" * 256: "x"}),
    create("bad", metadata={"a$": "x"}),
    create("bad", metadata="x"),
    create("bad", metadata={f"k{number}": "x" for number in range(129)}),
    create("bad", availability_zone="nowhere"),
    create("bad", config_drive="maybe"),
    create("bad", beside={"os:scheduler_hints": {"group": "$nothing"}}),
    create("bad", beside={"extra": 1}),
    create("bad", security_groups=[{"name": "nosuch"}], networks=[{"uuid": "$network"}]),
]

FILTERED = [
    create("fa", "plain", token="$tenant", metadata={"k": "v"}, tags=["t1", "t2"]),
    create("fab", "tagged", token="$tenant", tags=["t1"]),
    create("Cc", "other", token="$tenant", networks=[{"uuid": "$network"}]),
    create("gone", "gone", token="$tenant", tags=["t1"]),
    Step("DELETE", "/servers/$gone", token="$tenant", settle="$gone"),
    get(
        "/servers/$tagged",
        token="$landlord",
        keep={"reservation": "server.OS-EXT-SRV-ATTR:reservation_id"},
    ),
    *(
        get(f"/servers?{query}", version=version, token=token)
        for query in FILTERS
        for version in ("2.1", "2.26", "2.75", "2.96")
        for token in ("$tenant", "$landlord")
    ),
    get("/servers/detail?changes-since=2020-01-01T00:00:00Z&name=^gone$", token="$tenant"),
    get("/servers/detail?changes-since=2020-01-01T00:00:00Z&name=^gone$", token="$landlord"),
    get("/servers?changes-since=2020-01-01T00:00:00Z&tags=t1", token="$tenant"),
    get("/servers?changes-since=2999-01-01T00:00:00Z", token="$tenant"),
    get("/servers?changes-before=2020-01-01T00:00:00Z", token="$tenant"),
    get("/servers?changes-before=2020-01-01T00:00:00Z", token="$tenant", version="2.26"),
    get("/servers?status=DELETED", token="$tenant"),
    get("/servers?status=DELETED&name=gone", token="$landlord"),
    get("/servers?deleted=true", token="$tenant"),
    get("/servers?deleted=true&name=gone", token="$landlord"),
    get("/servers?all_tenants=1", token="$tenant"),
    get("/servers/detail?all_tenants=1", token="$tenant"),
    get("/servers?all_tenants=1&project_id=$project2&name=fa", token="$admin"),
    get("/servers?name=^fa$", token="$neighbour"),
    get("/servers?tags=t1", token="$stranger"),
    get("/servers?sort_key=display_name", token="$tenant", ordered=True),
    get("/servers?sort_key=display_name&sort_dir=asc", token="$tenant", ordered=True),
    get("/servers?sort_key=display_name&marker=$tagged", token="$tenant", ordered=True),
    get("/servers?sort_key=display_name&limit=1&marker=$tagged", token="$tenant", ordered=True),
]

PARTS = [
    create("act", "actor", networks=[{"uuid": "$network"}], tags=["q"]),
    act("actor", {"os-start": None}),
    act("actor", {"os-stop": None}),
    *everywhere("/servers/$actor", ("2.96",)),
    act("actor", {"os-stop": None}),
    act("actor", {"reboot": {"type": "SOFT"}}),
    act("actor", {"os-start": None}),
    act("actor", {"reboot": {"type": "SOFT"}}),
    act("actor", {"reboot": {"type": "HARD"}}),
    act("actor", {"reboot": {}}),
    act("actor", {"reboot": {"type": "x"}}),
    act("actor", {"pause": None}),
    get("/servers?status=paused&name=act"),
    act("actor", {"pause": None}),
    act("actor", {"unpause": None}),
    act("actor", {"unpause": None}),
    act("actor", {"createImage": {"name": "snap"}}, version="2.1"),
    act("actor", {"createImage": {"name": "snap", "metadata": {"a": "b"}}}, version="2.75"),
    act("actor", {"createImage": {}}),
    act("actor", {"nosuch": None}),
    act("actor", {}),
    act("actor", {"os-stop": None, "os-start": None}),
    act("actor", b"["),
    act("actor", b"[]"),
    act("actor", {"lock": None}),
    act("actor", {"os-stop": None}),
    Step("DELETE", "/servers/$actor"),
    get("/servers/$actor"),
    act("actor", {"unlock": None}),
    act("actor", {"lock": {"locked_reason": "why"}}),
    get("/servers/$actor"),
    act("actor", {"lock": {"reason": "why"}}),
    act("actor", {"unlock": None}),
    act("actor", {"os-stop": None}, token="$stranger"),
    act("actor", {"os-stop": None}, token="$reader"),
    act("nothing", {"os-stop": None}, settle=False),
    act("nothing", {"reboot": {"type": "SOFT"}}, settle=False),
    act("nothing", {"lock": None}, settle=False),
    get("/servers/$actor/os-instance-actions", keep={"action": "instanceActions.0.request_id"}),
    get("/servers/$actor/os-instance-actions", version="2.1"),
    get("/servers/$actor/os-instance-actions", token="$stranger"),
    get("/servers/$actor/os-instance-actions/$action"),
    get("/servers/$actor/os-instance-actions/$action", version="2.1"),
    get("/servers/$actor/os-instance-actions/req-none"),
    get("/servers/$actor/tags"),
    get("/servers/$actor/tags", version="2.1"),
    get("/servers/$actor/tags", token="$stranger"),
    get("/servers/$actor/tags/q"),
    get("/servers/$actor/tags/zz"),
    get("/servers/$nothing/tags"),
    Step("PUT", "/servers/$actor/tags/new"),
    Step("PUT", "/servers/$actor/tags/new"),
    Step("PUT", "/servers/$actor/tags/a,b"),
    Step("PUT", "/servers/$actor/tags", {"tags": ["b", "a", "a"]}),
    Step("PUT", "/servers/$actor/tags", {"tags": ["x" * 61]}),
    Step("PUT", "/servers/$actor/tags", {"tags": "x"}),
    Step("PUT", "/servers/$actor/tags", {}),
    Step("PUT", "/servers/$actor/tags", {"tags": ["z"]}, token="$reader"),
    get("/servers/$actor/metadata"),
    Step("POST", "/servers/$actor/metadata", {"metadata": {"a": "1"}}),
    Step("POST", "/servers/$actor/metadata", {"metadata": {"b": "2"}}),
    Step("POST", "/servers/$actor/metadata", {"metadata": {"a": 1}}),
    Step("POST", "/servers/$actor/metadata", {}),
    Step("POST", "/servers/$actor/metadata", {"metadata": {"c": "3"}}, token="$reader"),
    Step("POST", "/servers/$nothing/metadata", {"metadata": {"c": "3"}}),
    get("/servers/$actor/metadata", token="$reader"),
    *(
        Step("PUT", "/servers/$actor", {"server": {"name": f"named{version}"}}, version=version)
        for version in ("2.1", "2.26", "2.75", "2.96")
    ),
    Step("PUT", "/servers/$actor", {"server": {"name": "by admin"}}, token="$admin"),
    Step("PUT", "/servers/$actor", {"server": {"name": "x", "description": "said"}}),
    Step("PUT", "/servers/$actor", {"server": {"name": ""}}),
    Step("PUT", "/servers/$actor", {"server": {"foo": 1}}, version="2.1"),
    Step("PUT", "/servers/$actor", {"server": {}}, version="2.1"),
    Step("PUT", "/servers/$actor", {"server": {"name": "r"}}, token="$reader"),
    Step("PUT", "/servers/$actor", {"server": {"name": "r"}}, token="$stranger"),
    get("/servers/$actor"),
    Step("DELETE", "/servers/$actor", token="$stranger"),
    Step("DELETE", "/servers/$actor", token="$reader"),
    Step("DELETE", "/servers/$actor", settle="$actor"),
    Step("DELETE", "/servers/$actor"),
    get("/servers/$actor"),
    get("/servers/$actor", token="$admin"),
    get("/servers/$actor/tags"),
    get("/servers/$actor/metadata"),
    get("/servers/$actor/os-instance-actions"),
    get("/servers/$actor/os-instance-actions", version="2.1"),
    act("actor", {"os-stop": None}, settle=False),
]

KEYPAIRS = [
    keypair("k1", "2.1"),
    keypair("k1", "2.1"),
    keypair("k2", "2.2"),
    keypair("k2", "2.2", type="ssh"),
    keypair("k3", "2.10", user_id="$other"),
    keypair("k3", "2.10", "$admin", user_id="$other"),
    keypair("k3", "2.2", "$admin", user_id="$other"),
    keypair("k4", "2.92"),
    keypair("k5", "2.92", public_key=PUBLIC_KEY),
    keypair("k5", "2.92", public_key=PUBLIC_KEY),
    keypair("k6", "2.1", public_key=PUBLIC_KEY),
    keypair("k7", "2.1", public_key="junk"),
    keypair("k7", "2.96", public_key="ssh-rsa AAAA"),
    keypair("k7", "2.2", type="dsa"),
    keypair("k@.x", "2.92", public_key=PUBLIC_KEY),
    keypair("k@.x", "2.26", public_key=PUBLIC_KEY),
    keypair("k/x", "2.92", public_key=PUBLIC_KEY),
    keypair("", "2.1"),
    keypair(" k8 ", "2.1"),
    keypair("x" * 256, "2.1"),
    keypair("x", "2.1", foo=1),
    Step("POST", "/os-keypairs", {"keypair": {}}, version="2.1"),
    Step("POST", "/os-keypairs", {}, version="2.1"),
    Step("POST", "/os-keypairs", b"{", version="2.1"),
    *(get("/os-keypairs", version=version) for version in ("2.1", "2.2", "2.10", "2.96")),
    *(get("/os-keypairs/k1", version=version) for version in ("2.1", "2.2", "2.96")),
    get("/os-keypairs?limit=1"),
    get("/os-keypairs?limit=1&marker=k1"),
    get("/os-keypairs?limit=1&marker=nokey"),
    get("/os-keypairs?limit=1", version="2.26"),
    get("/os-keypairs?limit=x"),
    get("/os-keypairs?foo=1", version="2.75"),
    get("/os-keypairs?foo=1", version="2.26"),
    get("/os-keypairs?user_id=$other", token="$admin"),
    get("/os-keypairs?user_id=$other"),
    get("/os-keypairs/k3?user_id=$other", token="$admin"),
    get("/os-keypairs/k1", token="$user:elsewhere"),
    get("/os-keypairs", token="$other:$project"),
    get("/os-keypairs/nokey"),
    get("/os-keypairs", token="$outsider"),
    create("with key", "keyed", key_name="k5"),
    get("/servers/$keyed"),
    Step("DELETE", "/os-keypairs/nokey"),
    Step("DELETE", "/os-keypairs/k1", version="2.1"),
    Step("DELETE", "/os-keypairs/k2", version="2.2"),
    Step("DELETE", "/os-keypairs/k3?user_id=$other", token="$admin"),
    get("/os-keypairs"),
]

GROUPS_AND_CATALOGUE = [
    get("/os-services"),
    group("2.1", name="g", policies=["affinity"]),
    group("2.26", name="g", policies=["soft-anti-affinity"]),
    group("2.1", name="g", policies=["soft-affinity"]),
    group("2.1", name="g", policies=[]),
    Step(
        "POST",
        "/os-server-groups",
        {"server_group": {"name": "g", "policy": "anti-affinity"}},
        keep={"group": "server_group.id"},
    ),
    group("2.96", name="g", policy="weird"),
    group("2.96", policy="affinity"),
    group("2.96", name="g", policies=["affinity"]),
    create("member", "member1", beside={"os:scheduler_hints": {"group": "$group"}}),
    get("/servers/$member1"),
    get("/servers/$member1", version="2.52"),
    *(get("/os-server-groups", version=version) for version in ("2.1", "2.26", "2.96")),
    get("/os-server-groups?limit=1&offset=1"),
    get("/os-server-groups?limit=x"),
    get("/os-server-groups?offset=-1", version="2.1"),
    get("/os-server-groups?foo=1"),
    get("/os-server-groups?foo=1", version="2.1"),
    get("/os-server-groups?all_projects=1"),
    get("/os-server-groups/$group"),
    get("/os-server-groups/$group", token="$stranger"),
    get("/os-server-groups/nosuch"),
    Step("DELETE", "/servers/$member1", settle="$member1"),
    get("/os-server-groups/$group"),
    Step("DELETE", "/os-server-groups/$group"),
    Step("DELETE", "/os-server-groups/$group"),
    *(
        get(f"/flavors{path}", version=version)
        for path in ("", "/detail", "/1", "/nope")
        for version in ("2.1", "2.96")
    ),
    get("/images/$image", version="2.1"),
    get("/images/nope", version="2.1"),
    get("/images"),
    get("/images/$image"),
    get("/limits", version="2.1"),
    get("/limits"),
]

_EARLY_FILTERS = (
    "status=BUILD",
    "status=ACTIVE",
    "name=^early$",
    "name=^early$&changes-since=2020-01-01T00:00:00Z",
    "reservation_id=r-",
    "ip=.",
    "host=compute1",
    "vm_state=building",
    "task_state=scheduling",
    "limit=1",
    "marker=$early",
    "uuid=$early",
    "user_id=x",
    "deleted=1",
    "locked=0",
    "not-tags=early",
    "tags-any=early,x",
    "tags=x",
    "image=$image",
    "flavor=2",
)

EARLY = create("early", tags=["early"], metadata={"k": "v"}, networks=[{"uuid": "$network"}])
FIND_EARLY = get("/servers?tags=early", keep={"early": "servers.0.id"})
UNSCHEDULED = [
    FIND_EARLY,
    *everywhere("/servers/$early"),
    *everywhere("/servers/detail"),
    *(get(f"/servers?{query}") for query in _EARLY_FILTERS),
    *(get(f"/servers?{query}", token="$admin") for query in _EARLY_FILTERS),
    get("/servers/$early/tags"),
    Step("PUT", "/servers/$early/tags/x"),
    Step("PUT", "/servers/$early/tags", {"tags": ["x"]}),
    get("/servers/$early/metadata"),
    Step("POST", "/servers/$early/metadata", {"metadata": {"a": "b"}}),
    act("early", {"os-stop": None}, settle=False),
    act("early", {"pause": None}, settle=False),
    act("early", {"reboot": {"type": "SOFT"}}, settle=False),
    act("early", {"createImage": {"name": "x"}}, settle=False),
    get("/servers/$early/os-instance-actions"),
    act("early", {"lock": None}, settle=False),
    Step("PUT", "/servers/$early", {"server": {"name": "renamed"}}),
    Step("PUT", "/servers/$early", {"server": {"name": "renamed"}}, version="2.26"),
    get("/servers/$early"),
    Step("DELETE", "/servers/$early"),
    get("/servers/$early"),
    get("/servers?tags=early"),
    get("/servers?name=renamed&changes-since=2020-01-01T00:00:00Z"),
    get("/servers?all_tenants=1&deleted=1&name=renamed", token="$admin"),
    get("/servers/$early/os-instance-actions"),
    get("/servers/$early/tags"),
    get("/servers/$early/metadata"),
    Step("DELETE", "/servers/$early"),
]
"""Asked of a server that no host has yet: what a look-up sees right after a create."""

SECTIONS = {
    "versions and credentials": VERSIONS_AND_CREDENTIALS,
    "wrong creates": WRONG_CREATES,
    "creates": CREATES,
    "filters": FILTERED,
    "actions, tags, metadata": PARTS,
    "key pairs": KEYPAIRS,
    "groups and catalogue": GROUPS_AND_CATALOGUE,
}

NOT_SIMULATED = {
    "x509 key pairs": keypair("k", "2.2", type="x509"),
    "volumes attached later": Step("POST", "/servers/$nothing/os-volume_attachments", {}),
    "interfaces attached later": Step("POST", "/servers/$nothing/os-interface", {}),
    "consoles": Step("POST", "/servers/$nothing/remote-consoles", {}),
    "rebuild": act("nothing", {"rebuild": {"imageRef": "$image"}}, settle=False),
    "resize": act("nothing", {"resize": {"flavorRef": "2"}}, settle=False),
    "rescue": act("nothing", {"rescue": None}, settle=False),
    "taking one tag away": Step("DELETE", "/servers/$nothing/tags/x"),
    "replacing all metadata": Step("PUT", "/servers/$nothing/metadata", {"metadata": {}}),
    "making flavors": Step("POST", "/flavors", {}, token="$admin"),
    "aggregates": Step("POST", "/os-aggregates", {}, token="$admin"),
    "quota sets": get("/os-quota-sets/$project"),
    "availability zones": get("/os-availability-zone"),
    "extensions": get("/extensions"),
}
"""What the simulation deliberately does not serve: it says so, and does not pretend."""
