"""Two fronts and two workers on etcd and RabbitMQ, used as if they were one dedupd."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.integration.front import Front
from tests.integration.site import Engines, Service, Site


class Installation(Front):
    """A site of two fronts and two workers; callers take turns at the fronts, under one name.

    Args:
        directory: Where all of its files are.
        nova: The endpoint behind it.
        engines: What it runs on.
        settings: What differs from QUICK, for all.
    """

    def __init__(
        self,
        directory: Path,
        nova: str,
        engines: Engines,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Make its keys and configurations; nothing is started."""
        self._site = Site(directory, engines, nova, settings)
        for kind in ("api", "api", "worker", "worker"):
            self._site.add(kind)
        self.address, self.url = self.fronts[0].address, self.fronts[0].url
        self._turns = itertools.count()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._site.__exit__()

    @property
    def fronts(self) -> list[Service]:
        """Its fronts."""
        return self._site.fronts

    def start(self) -> None:
        """See Front.start."""
        for service in self._site.services:
            service.launch()
        for service in self._site.services:
            service.wait_until_ready()

    def kill(self) -> None:
        """See Front.kill."""
        for service in self._site.services:
            service.kill()

    def _door(self) -> str:
        return self.fronts[next(self._turns) % len(self.fronts)].url
