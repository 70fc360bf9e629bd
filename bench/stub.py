"""A stand-in for Nova that costs as little CPU as Python allows, so that what is in front shows.

It answers with headers and bodies of Nova's size and form and keeps nothing but counts:

    POST /v2.1/servers        202, a new id each time, after --delay seconds
    POST /v2.1/os-keypairs    201 with a private key
    POST anything else        202 without a body
    GET  /v2.1/servers/...    200, one server in detail (1.6 kB)
    GET  a list of servers    200, an empty list
    GET  /v2.1/os-keypairs/x  404
    GET  /__stub__            200, how many requests of each method came, since the start

Start it with ``python -m bench.stub [--port N] [--delay S]``; it prints the port it listens on.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
from collections import Counter
from typing import cast

import uvloop

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
COMMON = (
    b"Date: Mon, 02 Jun 2025 09:00:00 GMT\r\n"
    b"Server: Apache/2.4.62 (Debian)\r\n"
    b"OpenStack-API-Version: compute 2.1\r\n"
    b"X-OpenStack-Nova-API-Version: 2.1\r\n"
    b"Vary: OpenStack-API-Version,X-OpenStack-Nova-API-Version\r\n"
    b"Content-Type: application/json\r\n"
    b"x-openstack-request-id: req-0c5a8b0e-6d3c-4e0f-9f38-%012d\r\n"
    b"x-compute-request-id: req-0c5a8b0e-6d3c-4e0f-9f38-%012d\r\n"
)
SERVER_ID = "6f70656e-7374-6163-6b00-%012d"


def server_created(host: str) -> bytes:
    body = {
        "server": {
            "id": SERVER_ID,
            "links": [
                {"rel": "self", "href": f"http://{host}/v2.1/servers/{SERVER_ID}"},
                {"rel": "bookmark", "href": f"http://{host}/servers/{SERVER_ID}"},
            ],
            "OS-DCF:diskConfig": "MANUAL",
            "security_groups": [{"name": "default"}],
            "adminPass": "zPnp2GseTqG4",
        }
    }
    return json.dumps(body).encode()


def server_detail(host: str) -> bytes:
    body = {
        "server": {
            "id": SERVER_ID % 1,
            "name": "bench",
            "status": "ACTIVE",
            "tenant_id": "6f70656e737461636b20342065766572",
            "user_id": "fake",
            "metadata": {"purpose": "measurement"},
            "hostId": "2091634baaccdc4c5a1d57069c833e402921df696b7f970791b12ec6",
            "image": {
                "id": "70a599e0-31e7-49b7-b260-868f441e862b",
                "links": [{"rel": "bookmark", "href": f"http://{host}/images/70a599e0"}],
            },
            "flavor": {"id": "1", "links": [{"rel": "bookmark", "href": f"http://{host}/f/1"}]},
            "created": "2025-06-02T09:00:00Z",
            "updated": "2025-06-02T09:00:01Z",
            "addresses": {
                "private": [
                    {
                        "version": 4,
                        "addr": "192.168.0.3",
                        "OS-EXT-IPS:type": "fixed",
                        "OS-EXT-IPS-MAC:mac_addr": "aa:bb:cc:dd:ee:ff",
                    }
                ]
            },
            "accessIPv4": "1.2.3.4",
            "accessIPv6": "80fe::",
            "links": [
                {"rel": "self", "href": f"http://{host}/v2.1/servers/{SERVER_ID % 1}"},
                {"rel": "bookmark", "href": f"http://{host}/servers/{SERVER_ID % 1}"},
            ],
            "OS-DCF:diskConfig": "AUTO",
            "progress": 0,
            "OS-EXT-AZ:availability_zone": "nova",
            "config_drive": "",
            "key_name": None,
            "OS-SRV-USG:launched_at": "2025-06-02T09:00:01.000000",
            "OS-SRV-USG:terminated_at": None,
            "security_groups": [{"name": "default"}],
            "OS-EXT-STS:task_state": None,
            "OS-EXT-STS:vm_state": "active",
            "OS-EXT-STS:power_state": 1,
            "os-extended-volumes:volumes_attached": [],
        }
    }
    return json.dumps(body).encode()


def keypair_created() -> bytes:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "A" * 1600 + "\n-----END RSA PRIVATE KEY-----\n"
    body = {"keypair": {"name": "bench", "fingerprint": "1e:2c", "user_id": "fake"}}
    body["keypair"] |= {"public_key": "ssh-rsa " + "A" * 372, "private_key": key}
    return json.dumps(body).encode()


def answer(status: bytes, body: bytes, *, more: bytes = b"") -> bytes:
    """One answer, complete but for the request's number, which goes in where ``%012d`` stands."""
    length = len(body.replace(b"%012d", b"0" * 12))
    head = b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n" % (status, more, length)
    return head + COMMON + b"\r\n" + body


class Nova:
    """The stub's answers and counts."""

    def __init__(self, host: str, delay: float) -> None:
        self.delay = delay
        self.counts: Counter[str] = Counter()
        self.numbers = itertools.count(1)
        location = b"Location: http://%b/v2.1/servers/%b\r\n" % (host.encode(), SERVER_ID.encode())
        self.created = answer(b"202 Accepted", server_created(host), more=location)
        self.detail = answer(b"200 OK", server_detail(host))
        self.key = answer(b"201 Created", keypair_created())
        self.accepted = answer(b"202 Accepted", b"")
        self.empty = answer(b"200 OK", b'{"servers": []}')
        fault = b'{"itemNotFound": {"code": 404, "message": "There is no such key pair."}}'
        self.absent = answer(b"404 Not Found", fault)

    def answer_to(self, method: bytes, path: bytes) -> bytes:
        """Counts a request and makes its answer."""
        self.counts[method.decode()] += 1
        if path == b"/__stub__":
            counts = json.dumps(self.counts).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(counts), counts)
        template = self.template(method, path.partition(b"?")[0])
        return template % ((next(self.numbers),) * template.count(b"%012d"))

    def template(self, method: bytes, path: bytes) -> bytes:
        """The answer to a request, but for its number."""
        if method == b"POST":
            ends = {b"servers": self.created, b"os-keypairs": self.key}
            return ends.get(path.rpartition(b"/")[2], self.accepted)
        if b"/os-keypairs/" in path:
            return self.absent
        return self.empty if path.endswith((b"/servers", b"/servers/detail")) else self.detail


class Connection(asyncio.Protocol):
    """One connection; requests must announce their length, which all the subjects do."""

    def __init__(self, nova: Nova) -> None:
        self.nova = nova
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way to answer."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answers every request that is complete."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = CONTENT_LENGTH.search(self.buffer, 0, end)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < total:
                return
            method, path, _ = self.buffer[: self.buffer.index(b"\r\n")].split(b" ", 2)
            self.buffer = self.buffer[total:]
            self.respond(method, path)

    def respond(self, method: bytes, path: bytes) -> None:
        """Answers at once, or after the delay."""
        answer = self.nova.answer_to(method, path)
        if self.nova.delay and method == b"POST":
            asyncio.get_running_loop().call_later(self.nova.delay, self.transport.write, answer)
        else:
            self.transport.write(answer)


async def serve(port: int, delay: float) -> None:
    nova = Nova(f"127.0.0.1:{port or 8774}", delay)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(nova), "127.0.0.1", port, backlog=8192)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before a POST's answer")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.delay))


if __name__ == "__main__":
    main()
