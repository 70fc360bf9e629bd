"""OpenStack's Python clients at work: run in the real Nova's environment, prints JSON.

    clients_script.py sdk|novaclient NAME IMAGE FLAVOR NETWORK [MICROVERSION]

Twice without a token and twice with the token NAME, it makes a server; with the SDK also a keypair
NAME, and another one under the same token, which must be refused. OS_* say whose.
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

TOKEN = "X-Client-Token"

openstack: Any = importlib.import_module("openstack")


def sdk(name: str, image: str, flavor: str, network: str) -> dict[str, Any]:
    """With openstacksdk's own additional_headers."""
    compute = openstack.connect().compute
    wanted = {
        "name": name,
        "image_id": image,
        "flavor_id": flavor,
        "networks": [{"uuid": network}],
    }
    plain = [compute.create_server(**wanted) for _ in range(2)]
    compute.additional_headers[TOKEN] = name
    tagged = [compute.create_server(**wanted) for _ in range(2)]
    active = compute.wait_for_server(tagged[0], wait=60)
    compute.additional_headers[TOKEN] = f"{name}-key"
    compute.create_keypair(name=name)
    try:
        compute.create_keypair(name=f"{name}-x")
        refusal = None
    except openstack.exceptions.HttpException as error:
        refusal = {"status": error.status_code, "message": str(error)}
    return {
        "plain": [server.id for server in plain],
        "tagged": [[server.id, server.admin_password] for server in tagged],
        "status": active.status,
        "refusal": refusal,
    }


def novaclient(
    name: str, image: str, flavor: str, network: str, microversion: str
) -> dict[str, Any]:
    """With python-novaclient's (keystoneauth's) additional_headers."""
    client: Any = importlib.import_module("novaclient.client")
    session = openstack.connect().session
    arguments = {"session": session, "region_name": "RegionOne"}
    wanted = {"name": name, "image": image, "flavor": flavor, "nics": [{"net-id": network}]}
    nova = client.Client(microversion, **arguments)
    plain = [nova.servers.create(**wanted) for _ in range(2)]
    with_token = client.Client(microversion, additional_headers={TOKEN: name}, **arguments)
    tagged = [with_token.servers.create(**wanted) for _ in range(2)]
    return {
        "plain": [server.id for server in plain],
        "tagged": [[server.id, server.adminPass] for server in tagged],
        "status": nova.servers.get(tagged[0].id).status,
    }


if __name__ == "__main__":
    clients: dict[str, Callable[..., dict[str, Any]]] = {"sdk": sdk, "novaclient": novaclient}
    json.dump(clients[sys.argv[1]](*sys.argv[2:]), sys.stdout)
