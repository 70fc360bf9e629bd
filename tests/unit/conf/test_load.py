from __future__ import annotations

import dataclasses
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from dedupd.conf import Settings, list_opts, load
from dedupd.conf.api import Concurrent
from dedupd.conf.auth import Strategy
from dedupd.conf.nova import Duplicates
from dedupd.conf.queue_url import QueueScheme
from dedupd.conf.values import Address, StoreScheme, StoreUrl
from dedupd.errors import ConfigError

NOAUTH = {"auth.strategy": "noauth"}


def test_the_defaults(loaded: Callable[..., Settings]) -> None:
    settings = loaded()
    home = Path.home() / ".local/state/dedupd"
    assert settings.region_name == "RegionOne"
    assert settings.state_path == home
    assert dataclasses.astuple(settings.api) == (
        ("127.0.0.1", 8775),
        50.0,
        60.0,
        Concurrent.LATCH,
        1048576,
        10000,
        1,
    )
    assert dataclasses.astuple(settings.auth) == (Strategy.NOAUTH, 10.0, 10.0)
    assert dataclasses.astuple(settings.nova) == (
        *(None, 64, 120.0, 10.0, 60.0, 0.5, 15.0, 300.0),
        Duplicates.REPORT,
    )
    assert settings.store.url == StoreUrl(StoreScheme.SQLITE, home / "records.db")
    assert settings.queue.url.scheme is QueueScheme.MEMORY
    assert dataclasses.astuple(settings.queue)[1:] == (*(None,) * 3, "dedupd", 20, 10000, 0.5)
    assert dataclasses.astuple(settings.worker) == (("127.0.0.1", 8776), 10.0, 30.0, 5.0)
    assert dataclasses.astuple(settings.retention) == (24.0, 7.0)
    assert settings.seal.key_file == home / "seal.keys"


def test_every_option_is_read_from_its_group(loaded: Callable[..., Settings]) -> None:
    settings = loaded(
        """
        [DEFAULT]
        region_name = North
        state_path = /srv/dedupd
        [api]
        listen = [::1]:9
        concurrent = conflict
        [auth]
        strategy = noauth
        cache_seconds = 0
        [nova]
        endpoint = http://controller:8774/
        duplicates = delete
        [store]
        url = sqlite:///a/b.db
        [queue]
        name = other
        [worker]
        lease_seconds = 2.5
        [retention]
        result_hours = 1
        [seal]
        key_file = /etc/dedupd/seal.keys
    """.replace("    ", "")
    )
    assert settings.region_name == "North"
    assert settings.api.listen == Address("::1", 9)
    assert settings.api.concurrent is Concurrent.CONFLICT
    assert settings.auth.cache_seconds == 0
    assert settings.nova.endpoint == "http://controller:8774"
    assert settings.nova.duplicates is Duplicates.DELETE
    assert settings.store.url.path == Path("/srv/dedupd/a/b.db")
    assert settings.queue.name == "other"
    assert settings.worker.lease_seconds == 2.5
    assert settings.retention.result_hours == 1
    assert settings.seal.key_file == Path("/etc/dedupd/seal.keys")


def test_settings_cannot_be_changed(loaded: Callable[..., Settings]) -> None:
    settings = loaded()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.region_name = "x"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.api.hold_seconds = 1  # type: ignore[misc]


def test_the_later_file_wins_and_a_directory_comes_last(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    files = [written(f"[queue]\nname = {name}\nmax_depth = 7\n") for name in ("a", "b")]
    assert load(files, overrides=NOAUTH).queue.name == "b"
    directory = tmp_path / "more"
    directory.mkdir()
    (directory / "1.conf").write_text("[queue]\nname = c\n")
    settings = load(files, config_dirs=[directory], overrides=NOAUTH)
    assert (settings.queue.name, settings.queue.max_depth) == ("c", 7)


def test_the_environment_beats_files(
    loaded: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_NOVA__ENDPOINT", "http://from-environment:8774")
    monkeypatch.setenv("OS_DEFAULT__REGION_NAME", "South")
    settings = loaded("[nova]\nendpoint = http://from-file:8774\n")
    assert settings.nova.endpoint == "http://from-environment:8774"
    assert settings.region_name == "South"


def test_overrides_beat_all_and_defaults_nothing(
    loaded: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_NOVA__ENDPOINT", "http://from-environment:8774")
    text = "[api]\nconcurrent = conflict\n"
    overrides = {"nova.endpoint": "http://override:8774/", "auth.strategy": "noauth"}
    defaults = {"api.concurrent": "latch", "queue.name": "default"}
    settings = loaded(text, overrides=overrides, defaults=defaults)
    assert settings.nova.endpoint == "http://override:8774"
    assert settings.api.concurrent is Concurrent.CONFLICT
    assert settings.queue.name == "default"


def test_one_configuration_leaves_nothing_to_the_next(loaded: Callable[..., Settings]) -> None:
    first = loaded(overrides={"queue.name": "first", "auth.strategy": "noauth"})
    assert (first.queue.name, loaded().queue.name) == ("first", "dedupd")
    with pytest.raises(ConfigError, match="keystone needs credentials"):
        load(())


def test_a_default_or_override_of_a_bad_value_is_refused(loaded: Callable[..., Settings]) -> None:
    for argument in ("defaults", "overrides"):
        with pytest.raises(ConfigError, match=r"\[nova\] endpoint: 'here' begins with neither"):
            loaded(**{argument: {"nova.endpoint": "here"}})
        with pytest.raises(ConfigError, match=r"\[DEFAULT\] state_path: 'here' is relative"):
            loaded(**{argument: {"state_path": "here"}})
        with pytest.raises(ConfigError, match="no such option nothing in group"):
            loaded(**{argument: {"nova.nothing": "here"}})


@pytest.mark.parametrize(
    ("home", "expected"),
    [
        ("/srv/state", "/srv/state/dedupd"),
        ("/srv/$tate", "/srv/$tate/dedupd"),
        ("relative", str(Path.home() / ".local/state/dedupd")),
        ("", str(Path.home() / ".local/state/dedupd")),
    ],
)
def test_xdg_state_home(
    home: str, expected: str, loaded: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", home)
    assert loaded().state_path == Path(expected)
    assert loaded("[DEFAULT]\nstate_path = /srv/own\n").state_path == Path("/srv/own")


@pytest.mark.parametrize(
    ("group", "line", "complaint"),
    [
        ("DEFAULT", "region_name =", "'' is not allowed: write 1 to 255 visible"),
        ("DEFAULT", "state_path = here", "'here' is relative"),
        ("DEFAULT", "log_rotate_interval = x", "invalid literal"),
        ("api", "listen = 8775", "'8775' is not HOST:PORT"),
        ("api", "hold_seconds = -1", "from 0 to 3600"),
        ("api", "body_timeout = 0", "from 1 to 3600"),
        ("api", "concurrent = wait", "write latch or conflict"),
        ("api", "max_body_bytes = 0", "from 1 to 268435456"),
        ("api", "max_waiters = many", "whole number of callers, 1 or more"),
        ("auth", "strategy = none", "write keystone or noauth"),
        ("auth", "cache_seconds = nan", "from 0 to 3600"),
        ("auth", "timeout_seconds = 0", "from 0.1 to 300"),
        ("nova", "endpoint = controller:8774", "write http://controller:8774"),
        ("nova", "max_in_flight = 0", "from 1 to 10000"),
        ("nova", "send_timeout = inf", "from 0.1 to 3600"),
        ("nova", "connect_timeout = 0", "from 0.1 to 300"),
        ("nova", "settle_seconds = -5", "from 0 to 86400"),
        ("nova", "probe_seconds = 0", "from 0.01 to 3600"),
        ("nova", "request_id_seconds = -1", "from 0 to 3600"),
        ("nova", "retry_seconds = soon", "from 0 to 86400"),
        ("nova", "duplicates = keep", "write report or delete"),
        ("store", "url = mysql://db", "write sqlite:////var/lib"),
        ("queue", "url = redis://broker", "write memory://"),
        ("queue", "cafile = /no/such/file", "is not a file that this user may read"),
        ("queue", "delivery_limit = 0", "from 1 to 1000000"),
        ("queue", "name = a b", "write 1 to 64 of"),
        ("queue", "max_depth = 0", "1 or more"),
        ("queue", "project_share = 1.1", "from 0.001 to 1"),
        ("worker", "health_listen = foo", "write 127.0.0.1:8776, or [::1]:8776 for IPv6"),
        ("worker", "lease_seconds = 0", "from 1 to 3600"),
        ("worker", "stop_seconds = -1", "from 0 to 3600"),
        ("worker", "sweep_seconds = 0", "from 0.05 to 3600"),
        ("retention", "result_hours = 0", "from 0.001 to 8760"),
        ("retention", "tombstone_days = -1", "from 0 to 3650"),
        ("seal", "key_file = ~no-such-user-here/k", "no home directory is known"),
    ],
)
def test_a_bad_value_names_group_option_file_and_rule(
    group: str, line: str, complaint: str, written: Callable[[str], Path]
) -> None:
    path = written(f"[{group}]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load([path], defaults=NOAUTH)
    option = line.split(maxsplit=1)[0]
    assert caught.value.message.startswith(f"[{group}] {option} (in {path}): ")
    assert complaint in caught.value.message


@pytest.mark.parametrize(
    ("scheme", "options", "complaint"),
    [
        (
            "etcd",
            "username = u\npassword = p",
            "username is set, but url = etcd://h:2379 is not TLS",
        ),
        ("etcd", "cafile = {pem}", "cafile is set, but url = etcd://h:2379 is not TLS"),
        ("etcds", "certfile = {pem}", "certfile and keyfile belong together"),
        ("etcds", "username = u", "username and password belong together"),
        ("etcds", "cafile = {pem}.gone", "is not a file that this user may read"),
    ],
)
def test_options_of_etcd_that_contradict_each_other(
    scheme: str, options: str, complaint: str, loaded: Callable[..., Settings], tmp_path: Path
) -> None:
    pem = tmp_path / "a.pem"
    pem.touch()
    with pytest.raises(ConfigError, match=complaint):
        loaded(f"[store]\nurl = {scheme}://h:2379\n{options.format(pem=pem)}\n")


def test_a_bad_value_of_the_environment_names_the_variable(
    loaded: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_API__LISTEN", "everywhere")
    with pytest.raises(ConfigError, match=r"\[api\] listen \(in OS_API__LISTEN\): 'everywhere' is"):
        loaded()


def test_a_bad_logging_option_is_an_error_and_not_an_exit(
    loaded: Callable[..., Settings], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("[DEFAULT]\ndebug = maybe\n")
    assert re.fullmatch(
        r"\[DEFAULT\] debug \(in \S+/0\.conf\): Invalid Boolean value: maybe\.",
        caught.value.message,
    )
    assert capfd.readouterr().err == ""


def test_a_bad_logging_option_names_the_file_that_sets_it_last(
    written: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = tmp_path / "more"
    directory.mkdir()
    last = directory / "1.conf"
    last.write_text("[DEFAULT]\nuse_json = perhaps\n")
    (directory / "2.conf").write_text("[DEFAULT]\ndebug = true\n")
    files = [written("[DEFAULT]\nuse_json = true\n")]
    with pytest.raises(ConfigError, match=rf"use_json \(in {last}\): Invalid Boolean value: perh"):
        load(files, config_dirs=[directory], defaults=NOAUTH)


def test_a_dollar_sign_that_names_no_option(loaded: Callable[..., Settings]) -> None:
    with pytest.raises(ConfigError, match=r"\[seal\] key_file: a \$ stands for another option"):
        loaded("[seal]\nkey_file = /srv/$nothing\n")
    assert loaded("[seal]\nkey_file = /srv/$$x\n").seal.key_file == Path("/srv/$x")


def test_nothing_of_a_password_is_told(loaded: Callable[..., Settings]) -> None:
    for text in (
        "[store]\npassword = in$geheim\n",
        "[store]\nurl = postgresql://me:geheim@db/dedupd\n",
        "[store]\nurl = sqlite://me:geheim@db/dedupd\n",
        "[nova]\nendpoint = ftp://me:geheim@controller\n",
        "[queue]\nurl = amqp://me:ge/geheim@broker/v\n",
    ):
        with pytest.raises(ConfigError) as caught:
            loaded(text)
        assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"listen = x", "Section must be started"),
        (b"[api\nlisten = x", "must end with ]"),
        (b"[api]\nlisten", "No ':' or '=' found"),
        (b"\xff\xfe[api]", "cannot be read: 'utf-8' codec"),
    ],
)
def test_a_malformed_file(text: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.conf"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=re.escape(complaint)) as caught:
        load([path], defaults=NOAUTH)
    assert str(path) in caught.value.message


def test_missing_files_and_directories(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigError, match=r"Failed to find some config files: .*missing"):
        load([missing], defaults=NOAUTH)
    with pytest.raises(ConfigError, match=r"Failed to read config file directory: .*missing"):
        load((), config_dirs=[missing], defaults=NOAUTH)
    with pytest.raises(ConfigError, match="Is a directory"):
        load([tmp_path], defaults=NOAUTH)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match="is not a directory"):
        load((), config_dirs=[file], defaults=NOAUTH)


def test_files_are_looked_for_where_openstack_services_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    directory = tmp_path / ".dedupd"
    directory.mkdir()
    (directory / "dedupd.conf").write_text("[queue]\nname = found\n")
    (tmp_path / "dedupd.conf").write_text("[queue]\nname = second\nmax_depth = 7\n")
    found = load(defaults=NOAUTH)
    assert (found.queue.name, found.queue.max_depth) == ("found", 10000)
    assert load((), defaults=NOAUTH).queue.name == "dedupd"


def test_what_is_found_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Program and project have one name, by both of which oslo.config would look for files."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["/usr/bin/dedupd"])
    (tmp_path / "dedupd.conf").touch()
    (tmp_path / "dedupd.conf.d").mkdir()
    (tmp_path / "dedupd.conf.d" / "1.conf").write_text("[queue]\nname = more\n")
    found = load(defaults=NOAUTH)
    assert found.queue.name == "more"
    assert found.options.config_file == [str(tmp_path / "dedupd.conf")]
    assert found.options.config_dir == [str(tmp_path / "dedupd.conf.d")]


def test_a_file_that_may_not_be_read(
    written: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("")

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("builtins.open", closed)
    with pytest.raises(ConfigError, match=f"{path} may not be read by this user. Let it read"):
        load([path], defaults=NOAUTH)


def test_noauth_listens_on_loopback_only(loaded: Callable[..., Settings]) -> None:
    for listen in ("0.0.0.0:8775", "[::]:8775", "10.0.0.1:8775", "example.org:8775"):
        with pytest.raises(ConfigError, match=r"\[api\] listen = .*loopback only"):
            loaded(f"[api]\nlisten = {listen}\n")


@pytest.mark.parametrize(
    ("scheme", "names", "complaint"),
    [
        (
            "amqp",
            ["cafile"],
            r"\[queue\] cafile is set, but .*amqp://dedupd@broker:5672/. has no TLS",
        ),
        ("amqp", ["certfile", "keyfile"], r"\[queue\] certfile is set, but"),
        ("amqps", ["keyfile"], r"\[queue\] keyfile is set without certfile"),
    ],
)
def test_files_for_tls_that_make_no_sense(
    scheme: str, names: list[str], complaint: str, loaded: Callable[..., Settings], tmp_path: Path
) -> None:
    file = tmp_path / "any.pem"
    file.touch()
    lines = [f"url = {scheme}://dedupd:geheim@broker", *(f"{name} = {file}" for name in names)]
    with pytest.raises(ConfigError, match=complaint) as caught:
        loaded("[queue]\n" + "\n".join(lines) + "\n")
    assert "geheim" not in caught.value.message


def test_a_state_path_that_is_a_file(loaded: Callable[..., Settings], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(ConfigError, match=r"\[DEFAULT\] state_path = .* is not a directory"):
        loaded(f"[DEFAULT]\nstate_path = {path}\n")


HIDDEN = Path("/hidden")
"""A directory that only another user may look into; tests may run as root, who may do all."""


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.is_relative_to(HIDDEN) and path != HIDDEN:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", stat)


@pytest.mark.usefixtures("hidden")
def test_what_may_not_be_looked_at_is_refused_where_it_is_used(
    loaded: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(HIDDEN))
    complaint = (
        r"\[DEFAULT\] state_path = /hidden/dedupd cannot be looked at .*\(Permission denied\)"
    )
    with pytest.raises(ConfigError, match=complaint):
        loaded()
    elsewhere = f"[store]\nurl = memory://\n[seal]\nkey_file = {tmp_path}/seal.keys\n"
    assert loaded(elsewhere).state_path == HIDDEN / "dedupd"
    with pytest.raises(ConfigError, match=r"\[seal\] key_file = /hidden/k is not a file"):
        loaded(f"[store]\nurl = memory://\n[seal]\nkey_file = {HIDDEN}/k\n")
    with pytest.raises(ConfigError, match="Permission denied: '/hidden/more'"):
        load((), config_dirs=[HIDDEN / "more"], defaults=NOAUTH)


def test_a_key_file_that_is_a_directory(loaded: Callable[..., Settings], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[seal\] key_file = .* is not a file"):
        loaded(f"[seal]\nkey_file = {tmp_path}\n")


def test_a_key_file_that_may_not_be_read(
    loaded: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seal.keys"
    path.touch()
    assert loaded(f"[seal]\nkey_file = {path}\n").seal.key_file == path
    monkeypatch.setattr(os, "access", lambda name, mode: not (name == path and mode == os.R_OK))
    with pytest.raises(ConfigError, match=r"\[seal\] key_file = .* that this user may read"):
        loaded(f"[seal]\nkey_file = {path}\n")


def test_every_option_teaches() -> None:
    for group, options in list_opts():
        for option in options:
            where = f"[{group.name if group else 'DEFAULT'}] {option.name}"
            assert option.help, where
            assert option.help[0].isupper(), where
            assert option.help.endswith("."), where
            assert len(option.help) > 60, where


def test_every_option_is_a_field_and_every_field_an_option(
    loaded: Callable[..., Settings],
) -> None:
    settings: Any = loaded()
    for group, options in list_opts():
        names = {option.name for option in options}
        if group is None:
            assert names == {"region_name", "state_path"}
        else:
            made = getattr(settings, group.name)
            assert names == {field.name for field in dataclasses.fields(made)}


def test_the_options_are_kept_for_the_libraries(loaded: Callable[..., Settings]) -> None:
    settings = loaded("[DEFAULT]\ndebug = true\n")
    assert settings.options.debug is True
    assert isinstance(settings.options, cfg.ConfigOpts)
