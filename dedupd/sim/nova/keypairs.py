"""Key pairs: per user, not per project (nova/api/openstack/compute/keypairs.py)."""

from __future__ import annotations

from typing import Any

from dedupd.sim.nova import request_schemas as schemas
from dedupd.sim.nova.call import Call, forbidden
from dedupd.sim.nova.keys import ssh_fingerprint
from dedupd.sim.nova.schema import QUERY, Schema, check
from dedupd.sim.nova.server_view import microseconds_text
from dedupd.sim.nova.servers import next_link
from dedupd.sim.nova.wire import Fault, Reply
from dedupd.sim.nova.world import Keypair, World


def create(world: World, call: Call) -> Reply:
    """POST /os-keypairs: import a public key, or (below 2.92) generate a pair.

    Answers 200 below 2.2, 201 from then on; 409 if the user has one of that name.
    """
    body = call.decoded()
    check(schemas.keypair_create(call.minor), body)
    wish = body["keypair"]
    user = _owner(call, wish.get("user_id"), "create")
    name = wish["name"]
    private_key, public_key = _material(world, wish)
    fingerprint = _fingerprint(public_key)
    _refuse_duplicate(world, user, name)
    row = _insert(world, call, user, name, public_key, fingerprint)
    world.record(call, "keypair", (name,), names=(name,), metadata={"user": user})
    return Reply(200 if call.minor < 2 else 201, {"keypair": _created(call, row, private_key)})


def _insert(
    world: World, call: Call, user: str, name: str, public_key: str, fingerprint: str
) -> Keypair:
    world.keypair_count += 1
    number = world.keypair_count
    row = Keypair(number, user, name, "ssh", public_key, fingerprint, call.now)
    world.keypairs.setdefault(user, {})[name] = row
    return row


def _material(world: World, wish: dict[str, Any]) -> tuple[str | None, str]:
    if wish.get("type", "ssh") != "ssh":
        raise Fault(400, "Keypair data is invalid: the simulation has no x509 key pairs")
    if "public_key" in wish:
        return None, wish["public_key"]
    generated = world.generate_key()
    return generated.private_key, generated.public_key


def _fingerprint(public_key: str) -> str:
    try:
        return ssh_fingerprint(public_key)
    except ValueError:
        raise Fault(400, "Keypair data is invalid: failed to generate fingerprint") from None


def _refuse_duplicate(world: World, user: str, name: str) -> None:
    pairs = world.keypairs.get(user, {})
    if 0 <= world.settings.key_pairs_quota <= len(pairs):
        raise Fault(403, "Quota exceeded, too many key pairs.")
    if name in pairs:
        raise Fault(409, f"Key pair '{name}' already exists.")


def _owner(call: Call, user: str | None, verb: str) -> str:
    """Return whose key pairs are meant; only an administrator may name another user."""
    policy = f"os-keypairs:{verb}"
    if user not in (None, call.caller.user) and not call.caller.is_admin:
        raise forbidden(policy)
    return user or call.caller.user


def _created(call: Call, row: Keypair, private_key: str | None) -> dict[str, Any]:
    view: dict[str, Any] = {} if private_key is None else {"private_key": private_key}
    view |= {"type": row.type} if call.minor >= 2 else {}
    return view | _named(row) | {"user_id": row.user}


def _named(row: Keypair) -> dict[str, Any]:
    return {"name": row.name, "public_key": row.public_key, "fingerprint": row.fingerprint}


_LIST_QUERY: list[schemas.Since] = [
    (10, {"user_id": {"type": "string"}}),
    (35, {"limit": {"pattern": "^[0-9]*$"}, "marker": {"type": "string"}}),
]


def _query(call: Call, *names: str) -> dict[str, str]:
    """Return the query's parameters that this microversion knows; from 2.75 on no others pass."""
    known: dict[str, Schema] = {}
    for since, properties in _LIST_QUERY:
        if call.minor >= since:
            known |= {name: properties[name] for name in properties if name in names}
    schema = {"additionalProperties": call.minor < 75, "properties": known}
    query = dict(call.query)
    check(schema, query, QUERY)
    return {name: value for name, value in query.items() if name in known}


def index(world: World, call: Call) -> Reply:
    """GET /os-keypairs: by name; pages from 2.35 on."""
    query = _query(call, "user_id", "limit", "marker")
    user = _owner(call, query.get("user_id"), "index")
    rows = sorted(world.keypairs.get(user, {}).values(), key=lambda row: row.name)
    marker = query.get("marker")
    if marker is not None:
        if marker not in world.keypairs.get(user, {}):
            raise Fault(400, f"Marker {marker} could not be found.")
        rows = [row for row in rows if row.name > marker]
    limit = int(query.get("limit") or world.settings.page_limit)
    return _listed(call, rows, limit)


def _listed(call: Call, rows: list[Keypair], limit: int) -> Reply:
    page = rows[:limit]
    typed = call.minor >= 2
    views = [{"keypair": _named(row) | ({"type": row.type} if typed else {})} for row in page]
    payload: dict[str, Any] = {"keypairs": views}
    if call.minor >= 35 and page and len(page) == limit:
        payload["keypairs_links"] = [next_link(call, "os-keypairs", page[-1].name)]
    return Reply(200, payload)


def _found(world: World, user: str, name: str) -> Keypair:
    row = world.keypairs.get(user, {}).get(name)
    if row is None:
        raise Fault(404, f"Keypair {name} not found for user {user}")
    return row


def show(world: World, call: Call, name: str) -> Reply:
    """GET /os-keypairs/{name}: never with the private key."""
    user = _owner(call, _query(call, "user_id").get("user_id"), "show")
    row = _found(world, user, name)
    times = {"created_at": microseconds_text(row.created), "deleted": False, "deleted_at": None}
    view = _named(row) | {"user_id": row.user} | times | {"id": row.number, "updated_at": None}
    return Reply(200, {"keypair": view | ({"type": row.type} if call.minor >= 2 else {})})


def delete(world: World, call: Call, name: str) -> Reply:
    """DELETE /os-keypairs/{name}: 202 below 2.2, 204 from then on."""
    user = _owner(call, _query(call, "user_id").get("user_id"), "delete")
    _found(world, user, name)
    del world.keypairs[user][name]
    world.record(call, "keypair", (name,), names=(name,), metadata={"user": user})
    return Reply(202 if call.minor < 2 else 204)
