"""Loading: from files, environment and overrides to checked settings, or one clear error."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from oslo_config import cfg
from oslo_log import log

from dedupd import __version__
from dedupd.conf import (
    api,
    auth,
    default,
    keystone,
    nova,
    queue,
    retention,
    seal,
    store,
    values,
    worker,
)
from dedupd.conf.unknown import each_file, sections
from dedupd.conf.values import StoreUrl
from dedupd.errors import ConfigError

PROJECT = "dedupd"
GROUPS = (default, api, auth, nova, store, queue, worker, retention, seal)

Group = TypeVar("Group")


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured, checked. Nothing of it changes while dedupd runs.

    ``options`` is what the libraries (oslo.log, keystonemiddleware, keystoneauth) read theirs from;
    nothing else reads it.
    """

    region_name: str
    state_path: Path
    api: api.ApiSettings
    auth: auth.AuthSettings
    nova: nova.NovaSettings
    store: store.StoreSettings
    queue: queue.QueueSettings
    worker: worker.WorkerSettings
    retention: retention.RetentionSettings
    seal: seal.SealSettings
    options: cfg.ConfigOpts = dataclasses.field(repr=False, compare=False)

    @property
    def keeps_state(self) -> bool:
        """Whether anything is kept below ``state_path``."""
        kept = (self.seal.key_file, self.store.url.path)
        return any(path is not None and path.is_relative_to(self.state_path) for path in kept)


def list_opts() -> list[tuple[cfg.OptGroup | None, list[cfg.Opt]]]:
    """Dedupd's own options by group, for oslo-config-generator and the sample."""
    return [(module.GROUP, list(module.OPTIONS)) for module in GROUPS]


def load(
    config_files: Sequence[str | Path] | None = None,
    *,
    config_dirs: Sequence[str | Path] = (),
    defaults: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check the configuration. Options that are not known are left alone: ``unknown``.

    What wins, from the strongest: overrides, environment (``OS_NOVA__ENDPOINT``), files (the last
    one), defaults given here, the options' own.

    Args:
        config_files: None looks where OpenStack services look, as ``dedupd --help`` says.
        config_dirs: Directories whose ``*.conf`` files are read after these, sorted by name.
        defaults: Other defaults than the options' own, such as ``{"auth.strategy": "noauth"}``.
        overrides: What a command line names, such as ``{"nova.endpoint": "http://..."}``.

    Raises:
        ConfigError: the first bad value, missing file, or contradiction found.
    """
    conf = _registered()
    files, dirs = _places(config_files, config_dirs)
    try:
        _parse(conf, files, dirs)
        _adjust(conf, defaults or {}, overrides or {})
        _check_all(conf)
        settings = _build(conf)
        _refuse_open_noauth(settings)
        _refuse_bad_state_path(settings)
        _refuse_bad_key_file(settings)
        store.check(settings.store)
        keystone.prepare(conf, callers=settings.auth.strategy is auth.Strategy.KEYSTONE)
        _check_all(conf)  # once more: only now are the plugins' options known
    except cfg.Error as error:
        raise ConfigError(f"{str(error).rstrip('.')}. Correct the configuration.") from None
    return settings


def _registered() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    for group, options in list_opts():
        # By name: a group object would carry values from one configuration into the next.
        conf.register_opts(options, group=group.name if group else None)
    keystone.register(conf)
    default.set_defaults(conf)
    return conf


def _places(
    config_files: Sequence[str | Path] | None, config_dirs: Sequence[str | Path]
) -> tuple[Sequence[str | Path], Sequence[str | Path]]:
    """The files and directories to read: those that were named, or those that are there.

    oslo.config would look for the program's beside the project's, which here is the same.
    """
    if config_files is not None:
        return config_files, config_dirs
    found = cfg.find_config_dirs(PROJECT, prog="")
    return cfg.find_config_files(PROJECT, prog=""), config_dirs or found


def _parse(conf: cfg.ConfigOpts, files: Sequence[str | Path], dirs: Sequence[str | Path]) -> None:
    arguments = [word for path in files for word in ("--config-file", str(path))]
    arguments += [word for path in dirs for word in ("--config-dir", str(path))]
    complaint = io.StringIO()
    try:
        for path in dirs:
            if Path(path).exists() and not Path(path).is_dir():
                raise ConfigError(
                    f"--config-dir {path} is not a directory: name one, or use --config-file."
                )
        # oslo.config prints a bad value of some logging options and exits: take both back.
        with contextlib.redirect_stderr(complaint):
            conf(
                arguments,
                project=PROJECT,
                version=__version__,
                default_config_files=[],
                default_config_dirs=[],
            )
    except SystemExit:
        raise _logging_option(complaint.getvalue().strip(), files, dirs) from None
    except cfg.ConfigFilesPermissionDeniedError as error:
        raise ConfigError(
            f"{', '.join(error.config_files)} may not be read by this user. Let it read the "
            "configuration, or name another with --config-file."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The configuration ({' '.join(arguments)}) cannot be read: {error}. Name text files "
            "that this user may read."
        ) from None


def _logging_option(
    complaint: str, files: Sequence[str | Path], dirs: Sequence[str | Path]
) -> ConfigError:
    """What oslo.config said of an option, in the form of all other complaints."""
    found = _ARGUMENT.fullmatch(complaint)
    if found is None:
        return ConfigError(f"{complaint}. Correct that option in the configuration.")
    name, rule = found.groups()
    naming = [path for path in each_file(files, dirs) if name in sections(path).get("DEFAULT", ())]
    return ConfigError(f"[DEFAULT] {name} (in {', '.join(map(str, naming[-1:]))}): {rule}.")


_ARGUMENT = re.compile(r"argument --(\w+): (.*)", re.DOTALL)


def _adjust(
    conf: cfg.ConfigOpts, defaults: Mapping[str, str], overrides: Mapping[str, str]
) -> None:
    for change, given in ((conf.set_default, defaults), (conf.set_override, overrides)):
        for key, value in given.items():
            group, _, name = key.rpartition(".")
            try:
                change(name, value, group or None)
            except ValueError as error:
                raise ConfigError(f"[{group or 'DEFAULT'}] {name}: {error}.") from None


def _check_all(conf: cfg.ConfigOpts) -> None:
    """Read every option once, the libraries' too, so that a bad value is found at the start."""
    for name in conf:
        value = _checked(conf, name, "DEFAULT")
        if isinstance(value, cfg.ConfigOpts.GroupAttr):
            for option in value:
                _checked(value, option, name)


def _checked(found: Mapping[str, Any], name: str, group: str) -> Any:
    """The value; else an error without oslo.config's wrapping, which names no group."""
    try:
        return found[name]
    except cfg.ConfigSourceValueError as error:
        rule = error.__context__ or error
        place = _PLACE.search(str(error))
        origin = f" (in {place[1]})" if place else ""
        raise ConfigError(f"[{group}] {name}{origin}: {rule}.") from None
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError):
        # oslo.config would say what follows the sign, be it a part of a password.
        raise ConfigError(
            f"[{group}] {name}: a $ stands for another option, but none has the name that follows "
            "it. Write $$ for the sign itself."
        ) from None


_PLACE = re.compile(r"detail='([^']+)'")


def _build(conf: cfg.ConfigOpts) -> Settings:
    return Settings(
        region_name=conf.region_name,
        state_path=conf.state_path,
        api=_group(api.ApiSettings, conf.api),
        auth=_group(auth.AuthSettings, conf.auth),
        nova=_group(nova.NovaSettings, conf.nova),
        store=dataclasses.replace(
            _group(store.StoreSettings, conf.store), url=_below(conf.state_path, conf.store.url)
        ),
        queue=_group(queue.QueueSettings, conf.queue),
        worker=_group(worker.WorkerSettings, conf.worker),
        retention=_group(retention.RetentionSettings, conf.retention),
        seal=seal.SealSettings(conf.state_path / conf.seal.key_file),
        options=conf,
    )


def _group(made: type[Group], found: Mapping[str, Any]) -> Group:
    """A group's settings: its dataclass's fields are its options."""
    return made(**found)


def _below(state_path: Path, url: StoreUrl) -> StoreUrl:
    return url if url.path is None else dataclasses.replace(url, path=state_path / url.path)


def _refuse_open_noauth(settings: Settings) -> None:
    if settings.auth.strategy is auth.Strategy.NOAUTH and not settings.api.listen.is_loopback:
        raise ConfigError(
            f"[api] listen = {settings.api.listen}: with [auth] strategy = noauth anybody may "
            "claim to be anyone, so dedupd listens on loopback only. Write 127.0.0.1, or "
            "strategy = keystone."
        )


def _refuse_bad_state_path(settings: Settings) -> None:
    """A directory that is not there yet may still be made; it matters only where it is used.

    That is why the option's type does not look: it would look at a default that nobody uses, too.
    """
    path = settings.state_path
    if not settings.keeps_state:
        return
    try:
        refused = path.exists() and not path.is_dir()
    except OSError as error:
        raise ConfigError(
            f"[DEFAULT] state_path = {path} cannot be looked at by this user ({error.strerror}). "
            "Name a directory that it may write to."
        ) from None
    if refused:
        raise ConfigError(
            f"[DEFAULT] state_path = {path} is not a directory. Name one, or a path where none is "
            "yet."
        )


def _refuse_bad_key_file(settings: Settings) -> None:
    """A key file that is not there yet may still be made; one that is there must be readable."""
    path = settings.seal.key_file
    try:
        refused = path.exists() and not values.is_readable(path)
    except OSError:
        refused = True
    if refused:
        raise ConfigError(
            f"[seal] key_file = {path} is not a file that this user may read. Name the key file, "
            "or a path where none is yet."
        )
