from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dedupd.conf import Settings, load
from dedupd.conf.unknown import found
from dedupd.errors import ConfigError

NOAUTH = {"auth.strategy": "noauth"}
KEYSTONE = """[keystone_authtoken]
auth_type = password
auth_url = http://controller:5000/v3
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[api]\nhold_secnds = 1\n", "[api] hold_secnds is not a known option, did you mean hold_"),
        ("[api]\nzzz = 1\n", "[api] zzz is not a known option; it has no effect"),
        ("[DEFAULT]\nregion = 1\n", "[DEFAULT] region is not a known option, did you mean region_"),
        ("[nowa]\nendpoint = x\n", "[nowa] is not a known group, did you mean nova?"),
        ("[service_user]\nauth_tipe = x\n", "did you mean auth_type?"),
    ],
)
def test_it_is_named(
    text: str,
    complaint: str,
    loaded: Callable[..., Settings],
) -> None:
    [told] = found(loaded(text).options)
    assert complaint in told


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\ndebug = true\nlog_dir = /srv\n[API]\nlisten = 127.0.0.1:1\n",
        "[oslo_messaging_rabbit]\nwhatever = 1\n[cache]\nwhatever = 1\n",
        "[service_user]\nauth_plugin = password\nauth_url = http://c/v3\nuser_name = x\n",
        "[keystone_authtoken]\nwhatever = 1\n",
    ],
)
def test_what_is_known_or_a_librarys_is_not_named(
    text: str, loaded: Callable[..., Settings]
) -> None:
    assert not [*found(loaded(text).options)]


def test_keystonemiddlewares_options_are_known_when_it_is_used(
    loaded: Callable[..., Settings],
) -> None:
    text = f"{KEYSTONE}memcache_servers = controller:1\nmemcached_server = controller:1\n"
    [told] = found(loaded(text, defaults={}).options)
    assert "memcached_server is not a known option, did you mean memcached_servers?" in told


def test_an_unknown_plugin_is_refused_though_nobody_loads_it(
    loaded: Callable[..., Settings],
) -> None:
    settings = loaded("[keystone_authtoken]\nauth_type = pasword\n")
    with pytest.raises(ConfigError, match=r"auth_type = 'pasword' is no plugin of keystoneauth"):
        [*found(settings.options)]


def test_every_file_is_looked_through(written: Callable[[str], Path], tmp_path: Path) -> None:
    directory = tmp_path / "more"
    directory.mkdir()
    (directory / "1.conf").write_text("[api]\nsecond = 1\n")
    (directory / "1.txt").write_text("[api]\nthird = 1\n")
    settings = load([written("[api]\nfirst = 1\n")], config_dirs=[directory], defaults=NOAUTH)
    told = [*found(settings.options)]
    assert [complaint.partition(": ")[2][:12] for complaint in told] == [
        "[api] first ",
        "[api] second",
    ]


@pytest.mark.parametrize(
    ("variable", "complaint"),
    [
        ("OS_API__HOLD_SECOND", ", did you mean OS_API__HOLD_SECONDS?"),
        ("OS_API__hold_seconds", ""),
        ("OS_DEFAULT__REGION", ", did you mean OS_DEFAULT__REGION_NAME?"),
        ("OS_SERVICE_USER__AUTH_TIPE", ", did you mean OS_SERVICE_USER__AUTH_TYPE?"),
    ],
)
def test_a_variable_is_named(
    variable: str,
    complaint: str,
    loaded: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, "5")
    [message] = found(loaded().options)
    assert message.startswith(f"{variable} in the environment is not a known option{complaint}")
    assert message.endswith("; it has no effect")


def test_other_variables_are_not_named(
    loaded: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables = (
        *("OS_AUTH_URL", "OS_API", "OS_CINDER__ENDPOINT", "API__LISTEN"),
        *("OS_KEYSTONE_AUTHTOKEN__MEMCACHED_SERVERS", "OS_DEFAULT__DEBUG", "OS_API__LISTEN"),
    )
    for variable in variables:
        monkeypatch.setenv(variable, "127.0.0.1:1" if variable == "OS_API__LISTEN" else "1")
    assert not [*found(loaded().options)]
