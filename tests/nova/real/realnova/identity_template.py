"""Program: make a Keystone with its users, projects and catalogue, and leave it in a directory.

python -P -m realnova.identity_template DIR

The catalogue's addresses are placeholders: the program that runs a copy writes the real ones.
"""

import subprocess
import sys
import warnings
from pathlib import Path

from realnova import databases, life, settings, web
from realnova.identity_app import application
from realnova.identity_client import INTERFACES, REGION, Client

# User: its projects' names, with its roles there. The user admin of project admin comes first.
USERS = {
    "nova": ("service", ("admin", "service")),
    "dedupd": ("service", ("admin", "service")),
    "demo": ("demo", ("member", "reader")),
    "alt_demo": ("alt_demo", ("member", "reader")),
    "reader": ("demo", ("reader",)),
}
SERVICES = {"nova": "compute", "glance": "image", "neutron": "network"}
_KEPT = ("credential", "fernet", "keystone.sqlite")
_PLACEHOLDER = "http://keystone.invalid"


def main(state: Path) -> None:
    """Leave database and keys in `state`, and nothing else."""
    warnings.simplefilter("ignore")
    taken = web.bind("127.0.0.1", 0)
    port = web.port_of(taken)
    keystone_conf = settings.write_keystone(state, f"http://127.0.0.1:{port}")
    _create(keystone_conf)
    web.serve(taken, application(keystone_conf), threads=2)
    _fill(Client(port))
    databases.use_write_ahead_log(state, databases.KEYSTONE)
    for left in state.iterdir():
        if left.name not in _KEPT:
            left.unlink()


def _create(keystone_conf: Path) -> None:
    """Schema, keys and the administrator, by Keystone's own command."""
    owner = ("--keystone-user", "root", "--keystone-group", "root")
    urls = [f"--bootstrap-{interface}-url={_PLACEHOLDER}/v3" for interface in INTERFACES]
    secret = f"--bootstrap-password={settings.PASSWORD}"
    for arguments in (
        ("db_sync",),
        ("fernet_setup", *owner),
        ("credential_setup", *owner),
        ("bootstrap", secret, f"--bootstrap-region-id={REGION}", *urls),
    ):
        manage = Path(sys.executable).with_name("keystone-manage")
        command = [str(manage), f"--config-file={keystone_conf}", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"keystone-manage {arguments[0]}: {done.stdout}{done.stderr}")


def _fill(keystone: Client) -> None:
    roles = {row["name"]: row["id"] for row in keystone.rows("roles")}
    if "service" not in roles:
        roles["service"] = keystone.create("role", name="service")
    projects = {
        name: keystone.create("project", name=name, domain_id="default")
        for name in sorted({project for project, _ in USERS.values()})
    }
    for name, (project, granted) in USERS.items():
        user = keystone.create("user", name=name, domain_id="default", password=settings.PASSWORD)
        keystone.grant(projects[project], user, [roles[role] for role in granted])
    for name, kind in SERVICES.items():
        service = keystone.create("service", name=name, type=kind)
        for interface in INTERFACES:
            keystone.create(
                "endpoint",
                service_id=service,
                interface=interface,
                url=f"{_PLACEHOLDER}/{kind}",
                region_id=REGION,
            )


if __name__ == "__main__":
    life.run(lambda: main(Path(sys.argv[1])))
