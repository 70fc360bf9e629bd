"""What must outlive the process, and is made at the first start: its directory and its keys."""

from __future__ import annotations

from pathlib import Path

from dedupd import seal
from dedupd.conf import Settings
from dedupd.errors import ConfigError

OWNER_ONLY = 0o700


def make(settings: Settings) -> None:
    """Make ``state_path``, where something is kept there, and the key file, where they are missing.

    Raises:
        ConfigError: they cannot be made, or there are records that other keys belong to.
    """
    path = settings.seal.key_file
    if not path.exists():
        refuse_new_keys(settings)
    if settings.keeps_state:
        _make_directory(settings.state_path)
    if path.exists():
        return
    try:
        path.parent.mkdir(OWNER_ONLY, parents=True, exist_ok=True)
        seal.create(path)
    except OSError as error:
        raise ConfigError(
            f"[seal] key_file: {path} cannot be written ({error.strerror}): name a path in a "
            "directory that this user may write to."
        ) from None


def has_place(settings: Settings, directory: Path) -> bool:
    """Whether a directory is there, or will be: ``make`` makes it, or one below it."""
    key_file = settings.seal.key_file
    made = [settings.state_path] if settings.keeps_state else []
    if not key_file.exists():
        made.append(key_file.parent)
    return directory.is_dir() or any(path.is_relative_to(directory) for path in made)


def refuse_new_keys(settings: Settings) -> None:
    """New keys open no records that are there already: those need the keys that sealed them.

    Raises:
        ConfigError: there are such records.
    """
    records = settings.store.url.path
    if records is not None and _is_there(records):
        raise ConfigError(
            f"[seal] key_file: {settings.seal.key_file} is not there, but the records in {records} "
            "are: put the key file back that they were written with."
        )


def _is_there(records: Path) -> bool:
    try:
        return records.exists()
    except OSError as error:
        raise ConfigError(
            f"[store] url: {records} cannot be looked at ({error.strerror}): name a path in a "
            "directory that this user may write to."
        ) from None


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(OWNER_ONLY, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"[DEFAULT] state_path: {path} cannot be made ({error.strerror}): name a directory "
            "that this user may write to."
        ) from None
