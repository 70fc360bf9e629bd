"""A caller of the model, with a clock that only the test moves."""

import json
from collections.abc import Iterable
from typing import Any

from dedupd.sim import Answer, Settings, SimulatedNova
from dedupd.sim.nova.world import IMAGE, Effect

MEMBER = "someone:blue"
ADMIN = "boss:blue:admin,member,reader"
READER = "onlooker:blue:reader"
STRANGER = "stranger:green"

Row = dict[str, Any]


class Client:
    """One simulated Nova and whoever asks it. Time stands still unless `wait` is called."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1_800_000_000.0
        self.nova = SimulatedNova(clock=lambda: self.now, seed=7, settings=Settings(**settings))

    def wait(self, seconds: float = 1.0) -> None:
        self.now += seconds

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str = MEMBER,
        version: str | None = "2.96",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Answer:
        sent = [("Host", "nova:8774"), *headers]
        sent += [("X-Auth-Token", token)] if token else []
        sent += [("OpenStack-API-Version", f"compute {version}")] if version else []
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        target = path[1:] if path.startswith("!") else f"/v2.1{path}"
        return self.nova.handle(method, target, sent, raw)

    def get(self, path: str, **how: Any) -> Any:
        answer = self.ask("GET", path, **how)
        assert answer.status == 200, answer
        return answer.json()

    def post_server(self, name: str = "web", **more: Any) -> Answer:
        how = {key: more.pop(key) for key in ("token", "version") if key in more}
        wish = {"name": name, "imageRef": IMAGE, "flavorRef": "1", "networks": "none"} | more
        return self.ask("POST", "/servers", {"server": wish}, **how)

    def create(self, name: str = "web", **more: Any) -> str:
        """Create a server and let it become ACTIVE; return its id."""
        answer = self.post_server(name, **more)
        assert answer.status == 202, answer
        self.wait()
        identity: str = answer.json()["server"]["id"]
        return identity

    def server(self, identity: str, **how: Any) -> Row:
        row: Row = self.get(f"/servers/{identity}", **how)["server"]
        return row

    def names(self, query: str = "", **how: Any) -> list[str]:
        return [row["name"] for row in self.get(f"/servers?{query}", **how)["servers"]]

    def message(self, method: str, path: str, body: Any = None, **how: Any) -> tuple[int, str]:
        """Status and message of a fault."""
        answer = self.ask(method, path, body, **how)
        (fault,) = answer.json().values()
        assert fault["code"] == answer.status
        return answer.status, fault["message"]

    @property
    def effects(self) -> list[Effect]:
        return self.nova.ledger
