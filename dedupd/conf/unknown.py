"""Options that nothing reads: most are misspelt, so each is named with a likely cure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from oslo_config import cfg

from dedupd.conf import keystone

_OF_LIBRARIES = ("cache", "oslo_")
"""Beginnings of the groups whose options a library registers only when it is used."""


def found(conf: cfg.ConfigOpts) -> Iterator[str]:
    """A complaint for every option or group that is not known; it names the file or the variable.

    They are not refused, so that one file can serve two releases.

    Raises:
        ConfigError: an auth_type that no plugin has: nobody can tell which options it reads.
    """
    known = _known(conf)
    for path in files(conf):
        for group, names in sections(path).items():
            if not group.startswith(_skipped(conf)):
                for complaint in _complaints(group, names, known):
                    yield f"{path}: {complaint}; it has no effect"
    for complaint in filter(None, environment(conf).values()):
        yield f"{complaint}; it has no effect"


def _skipped(conf: cfg.ConfigOpts) -> tuple[str, ...]:
    """Beginnings of the groups whose options are not all registered."""
    return _OF_LIBRARIES if keystone.is_prepared(conf) else (*_OF_LIBRARIES, keystone.CALLERS)


def _complaints(
    group: str, names: Mapping[str, object], known: Mapping[str, set[str]]
) -> Iterator[str]:
    if group not in known:
        yield f"[{group}] is not a known group{_likely(group, known)}"
        return
    for name in names:
        if name not in known[group]:
            yield f"[{group}] {name} is not a known option{_likely(name, known[group])}"


def _likely(word: str, candidates: Mapping[str, object] | set[str]) -> str:
    close = get_close_matches(word, candidates, n=1)
    return f", did you mean {close[0]}?" if close else ""


def _known(conf: cfg.ConfigOpts) -> dict[str, set[str]]:
    """The options that files may have, by group."""
    known = _options(conf)
    for group in (keystone.SERVICE, keystone.CALLERS):
        known[group] |= keystone.former_names(conf, group)
    return known


def _options(conf: cfg.ConfigOpts) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {"DEFAULT": set()}
    for name, value in conf.items():
        if isinstance(value, cfg.ConfigOpts.GroupAttr):
            known[name] = set(value)
        else:
            known["DEFAULT"].add(name)
    return known


def environment(conf: cfg.ConfigOpts) -> dict[str, str]:
    """The variables that name one of the known groups, each with what is wrong with it, or "".

    Other OpenStack software has variables of its own, such as OS_AUTH_URL, which name no group.
    """
    known = _readable(conf)
    found = {}
    for variable in sorted(os.environ):
        group, double, _ = variable.removeprefix("OS_").partition("__")
        if variable.startswith("OS_") and double and group in known:
            found[variable] = "" if variable in known[group] else _stray(variable, known[group])
    return found


def _stray(variable: str, known: set[str]) -> str:
    return f"{variable} in the environment is not a known option{_likely(variable, known)}"


def _readable(conf: cfg.ConfigOpts) -> dict[str, set[str]]:
    """The variables that oslo.config reads, by the group in their names."""
    return {
        group.upper(): {f"OS_{group.upper()}__{option.upper()}" for option in options}
        for group, options in _options(conf).items()
        if not group.startswith(_skipped(conf))
    }


def files(conf: cfg.ConfigOpts) -> list[Path]:
    """All that were read, in their order."""
    return list(each_file(conf.config_file or (), conf.config_dir or ()))


def each_file(
    config_files: Iterable[str | Path], config_dirs: Iterable[str | Path]
) -> Iterator[Path]:
    """The files, and those in the directories, in the order in which they are read."""
    yield from map(Path, config_files)
    for directory in config_dirs:
        yield from sorted(Path(directory).glob("*.conf"))


def sections(path: Path) -> dict[str, dict[str, object]]:
    """What the file says, by group; oslo.config compares groups without regard to case."""
    found: dict[str, dict[str, object]] = {}
    cfg.ConfigParser(str(path), found).parse()
    return {name if name == "DEFAULT" else name.lower(): names for name, names in found.items()}
