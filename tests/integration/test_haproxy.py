"""etc/haproxy.cfg, with addresses of ours: who answers what, and what happens without fronts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from tests.engines.children import launch
from tests.engines.ports import free_port
from tests.integration.installation import Installation
from tests.integration.simulated import Simulated
from tests.integration.site import Engines, wait_until
from tests.nova.call import Answer, call

EXAMPLE = Path(__file__).parents[2] / "etc" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") or "haproxy"
STOP_SECONDS = 30.0
TOKENS = 20
SERVERS = "/v2.1/servers"
USER = {"X-Auth-Token": "demo:demo"}


class Proxy:
    """HAProxy with the example's configuration.

    Args:
        addresses: What stands in the place of the example's: {"front1": "127.0.0.1:1234"}.
    """

    def __init__(self, directory: Path, addresses: Mapping[str, str]) -> None:
        """Write its configuration."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.configuration = directory / "haproxy.cfg"
        self.configuration.write_text(_with_addresses(EXAMPLE.read_text(), port, addresses))

    def __enter__(self) -> Self:
        self._process = launch(
            [HAPROXY, "-db", "-f", str(self.configuration)],
            directory=self.configuration.parent,
            log=self.configuration.with_suffix(".log"),
        )
        wait_until(self._listens)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(STOP_SECONDS)

    def call(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request through it."""
        return call(method, self.url + path, body, {**USER, **(headers or {})})

    def _listens(self) -> bool:
        try:
            self.call("GET", "/")
        except ConnectionRefusedError:
            return False
        return True


def _with_addresses(text: str, port: int, addresses: Mapping[str, str]) -> str:
    """The example, listening on a port of loopback, with these servers and none else."""
    text = text.replace("bind :8774\n", f"bind 127.0.0.1:{port}\n")
    text = re.sub(r"^    (user|group) haproxy\n", "", text, flags=re.MULTILINE)

    def placed(line: re.Match[str]) -> str:
        name = line[1]
        return f"    server {name} {addresses[name]}\n" if name in addresses else ""

    return re.sub(r"^    server (\w+) .*\n", placed, text, flags=re.MULTILINE)


@dataclass(frozen=True)
class Site:
    """An installation of dedupd and a Nova, behind one HAProxy."""

    nova: Simulated
    installation: Installation
    proxy: Proxy

    def server(self, name: str) -> dict[str, Any]:
        """The body of a POST /servers."""
        server = {"name": name, "imageRef": self.nova.image, "flavorRef": self.nova.flavor}
        return {"server": server}

    def post(self, name: str, headers: Mapping[str, str]) -> Answer:
        """A POST /servers."""
        return self.proxy.call("POST", SERVERS, self.server(name), headers)

    def made(self, name: str) -> int:
        """How often Nova made a server of this name."""
        return sum(effect["names"].count(name) for effect in self.nova.ledger())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("haproxy")
    with ExitStack() as stack:
        nova = stack.enter_context(Simulated(11))
        engines = stack.enter_context(Engines(directory / "engines"))
        installation = stack.enter_context(Installation(directory, nova.url, engines))
        fronts = {f"front{n}": front.address for n, front in enumerate(installation.fronts, 1)}
        addresses = {**fronts, "nova1": nova.url.removeprefix("http://")}
        proxy = stack.enter_context(Proxy(directory, addresses))
        yield Site(nova, installation, proxy)


def test_the_example_is_accepted_as_it_stands() -> None:
    done = subprocess.run(
        [HAPROXY, "-c", "-f", str(EXAMPLE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.parametrize(
    "headers",
    [{"X-Client-Token": "one"}, {"Idempotency-Key": '"two"'}, {"x-client-token": "three"}],
)
def test_a_post_with_a_token_goes_to_dedupd(headers: dict[str, str], site: Site) -> None:
    name = "-".join(headers.values()).strip('"')
    first, repeat = site.post(name, headers), site.post(name, headers)
    assert (first.status, first.body) == (repeat.status, repeat.body) == (202, first.body)
    assert repeat.header("Idempotent-Replayed") == "true"
    assert site.made(name) == 1


@pytest.mark.parametrize("token", ["", "has a blank", "x" * 65])
def test_a_malformed_token_does_not_slip_through_to_nova(token: str, site: Site) -> None:
    name = f"malformed-{len(token)}"
    assert site.post(name, {"X-Client-Token": token}).status == 400
    assert site.made(name) == 0


def test_all_else_goes_straight_to_nova(site: Site) -> None:
    """dedupd would have said `ignored` to a GET that has a token."""
    assert site.post("plain", {}).header("Idempotency-Status") is None
    assert site.made("plain") == 1
    listed = site.proxy.call("GET", SERVERS, headers={"X-Client-Token": "plain"})
    assert listed.status == 200
    assert listed.header("Idempotency-Status") is None


def test_the_status_of_a_request_is_where_its_link_says(site: Site) -> None:
    answer = site.post("linked", {"X-Client-Token": "linked"})
    link = re.match("<(.+)>", answer.header("Link") or "")
    assert link
    assert site.proxy.call("GET", link[1]).json["request"]["state"] == "done"


def test_repeats_are_spread_over_the_fronts_and_get_one_answer(site: Site) -> None:
    names = [f"spread-{number}" for number in range(TOKENS)]
    for name in names:
        answers = [site.post(name, {"X-Client-Token": name}) for _ in range(2)]
        assert answers[0].body == answers[1].body
    assert [site.made(name) for name in names] == [1] * TOKENS
    served = [_answers_of(front.url) for front in site.installation.fronts]
    assert all(served), served


def _answers_of(url: str) -> float:
    """How many callers a front has answered on the token path."""
    lines = call("GET", f"{url}/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("dedupd_answers_total"))


def test_without_fronts_nothing_with_a_token_is_executed_and_all_else_goes_on(site: Site) -> None:
    """And as soon as a front is back, what has a token goes on too."""
    headers = {"X-Client-Token": "refused"}
    for front in site.installation.fronts:
        front.stop()
    wait_until(lambda: site.post("refused", headers).header("Server") is None)
    refused = site.post("refused", headers)
    assert (refused.status, refused.header("Retry-After")) == (503, "5")
    assert "nothing was executed" in refused.json["serviceUnavailable"]["message"]
    assert site.made("refused") == 0
    assert site.post("meanwhile", {}).status == 202
    assert site.made("meanwhile") == 1
    for front in site.installation.fronts:
        front.start()
    wait_until(lambda: site.post("refused", headers).status == 202)
    assert site.made("refused") == 1
