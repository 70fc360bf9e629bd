"""The SQLite files, and templates of them with their schema in place.

Making the schemas takes longer than all the rest of a start. So it is done once for an
environment: the templates lie in it, and every new state directory gets copies.

Program: `python -P -m realnova.databases` makes the templates that are missing.
"""

import contextlib
import fcntl
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOVA = ("nova_api", "nova_cell0", "nova_cell1", "placement")
KEYSTONE = ("keystone",)

TEMPLATES = ("compute_schemas", "identity_template")
"""The modules of this package that make one, each in the directory it is given."""

_HOME = Path(sys.prefix) / "var" / "realnova"


def path(state: Path, name: str) -> Path:
    """The file of a database."""
    return state / f"{name}.sqlite"


def urls(state: Path) -> dict[str, str]:
    """Every database's name and what SQLAlchemy calls it."""
    return {name: f"sqlite:///{path(state, name)}" for name in (*NOVA, *KEYSTONE)}


def use_write_ahead_log(state: Path, names: tuple[str, ...]) -> None:
    """Let readers and one writer of each file go on together; the file remembers it."""
    for name in names:
        with contextlib.closing(sqlite3.connect(path(state, name))) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def copy_template(program: str, state: Path) -> None:
    """Fill a new state directory from the template that `program` makes."""
    shutil.copytree(template(program), state, dirs_exist_ok=True)


def template(program: str) -> Path:
    """Where the template of `program` lies; it is made if it does not yet."""
    goal = _HOME / program
    with _lock(program):
        if not goal.exists():
            _make(program, goal)
    return goal


def _make(program: str, goal: Path) -> None:
    half_made = Path(tempfile.mkdtemp(prefix=f"{program}-", dir=_HOME))
    command = [sys.executable, "-P", "-m", f"realnova.{program}", str(half_made)]
    try:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        half_made.rename(goal)
    finally:
        shutil.rmtree(half_made, ignore_errors=True)


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    """Held by one process at a time; the kernel lets go of it if that one dies."""
    _HOME.mkdir(parents=True, exist_ok=True)
    with (_HOME / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    for program in TEMPLATES:
        template(program)
