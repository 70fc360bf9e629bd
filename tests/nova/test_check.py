"""`dedupd check` before a real Keystone and a real Nova."""

import json
import subprocess
from pathlib import Path

from tests.integration.standalone import DEDUPD
from tests.nova.cloud import PASSWORD, RealKeystone, RealNova

CREDENTIALS = """
auth_type = password
auth_url = {auth_url}
username = dedupd
password = {password}
user_domain_id = default
project_name = service
project_domain_id = default
"""
CONFIGURATION = """
[DEFAULT]
state_path = {state}
[nova]
endpoint = {nova}
[auth]
strategy = keystone
[keystone_authtoken] {callers}
[service_user] {service}
"""


def checked(
    directory: Path, nova: RealNova, keystone: RealKeystone, password: str
) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit status, and result and detail of each check."""
    right = CREDENTIALS.format(auth_url=keystone.auth_url, password=PASSWORD)
    given = CREDENTIALS.format(auth_url=keystone.auth_url, password=password)
    config = directory / "dedupd.conf"
    config.write_text(
        CONFIGURATION.format(state=directory / "state", nova=nova.url, callers=given, service=right)
    )
    done = subprocess.run(
        [DEDUPD, "--config-file", config, "check", "-f", "json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    lines = json.loads(done.stdout)
    return done.returncode, {line["Check"]: (line["Result"], line["Detail"]) for line in lines}


def test_all_is_well(
    tmp_path: Path, nova_behind_keystone: RealNova, real_keystone: RealKeystone
) -> None:
    status, lines = checked(tmp_path, nova_behind_keystone, real_keystone, PASSWORD)
    assert status == 0
    assert {name: line[0] for name, line in lines.items() if name != "keys"} == dict.fromkeys(
        ("configuration", "store", "queue", "keystone", "service user", "nova"), "ok"
    )
    assert "version 3." in lines["keystone"][1]
    assert "takes dedupd's own credentials" in lines["keystone"][1]
    assert "microversions 2.1 to 2." in lines["nova"][1]


def test_a_wrong_password(
    tmp_path: Path, nova_behind_keystone: RealNova, real_keystone: RealKeystone
) -> None:
    status, lines = checked(tmp_path, nova_behind_keystone, real_keystone, "wrong")
    assert status == 1
    assert [name for name, line in lines.items() if line[0] == "failed"] == ["keystone"]
    assert "refuses dedupd's own credentials" in lines["keystone"][1]
