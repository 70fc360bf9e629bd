from __future__ import annotations

from collections.abc import Callable

import pytest
from keystoneauth1.identity.generic import Password

from dedupd.conf import Settings, keystone
from dedupd.errors import ConfigError

KEYSTONE = {"auth.strategy": "keystone"}
PASSWORD = """
auth_type = password
auth_url = http://controller:5000/v3
username = dedupd
password = secret
user_domain_name = Default
project_name = service
project_domain_name = Default
"""


def test_no_service_user(loaded: Callable[..., Settings]) -> None:
    assert keystone.load_plugin(loaded().options, keystone.SERVICE) is None


def test_a_service_user(loaded: Callable[..., Settings]) -> None:
    options = loaded(f"[service_user]{PASSWORD}").options
    assert isinstance(keystone.load_plugin(options, keystone.SERVICE), Password)


def test_credentials_may_be_in_another_group(loaded: Callable[..., Settings]) -> None:
    text = f"[service_user]\nauth_section = shared\n[shared]{PASSWORD}"
    options = loaded(text).options
    assert isinstance(keystone.load_plugin(options, keystone.SERVICE), Password)


@pytest.mark.parametrize("group", [keystone.SERVICE, keystone.CALLERS])
def test_an_unknown_plugin(group: str, loaded: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError, match=rf"\[{group}\] auth_type = 'pasword' is no plugin"):
        loaded(f"[{group}]\nauth_type = pasword\n", defaults=KEYSTONE)


@pytest.mark.parametrize("group", [keystone.SERVICE, keystone.CALLERS])
def test_a_missing_option(group: str, loaded: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError, match=rf"\[{group}\] is not complete: .*auth_url"):
        loaded(f"[{group}]\nauth_type = password\nusername = dedupd\n", defaults=KEYSTONE)


def test_keystone_needs_credentials(loaded: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError, match=r"\[keystone_authtoken\] auth_type is not set"):
        loaded(defaults={})


def test_the_middleware_has_defaults_that_fit(loaded: Callable[..., Settings]) -> None:
    text = f"[auth]\ntimeout_seconds = 6\n[keystone_authtoken]{PASSWORD}"
    section = loaded(text, defaults=KEYSTONE).options[keystone.CALLERS]
    assert section.http_connect_timeout == 3
    assert section.http_request_max_retries == 1
    assert section.service_type == "compute"
    assert section.service_token_roles_required is True
    assert section.cache == keystone.NO_CACHE
    assert section.www_authenticate_uri == "http://controller:5000/v3"


def test_what_an_operator_sets_for_the_middleware_stays(loaded: Callable[..., Settings]) -> None:
    own = """
http_connect_timeout = 60
memcached_servers = controller:11211
www_authenticate_uri = https://cloud.example.org:5000
"""
    options = loaded(f"[keystone_authtoken]{PASSWORD}{own}", defaults=KEYSTONE).options
    section = options[keystone.CALLERS]
    assert section.http_connect_timeout == 60
    assert section.cache is None
    assert keystone.public_uri(options) == "https://cloud.example.org:5000"


def test_a_bad_value_for_the_middleware_is_found_at_the_start(
    loaded: Callable[..., Settings],
) -> None:
    text = f"[keystone_authtoken]{PASSWORD}http_connect_timeout = soon\n"
    with pytest.raises(ConfigError, match=r"\[keystone_authtoken\] http_connect_timeout"):
        loaded(text, defaults=KEYSTONE)


def test_a_plugin_without_an_address(loaded: Callable[..., Settings]) -> None:
    options = loaded("[keystone_authtoken]\nauth_type = none\n", defaults=KEYSTONE).options
    assert keystone.public_uri(options) == ""
