"""The operator's commands beside a running `dedupd standalone`, on the simulated Nova."""

from __future__ import annotations

import json
import os
import pty
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartStandalone
from tests.integration.simulated import Simulated
from tests.integration.standalone import DEDUPD, Standalone
from tests.nova.call import Answer

SECONDS = 60.0
SETTINGS = {
    "nova.connect_timeout": "1",
    "nova.send_timeout": "2",
    "nova.settle_seconds": "0.5",
    "nova.retry_seconds": "300",
}


@pytest.fixture(scope="module")
def nova() -> Iterator[Simulated]:
    with Simulated(seed=1) as simulated:
        yield simulated


@pytest.fixture(scope="module")
def dedupd(start_standalone_for_module: StartStandalone, nova: Simulated) -> Standalone:
    return start_standalone_for_module(nova.url, SETTINGS)


@pytest.fixture
def client(dedupd: Standalone, nova: Simulated) -> Client:
    return Client(dedupd, nova)


@pytest.fixture
def site(dedupd: Standalone, tmp_path: Path) -> Path:
    """A directory with a configuration, and a copy of keys and records that may be spoiled."""
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(dedupd.directory / "state" / "seal.keys", state)
    with closing(sqlite3.connect(dedupd.directory / "state" / "records.db")) as records:
        records.execute("VACUUM INTO ?", (str(state / "records.db"),))
    config = (dedupd.directory / "dedupd.conf").read_text()
    (tmp_path / "dedupd.conf").write_text(f"[DEFAULT]\nstate_path = {state}\n{config}")
    return tmp_path


def run(
    *arguments: str, config: Path | None = None, stdin: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    """The `dedupd` command, without the caller's OpenStack variables."""
    before = [f"--config-file={config}"] if config else []
    return subprocess.run(
        [DEDUPD, *before, *arguments],
        env={name: value for name, value in os.environ.items() if not name.startswith("OS_")},
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Client:
    """A project of its own, and the operator who looks after its requests."""

    def __init__(self, dedupd: Standalone, nova: Simulated) -> None:
        self.dedupd = dedupd
        self.nova = nova
        self.project = f"project-{uuid.uuid4().hex[:8]}"
        self._state = dedupd.directory / "state"
        self._config = dedupd.directory / "dedupd.conf"

    def post(self, token: str, body: Any, path: str = "/v2.1/servers", **more: Any) -> Answer:
        user = f"demo:{self.project}"
        return self.dedupd.call("POST", path, body, token=user, client_token=token, **more)

    def server(self, name: str = "one", **more: Any) -> dict[str, Any]:
        image, flavor = self.nova.image, self.nova.flavor
        return {"server": {"name": name, "imageRef": image, "flavorRef": flavor, **more}}

    def servers(self, name: str) -> list[str]:
        """The ids of its servers of that name."""
        path = f"/v2.1/servers?name=^{name}$"
        rows = self.dedupd.call("GET", path, token=f"demo:{self.project}").json["servers"]
        return [row["id"] for row in rows]

    def command(
        self, *arguments: str, stdin: int = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        """`dedupd request ...` on the running server's records."""
        where = f"--state-path={self._state}"
        return run("request", *arguments, where, config=self._config, stdin=stdin)

    def asked(self, *arguments: str) -> Any:
        """What a command that succeeds prints as JSON."""
        done = self.command(*arguments, "-f", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str, status: int = 1) -> str:
        """What a command that fails says: one line, unless it is argparse's usage."""
        done = self.command(*arguments)
        assert (done.returncode, done.stdout) == (status, "")
        if status == 1:
            assert done.stderr.count("\n") == 1
        return done.stderr

    def only(self) -> str:
        """The id of the project's only request."""
        [row] = self.asked("list", "--project", self.project)
        return str(row["ID"])

    def unknown_action(self, token: str) -> str:
        """A server action whose answer was lost; its request's id."""
        assert self.post(f"{token}-server", self.server(token)).status == 202
        [server] = self.servers(token)
        self.nova.faults([{"fault": "503-before", "method": "POST", "path": "/action$"}])
        path = f"/v2.1/servers/{server}/action"
        assert self.post(token, {"reboot": {"type": "SOFT"}}, path).status == 502
        [row] = self.asked("list", "--project", self.project, "--state", "unknown")
        return str(row["ID"])

    def unknown_server(self, token: str) -> tuple[dict[str, Any], str]:
        """A server that has no room for a mark, and whose answer was lost; the request's id."""
        body = self.server(token, metadata={f"key{number}": "v" for number in range(128)})
        self.nova.faults([{"fault": "drop-after", "method": "POST", "path": "/servers$"}])
        assert self.post(token, body).status == 502
        [row] = self.asked("list", "--project", self.project, "--state", "unknown")
        return body, str(row["ID"])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


# list, show


def test_list_is_newest_first_and_filtered(client: Client) -> None:
    for number in range(3):
        assert client.post(f"t{number}", client.server(f"s{number}")).status == 202
    rows = client.asked("list", "--project", client.project)
    assert [row["State"] for row in rows] == ["done"] * 3
    assert [row["Resource"] for row in rows] == [client.servers(f"s{n}")[0] for n in (2, 1, 0)]
    assert all(row["Created"] <= row["Completed"] and row["Created"][-1] == "Z" for row in rows)
    ids = [row["ID"] for row in rows]

    def listed(*filters: str) -> list[str]:
        return [row["ID"] for row in client.asked("list", "--project", client.project, *filters)]

    assert listed("--limit", "2") == ids[:2]
    assert listed("--marker", ids[0]) == ids[1:]
    assert listed("--state", "done", "--state", "queued") == ids
    assert listed("--state", "queued") == []
    told = client.command("list", "--project", client.project, "--limit", "2").stderr
    assert told == f"There are more: --marker {ids[1]} shows the next.\n"
    assert client.command("list", "--project", client.project, "--limit", "3").stderr == ""


@pytest.mark.parametrize("form", ["table", "csv", "value", "yaml"])
def test_list_in_every_form(client: Client, form: str) -> None:
    client.post("t", client.server())
    done = client.command("list", "--project", client.project, "-f", form)
    assert done.returncode == 0
    assert client.only() in done.stdout


def test_show_tells_all_but_secrets(client: Client) -> None:
    answer = client.post("t", client.server("shown", adminPass="hidden-word"))
    shown = client.asked("show", client.only())
    assert shown["state"] == "done"
    assert shown["status"] == 202
    assert shown["project_id"] == client.project
    assert shown["resource"]["id"] == answer.json["server"]["id"]
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["answered"]
    table = client.command("show", client.only()).stdout
    assert f"server {answer.json['server']['id']}" in table
    assert "hidden-word" not in table + json.dumps(shown)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("show", "zz"), 1, "'zz' is no request's id: that is 32 hexadecimal digits"),
        (("show", "0" * 32), 1, f"There is no request {'0' * 32}"),
        (("list", "--marker", "gone"), 1, "The marker gone names no record"),
        (("list", "--limit", "0"), 2, "'0' is no whole number from 1 to 10000"),
        (("list", "--state", "lost"), 2, "invalid choice: 'lost'"),
        (("cancel", "0" * 32), 1, "There is no request"),
        (("forget", "0" * 32, "--yes"), 1, "There is no request"),
        (("resolve", "0" * 32), 2, "--adopt --failed --send-again is required"),
        (("resolve", "0" * 32, "--failed", "--send-again"), 2, "not allowed with argument"),
        (("resolve", "0" * 32, "--failed"), 1, "There is no request"),
        (("resolve", "0" * 32, "--failed", "--nova", "8774"), 1, "[nova] endpoint: '8774'"),
    ],
)
def test_bad_input(client: Client, arguments: tuple[str, ...], status: int, complaint: str) -> None:
    assert complaint in client.refused(*arguments, status=status)


def test_without_records(tmp_path: Path) -> None:
    done = run("request", "list", "--state-path", str(tmp_path))
    assert done.returncode == 1
    assert f"There are no records in {tmp_path}/records.db" in done.stderr


def test_without_keys(site: Path) -> None:
    (site / "state" / "seal.keys").unlink()
    done = run("request", "list", config=site / "dedupd.conf")
    assert done.returncode == 1
    assert "`dedupd key generate FILE` makes one" in done.stderr


def test_records_in_memory_are_out_of_reach(tmp_path: Path) -> None:
    config = tmp_path / "dedupd.conf"
    config.write_text("[store]\nurl = memory://\n")
    done = run("request", "list", config=config)
    assert done.returncode == 1
    assert "[store] url = memory:// keeps the records inside the server's process" in done.stderr


# cancel, forget


def test_cancel_what_waits(start_standalone: StartStandalone, nova: Simulated) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
    client = Client(start_standalone(nowhere, SETTINGS), nova)
    prefer = {"Prefer": "respond-async"}
    assert client.post("t", client.server(), headers=prefer).status == 202
    request_id = client.only()
    # It is being sent for a moment with every try, and cannot be cancelled then.
    until(lambda: client.command("cancel", request_id).returncode == 0)
    assert client.asked("show", request_id)["detail"].startswith("cancelled by operator ")
    answer = client.post("t", client.server())
    assert answer.status == 409
    assert "cancelled" in answer.json["conflictingRequest"]["message"]


def test_what_has_ended_is_not_cancelled(client: Client) -> None:
    client.post("t", client.server())
    assert "is done: only what is queued can be cancelled" in client.refused(
        "cancel", client.only()
    )


def test_forget_makes_the_token_new(client: Client) -> None:
    first = client.post("t", client.server("twice"))
    done = client.command("forget", client.only(), "--yes")
    assert done.returncode == 0
    assert "counts as never used" in done.stdout
    assert "forgotten by operator" in done.stderr
    assert client.asked("list", "--project", client.project) == []
    second = client.post("t", client.server("twice"))
    assert (first.status, second.status) == (202, 202)
    assert len(client.servers("twice")) == 2


def test_forget_asks(client: Client) -> None:
    client.post("t", client.server())
    request_id = client.only()
    assert "add --yes" in client.refused("forget", request_id)
    assert _answering(client, b"n\n", "forget", request_id).returncode == 1
    assert client.only() == request_id
    done = _answering(client, b"y\n", "forget", request_id)
    assert done.returncode == 0
    assert "Its token will count as never used" in done.stderr
    assert client.asked("list", "--project", client.project) == []


def test_forget_what_is_being_sent_only_by_force(
    start_standalone: StartStandalone, nova: Simulated
) -> None:
    client = Client(start_standalone(nova.url, SETTINGS | {"nova.settle_seconds": "300"}), nova)
    nova.faults([{"fault": "drop-before", "method": "POST", "path": "/servers$"}])
    prefer = {"Prefer": "respond-async"}
    assert client.post("t", client.server(), headers=prefer).status == 202
    listing = ("list", "--project", client.project, "--state", "sending")
    until(lambda: client.asked(*listing) != [])
    request_id = client.only()
    assert "is being sent" in client.refused("forget", request_id, "--yes")
    assert client.command("forget", request_id, "--yes", "--force").returncode == 0
    assert client.asked("list", "--project", client.project) == []


def _answering(client: Client, words: bytes, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command that has a terminal to ask, where somebody has typed these words."""
    keyboard, terminal = pty.openpty()
    try:
        os.write(keyboard, words)
        return client.command(*arguments, stdin=terminal)
    finally:
        os.close(keyboard)
        os.close(terminal)


# resolve


def test_adopt_gives_the_answer_that_was_lost(client: Client) -> None:
    body, request_id = client.unknown_server("adopted")
    [server] = client.servers("adopted")
    shown = client.asked("resolve", request_id, "--adopt", server)
    assert (shown["state"], shown["status"]) == ("done", 202)
    assert shown["detail"].startswith(f"adopted server {server} by operator ")
    answer = client.post("adopted", body)
    assert answer.status == 202
    assert answer.json["server"]["id"] == server
    assert answer.json["server"]["adminPass"]
    assert (answer.header("Location") or "").endswith(server)
    assert client.servers("adopted") == [server]


def test_adopt_takes_only_what_can_be_its_own(client: Client) -> None:
    _, request_id = client.unknown_server("strict")
    assert client.post("other", client.server("other")).status == 202
    [marked] = client.servers("other")
    stranger = Client(client.dedupd, client.nova)
    stranger.post("t", stranger.server("theirs"))
    [theirs] = stranger.servers("theirs")
    for resource, complaint in {
        marked: f"Server {marked} carries the mark of another request",
        theirs: f"Nova shows no {theirs} to project {client.project}",
        "no-such": "Nova shows no no-such to project",
    }.items():
        assert complaint in client.refused("resolve", request_id, "--adopt", resource)
    assert client.asked("show", request_id)["state"] == "unknown"


def test_a_server_action_cannot_be_adopted(client: Client) -> None:
    request_id = client.unknown_action("rebooted")
    complaint = client.refused("resolve", request_id, "--adopt", "anything")
    assert "resolve it with --failed or --send-again" in complaint


def test_settled_as_failed(client: Client) -> None:
    request_id = client.unknown_action("failed")
    [server] = client.servers("failed")
    shown = client.asked("resolve", request_id, "--failed")
    assert (shown["state"], shown["status"]) == ("done", 500)
    path = f"/v2.1/servers/{server}/action"
    answer = client.post("failed", {"reboot": {"type": "SOFT"}}, path)
    assert answer.status == 500
    assert answer.header("Idempotent-Replayed") == "true"
    assert "settled it as failed" in answer.json["computeFault"]["message"]
    assert "only one whose outcome is unknown" in client.refused("resolve", request_id, "--failed")


def test_sent_again_at_the_next_sweep(client: Client) -> None:
    request_id = client.unknown_action("again")
    [server] = client.servers("again")
    before = len(client.nova.ledger())
    done = client.command("resolve", request_id, "--send-again")
    assert done.returncode == 0
    assert f"{request_id}: sent again by operator" in done.stderr
    path = f"/v2.1/servers/{server}/action"
    answer = client.post("again", {"reboot": {"type": "SOFT"}}, path, headers={"Prefer": "wait=10"})
    assert answer.status == 202
    effects = client.nova.ledger()[before:]
    assert [effect["kind"] for effect in effects if effect["path"] == path] == ["reboot"]


# check


def checked(*arguments: str, config: Path | None = None) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status of `dedupd check`, and its lines by what was checked."""
    done = run("check", *arguments, "-f", "json", config=config)
    lines = json.loads(done.stdout)
    return done.returncode, {line["Check"]: line for line in lines}


def results(lines: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: line["Result"] for name, line in lines.items()}


ALL_WELL = dict.fromkeys(
    ("configuration", "keys", "store", "queue", "keystone", "service user", "nova"), "ok"
)


def test_all_is_well_beside_a_server(dedupd: Standalone) -> None:
    state = f"--state-path={dedupd.directory / 'state'}"
    status, lines = checked(state, config=dedupd.directory / "dedupd.conf")
    assert (status, results(lines)) == (0, ALL_WELL)
    assert "microversions 2.1 to 2." in lines["nova"]["Detail"]


def test_one_line_each(site: Path) -> None:
    done = run("check", config=site / "dedupd.conf")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * len(ALL_WELL)


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    status, lines = checked("--state-path", str(tmp_path / "new"))
    assert status == 0
    assert results(lines) == ALL_WELL | {"keys": "warning", "nova": "warning"}
    assert not (tmp_path / "new").exists()


def _write(path: str, text: str) -> Callable[[Path], object]:
    return lambda site: (site / path).write_text(text)


def _append(path: str, text: str) -> Callable[[Path], object]:
    def append(site: Path) -> None:
        with (site / path).open("a") as file:
            file.write(text)

    return append


def _version(site: Path) -> None:
    with closing(sqlite3.connect(site / "state/records.db")) as records:
        records.execute("PRAGMA user_version = 99")


def _scribble(site: Path) -> None:
    """Over a page in the middle, so that only reading it all shows it."""
    with (site / "state/records.db").open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 4096)


KEYS = f"identity {'a' * 64}\nseal 1 {'b' * 64}\n"


@pytest.mark.parametrize(
    ("spoil", "failed", "complaint"),
    [
        (_append("dedupd.conf", "[api]\nlisten = nowhere\n"), "configuration", "[api] listen"),
        (_write("state/seal.keys", "nonsense"), "keys", "line 1 is none of"),
        (lambda site: (site / "state/seal.keys").chmod(0o644), "keys", "chmod 600"),
        (lambda site: (site / "state/seal.keys").unlink(), "keys", "but the records in"),
        (_write("state/seal.keys", KEYS), "store", "another identity key"),
        (_append("dedupd.conf", "[DEFAULT]\nregion_name = Other\n"), "store", "RegionOne alone"),
        (_write("state/records.db", "nonsense"), "store", "not an SQLite database"),
        (_version, "store", "layout 99"),
        (_scribble, "store", "corrupt"),
        (_append("dedupd.conf", "[queue]\nurl = redis://x\n"), "configuration", "redis"),
        (
            _append("dedupd.conf", "[nova]\nendpoint = http://127.0.0.1:9\n"),
            "nova",
            "cannot be reached",
        ),
        (
            _append(
                "dedupd.conf",
                "[api]\nlisten = 127.0.0.1:9\n[nova]\nendpoint = http://localhost:9\n",
            ),
            "nova",
            "127.0.0.1:9 is where this front listens itself",
        ),
    ],
)
def test_one_failure_does_not_hide_the_others(
    site: Path, spoil: Callable[[Path], object], failed: str, complaint: str
) -> None:
    spoil(site)
    status, lines = checked(config=site / "dedupd.conf")
    assert status == 1
    assert lines[failed]["Result"] == "failed"
    assert complaint in lines[failed]["Detail"]


def test_an_unknown_option_is_a_warning(site: Path) -> None:
    with (site / "dedupd.conf").open("a") as config:
        config.write("[api]\nhold_second = 5\n")
    status, lines = checked(config=site / "dedupd.conf")
    assert (status, results(lines)) == (0, ALL_WELL | {"configuration": "warning"})
    assert "did you mean hold_seconds?" in lines["configuration"]["Detail"]


@contextmanager
def answering(document: Any) -> Iterator[str]:
    """A server that answers every GET with this; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _versions(highest: str) -> dict[str, Any]:
    return {"versions": [{"id": "v2.1", "version": highest, "min_version": "2.1"}]}


@pytest.mark.parametrize(
    ("document", "result", "complaint"),
    [
        (_versions("2.96"), "ok", "microversions 2.1 to 2.96"),
        (_versions("2.69"), "ok", "2.69"),
        (_versions("2.68"), "warning", "below 2.69: lost effects cannot be looked up"),
        (_versions("2.51"), "warning", "below 2.52: servers are marked in their metadata"),
        (_versions(""), "failed", "not as the root of a compute API"),
        ({"versions": []}, "failed", "not as the root of a compute API"),
        ([], "failed", "not as the root of a compute API"),
    ],
)
def test_novas_of_all_ages(site: Path, document: Any, result: str, complaint: str) -> None:
    with answering(document) as url:
        status, lines = checked("--nova", url, config=site / "dedupd.conf")
    assert status == (1 if result == "failed" else 0)
    assert lines["nova"]["Result"] == result
    assert complaint in lines["nova"]["Detail"]


def test_keystone_away(site: Path) -> None:
    with (site / "dedupd.conf").open("a") as config:
        config.write(
            "[auth]\nstrategy = keystone\n[keystone_authtoken]\nauth_type = password\n"
            "auth_url = http://127.0.0.1:9/v3\nusername = dedupd\npassword = secret\n"
            "user_domain_name = Default\nproject_name = service\nproject_domain_name = Default\n"
        )
    status, lines = checked(config=site / "dedupd.conf")
    wanted = ALL_WELL | {"keystone": "failed", "service user": "warning"}
    assert (status, results(lines)) == (1, wanted)
    assert "check [keystone_authtoken] auth_url" in lines["keystone"]["Detail"]


# key


def test_key_generate_writes_a_private_file_once(tmp_path: Path) -> None:
    path = tmp_path / "seal.keys"
    assert run("key", "generate", str(path)).returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    done = run("key", "generate", str(path))
    assert done.returncode == 1
    assert "is there already and was left as it is" in done.stderr
    assert path.read_text() == text


def test_key_generate_where_nothing_can_be_written(tmp_path: Path) -> None:
    done = run("key", "generate", str(tmp_path / "none" / "seal.keys"))
    assert done.returncode == 1
    assert "is not there. Make the directory first." in done.stderr
