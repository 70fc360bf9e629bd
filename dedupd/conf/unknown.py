"""Options in files that nothing reads: most are misspelt, so each is named with a likely cure."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from oslo_config import cfg

from dedupd.conf import keystone

LOG = logging.getLogger(__name__)

_OF_LIBRARIES = ("cache", "oslo_")
"""Beginnings of the groups whose options a library registers only when it is used."""


def warn_of_unknown(conf: cfg.ConfigOpts) -> None:
    """Log a warning for every option or group in the parsed files that is not known.

    They are not refused, so that one file can serve two releases.
    """
    for complaint in found(conf):
        LOG.warning("%s; it has no effect", complaint)


def found(conf: cfg.ConfigOpts) -> Iterator[str]:
    """A complaint for each of them, which names the file."""
    known = _known(conf)
    skipped = _OF_LIBRARIES if keystone.is_prepared(conf) else (*_OF_LIBRARIES, keystone.CALLERS)
    for path in _files(conf):
        for group, names in _sections(path).items():
            if not group.startswith(skipped):
                for complaint in _complaints(group, names, known):
                    yield f"{path}: {complaint}"


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
    known: dict[str, set[str]] = {"DEFAULT": set()}
    for name, value in conf.items():
        if isinstance(value, cfg.ConfigOpts.GroupAttr):
            known[name] = set(value)
        else:
            known["DEFAULT"].add(name)
    for group in (keystone.SERVICE, keystone.CALLERS):
        known[group] |= keystone.former_names(conf, group)
    return known


def _files(conf: cfg.ConfigOpts) -> Iterator[Path]:
    yield from map(Path, conf.config_file or ())
    for directory in conf.config_dir or ():
        yield from sorted(Path(directory).glob("*.conf"))


def _sections(path: Path) -> dict[str, dict[str, object]]:
    """What the file says, by group; oslo.config compares groups without regard to case."""
    sections: dict[str, dict[str, object]] = {}
    cfg.ConfigParser(str(path), sections).parse()
    return {name if name == "DEFAULT" else name.lower(): names for name, names in sections.items()}
