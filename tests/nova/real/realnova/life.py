"""What the programs have in common: a state directory, a ready line, and an end."""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn


@contextlib.contextmanager
def state_directory(wanted: str | None, name: str) -> Iterator[Path]:
    """The directory `wanted`, made if missing; or a temporary one, removed at the end."""
    if wanted is not None:
        path = Path(wanted).resolve()
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    path = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def end_signal(until_eof: bool) -> threading.Event:
    """An event that SIGTERM and SIGINT set, and the end of standard input where asked to."""
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    if until_eof:
        threading.Thread(target=_end_with_standard_input, args=(end,), daemon=True).start()
    return end


def _end_with_standard_input(end: threading.Event) -> None:
    sys.stdin.buffer.read()
    end.set()


def say_ready(**facts: object) -> None:
    """Print the ready line."""
    print(json.dumps({"ready": True, "pid": os.getpid(), **facts}), flush=True)


def run(program: Callable[[], None]) -> NoReturn:
    """Run a program and end the process with it, whatever threads of services are left."""
    status: object = None
    try:
        program()
        status = 0
    except SystemExit as end:  # argparse has said all there is to say
        status = end.code
    finally:
        if status is None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)
