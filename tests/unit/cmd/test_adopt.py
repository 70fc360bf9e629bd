"""What an operator names is adopted if it can be the request's, and only then."""

from __future__ import annotations

from typing import Any

import msgspec

from dedupd.cloud.probes.base import Absent, Finding, Found, Undecided
from dedupd.worker.job import Job
from tests.unit.site import PROJECT, VM, Site

VIRTUAL_TIME = True
KEYPAIRS = "/v2.1/os-keypairs"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGeeH5HhjqcIzZ6OaDxEVJGXQ5uGl6m3dgFZ0o4l4kMu a"


async def opened(site: Site, document: Any = None, **more: Any) -> Job:
    return await site.job(await site.claimed(document, **more), site.crew())


async def made(site: Site, job: Job) -> dict[str, Any]:
    """Let Nova carry it out as dedupd sends it; what Nova answered."""
    assert job.probe
    answer = await site.cloud.send(job.probe.prepare(job.errand), 5)
    [document] = msgspec.json.decode(answer.body).values()
    return dict(document)


async def adopt(job: Job, resource_id: str) -> Finding:
    assert job.probe
    return await job.probe.adopt(job.errand, job.asker, resource_id)


async def test_its_own_server(site: Site) -> None:
    job = await opened(site)
    server = await made(site, job)
    found = await adopt(job, server["id"])
    assert isinstance(found, Found)
    assert found.resource.id == server["id"]
    assert msgspec.json.decode(found.answer.body)["server"] == server


async def test_a_server_without_any_mark(site: Site) -> None:
    """There was no room for one."""
    full = VM["server"] | {"metadata": {f"key{number}": "v" for number in range(128)}}
    job = await opened(site, {"server": full}, version="2.42")
    server = await made(site, job)
    found = await adopt(job, server["id"])
    assert isinstance(found, Found)
    assert found.resource.id == server["id"]


async def test_the_server_of_another_request(site: Site) -> None:
    other = await made(site, await opened(site, client_token="other"))
    finding = await adopt(await opened(site), other["id"])
    assert isinstance(finding, Undecided)
    assert "carries the mark of another request" in finding.reason


async def test_a_server_of_another_project(site: Site) -> None:
    other = await made(site, await opened(site, auth="demo:elsewhere"))
    assert await adopt(await opened(site, auth=f"admin:{PROJECT}"), other["id"]) == Absent()


async def test_no_such_server(site: Site) -> None:
    assert await adopt(await opened(site), "../flavors/1") == Absent()


async def test_a_request_that_names_no_server(site: Site) -> None:
    job = await opened(site, {"server": None})
    assert isinstance(await adopt(job, "anything"), Undecided)


async def test_an_imported_keypair(site: Site) -> None:
    job = await opened(site, {"keypair": {"name": "k", "public_key": KEY}}, path=KEYPAIRS)
    keypair = await made(site, job)
    found = await adopt(job, "k")
    assert isinstance(found, Found)
    assert msgspec.json.decode(found.answer.body)["keypair"] == keypair


async def test_a_generated_keypair_comes_with_its_private_key(site: Site) -> None:
    job = await opened(site, {"keypair": {"name": "k"}}, path=KEYPAIRS, version="2.1")
    keypair = await made(site, job)
    found = await adopt(job, "k")
    assert isinstance(found, Found)
    told = msgspec.json.decode(found.answer.body)["keypair"]
    assert told.pop("private_key").startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert told == keypair


async def test_a_keypair_with_another_key(site: Site) -> None:
    generated = await opened(site, {"keypair": {"name": "k"}}, path=KEYPAIRS, version="2.1")
    await made(site, generated)
    imported = {"keypair": {"name": "k", "public_key": KEY}}
    job = await opened(site, imported, path=KEYPAIRS, client_token="other")
    finding = await adopt(job, "k")
    assert isinstance(finding, Undecided)
    assert "has another public key" in finding.reason


async def test_a_keypair_that_the_request_does_not_name(site: Site) -> None:
    job = await opened(site, {"keypair": {"name": "k", "public_key": KEY}}, path=KEYPAIRS)
    assert isinstance(await adopt(job, "other"), Undecided)


async def test_no_such_keypair(site: Site) -> None:
    job = await opened(site, {"keypair": {"name": "k", "public_key": KEY}}, path=KEYPAIRS)
    assert await adopt(job, "k") == Absent()
