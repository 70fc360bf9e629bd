"""One etcd for all tests of a process that disturb it in no way; each has a prefix of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dedupd.store.etcd_cluster import Cluster
from tests.integration.etcd_server import EtcdServer


class SharedEtcd:
    """Started when it is first needed, with this many members."""

    def __init__(self, members: int) -> None:
        self._members = members
        self._server: EtcdServer | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def cluster(self) -> Cluster:
        """A connection to it, not opened yet."""
        if self._server is None:
            self._directory = tempfile.TemporaryDirectory(prefix="dedupd-test-etcd-")
            self._server = EtcdServer(Path(self._directory.name), self._members)
            self._server.start()
        return Cluster(self._server.endpoints)

    def stop(self) -> None:
        """End it, if it runs."""
        server, self._server = self._server, None
        if server is not None and self._directory is not None:
            server.stop()
            self._directory.cleanup()
