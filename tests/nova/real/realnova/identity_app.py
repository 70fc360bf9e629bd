"""Keystone's WSGI application on SQLite."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from realnova import web


def application(keystone_conf: Path) -> web.Application:
    """Keystone, configured by `keystone_conf`. Once in a process."""
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(keystone_conf)
    sys.argv = sys.argv[:1]  # Keystone would read the command line, which is not meant for it
    _let_writers_queue()
    from keystone.server.flask import core

    loaded: web.Application = core.initialize_application(
        name="public", config_files=[str(keystone_conf)]
    )
    return loaded


def _let_writers_queue() -> None:
    """One writer at a time, as SQLite wants it; what DatabaseWriteLock does for Nova."""
    from oslo_db.sqlalchemy import enginefacade

    lock = threading.RLock()
    manager = enginefacade._TransactionContextManager
    scope = manager._transaction_scope

    @contextlib.contextmanager
    def in_turn(self: Any, context: Any) -> Iterator[Any]:
        writes = self._mode is enginefacade._WRITER
        with lock if writes else contextlib.nullcontext(), scope(self, context) as resource:
            yield resource

    manager._transaction_scope = in_turn
