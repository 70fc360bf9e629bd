"""The configuration files of Nova, Placement and Keystone."""

import argparse
import sys
from pathlib import Path

from realnova import databases

PASSWORD = "secret"
"""Of every user in Keystone."""

_NOVA = """\
[DEFAULT]
debug = {debug}
log_file = {state}/nova.log
use_stderr = false
host = compute1
my_ip = 127.0.0.1
state_path = {state}
compute_driver = fake.FakeDriver
transport_url = fake://
service_down_time = 3600
max_concurrent_builds = 8
allow_resize_to_same_host = true
vif_plugging_timeout = 0
[api_database]
connection = {nova_api}
sqlite_synchronous = false
[database]
connection = {nova_cell1}
sqlite_synchronous = false
[oslo_concurrency]
lock_path = {state}/locks
[oslo_messaging_notifications]
driver = noop
[oslo_policy]
policy_file = {state}/policy.yaml
[wsgi]
api_paste_config = {state}/api-paste.ini
[placement]
auth_type = admin_token
token = admin
endpoint = {placement_url}
endpoint_override = {placement_url}
[key_manager]
backend = nova.keymgr.conf_key_mgr.ConfKeyManager
fixed_key = 0000000000000000000000000000000000000000000000000000000000000000
[filter_scheduler]
build_failure_weight_multiplier = 0.0
[quota]
instances = {instances_quota}
cores = -1
ram = -1
key_pairs = {keypairs_quota}
[scheduler]
workers = 1
[conductor]
workers = 1
"""

_NO_KEYSTONE = """\
[keystone]
auth_type = none
endpoint_override = http://127.0.0.1:9
connect_retries = 0
"""

_KEYSTONE_USER = """\
[{section}]
auth_type = password
auth_url = {keystone_url}
username = nova
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
{more}
"""

_PLACEMENT = """\
[DEFAULT]
log_file = {state}/placement.log
use_stderr = false
[api]
auth_strategy = noauth2
[placement_database]
connection = {placement}
sqlite_synchronous = false
sync_on_startup = {migrate}
[oslo_policy]
policy_file = {state}/placement-policy.yaml
enforce_new_defaults = false
enforce_scope = false
"""

_KEYSTONE = """\
[DEFAULT]
log_file = {state}/keystone.log
use_stderr = false
public_endpoint = {public_endpoint}
[database]
connection = {keystone}
sqlite_synchronous = false
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = {state}/fernet
[credential]
key_repository = {state}/credential
[cache]
enabled = true
backend = dogpile.cache.memory
[identity]
password_hash_rounds = 4
"""


def write_nova(state: Path, options: argparse.Namespace, placement_url: str) -> Path:
    """Write Nova's files into `state` and return the path of nova.conf."""
    text = _NOVA.format(
        state=state,
        debug=options.debug,
        placement_url=placement_url,
        instances_quota=options.instances_quota,
        keypairs_quota=options.keypairs_quota,
        **databases.urls(state),
    )
    text += _authentication(options) + _extra(options.set)
    (state / "api-paste.ini").write_text(_paste(options.auth))
    (state / "policy.yaml").touch()
    return _written(state / "nova.conf", text)


def write_placement(state: Path, *, migrate: bool = False) -> Path:
    """Write Placement's files into `state` and return the path of placement.conf."""
    (state / "placement-policy.yaml").touch()
    text = _PLACEMENT.format(state=state, migrate=migrate, **databases.urls(state))
    return _written(state / "placement.conf", text)


def write_keystone(state: Path, public_endpoint: str) -> Path:
    """Write keystone.conf into `state` and return its path."""
    text = _KEYSTONE.format(state=state, public_endpoint=public_endpoint, **databases.urls(state))
    return _written(state / "keystone.conf", text)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _paste(auth: str) -> str:
    """Nova's own pipeline; without Keystone, with our filter in place of its middleware."""
    text = (Path(sys.prefix) / "etc" / "nova" / "api-paste.ini").read_text()
    if auth == "keystone":
        return text
    theirs = "keystonemiddleware.auth_token:filter_factory"
    return text.replace(theirs, "realnova.token_filter:filter_factory")


def _authentication(options: argparse.Namespace) -> str:
    if options.auth == "fake":
        return _NO_KEYSTONE
    url = options.keystone_url
    sections = {
        "keystone_authtoken": f"www_authenticate_uri = {url}\n"
        "service_token_roles_required = true\n"
        "interface = public",
        "keystone": "valid_interfaces = public",
        "service_user": "send_service_user_token = false",
    }
    return "".join(
        _KEYSTONE_USER.format(section=section, keystone_url=url, password=PASSWORD, more=more)
        for section, more in sections.items()
    )


def _extra(lines: list[str]) -> str:
    """GROUP.OPTION=VALUE as lines of an ini file; a later line wins over an earlier one."""
    text = ""
    for line in lines:
        name, _, value = line.partition("=")
        group, _, option = name.rpartition(".")
        text += f"[{group or 'DEFAULT'}]\n{option} = {value}\n"
    return text
