"""What tests send requests to, however many processes it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from tests.nova.call import SECONDS, Answer, call


class Front(ABC):
    """A dedupd in front of a Nova, as its callers see it."""

    address: str
    """The host and port that callers name."""
    url: str
    """Where a caller who knows one address only is served."""

    @abstractmethod
    def start(self) -> None:
        """Launch it, and wait until it is ready.

        Raises:
            NotReady: it is not.
        """

    @abstractmethod
    def kill(self) -> None:
        """End all of it as `kill -9` does; its files stay."""

    def restart(self) -> None:
        """Kill it, and start it again on the same files and ports.

        Raises:
            NotReady: it did not come back.
        """
        self.kill()
        self.start()

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "demo",
        client_token: str | None = None,
        microversion: str | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Answer:
        """Send one request to it; ``path`` begins with /v2.1 or /dedupd."""
        sent = {"Host": self.address, "X-Auth-Token": token}
        if client_token is not None:
            sent["X-Client-Token"] = client_token
        if microversion is not None:
            sent["OpenStack-API-Version"] = f"compute {microversion}"
        sent |= dict(headers or {})
        return call(method, self._door() + path, body, sent, seconds=seconds)

    def _door(self) -> str:
        """Where the next request is sent."""
        return self.url
