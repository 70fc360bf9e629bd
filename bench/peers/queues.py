"""Peers with a queue: Celery with celery-once, and dramatiq, each a front and a worker.

    .venv-bench/bin/python bench/peers/queues.py PEER front|worker --amqp URL --redis PORT
        --nova URL [--port N]

PEER is ``celery`` (late acknowledgement, so that a killed worker's tasks come again), ``celery-
early`` (Celery's default: a task is acknowledged when it begins) or ``dramatiq`` (late, its only
way). The front is Starlette on uvicorn: it puts the request on RabbitMQ and waits in a thread for
the result, which comes through Redis, where celery-once also keeps its locks. The worker has 64
threads and carries the request on to Nova with requests. Queues are durable; confirms are as the
packages set them, which is off.
"""

from __future__ import annotations

import argparse
import importlib
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

AT_ONCE = 64
WAITERS = 512
RESULT_SECONDS = 60
KEPT = ("content-type", "x-auth-token", "openstack-api-version", "x-openstack-nova-api-version")

Job = dict[str, Any]
"""A request on its way through the queue: token, path, headers, body."""

Carrier = Callable[[Job], list[Any]]
"""Puts a job on the queue and waits for what Nova answered: status, Location, body."""


class Nova:
    """Sends jobs on; each thread has connections of its own."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.threads = threading.local()

    def send(self, job: Job) -> list[Any]:
        """One POST, never repeated."""
        if not hasattr(self.threads, "session"):
            self.threads.session = requests.Session()
        answer = self.threads.session.post(
            self.endpoint + job["path"],
            data=job["body"].encode(),
            headers=job["headers"],
            timeout=RESULT_SECONDS,
        )
        return [answer.status_code, answer.headers.get("Location", ""), answer.text]


class Celery:
    """Celery with celery-once."""

    def __init__(self, options: argparse.Namespace, *, late: bool) -> None:
        redis = f"redis://127.0.0.1:{options.redis}"
        self.app = importlib.import_module("celery").Celery(
            "bench", broker=options.amqp, backend=f"{redis}/0"
        )
        self.app.conf.task_default_queue = f"{options.peer}-tasks"
        self.app.conf.task_acks_late = late
        self.app.conf.task_reject_on_worker_lost = late
        self.app.conf.worker_prefetch_multiplier = 1
        once = importlib.import_module("celery_once")
        self.app.conf.ONCE = {
            "backend": "celery_once.backends.Redis",
            "settings": {"url": f"{redis}/1", "default_timeout": RESULT_SECONDS},
        }
        nova = Nova(options.nova)

        def create(token: str, job: Job) -> list[Any]:
            return nova.send(job | {"token": token})

        task = self.app.task(base=once.QueueOnce, once={"keys": ["token"]}, lazy=False)
        self.task = task(create)

    def carry(self, job: Job) -> list[Any]:
        """See ``Carrier``."""
        result = self.task.apply_async(kwargs={"token": job["token"], "job": job})
        answer: list[Any] = result.get(timeout=RESULT_SECONDS)
        return answer

    def work(self) -> None:
        """Runs a worker."""
        command = ["worker", "--pool=threads", f"--concurrency={AT_ONCE}"]
        self.app.worker_main([*command, "--loglevel=WARNING", "--without-gossip"])


class Dramatiq:
    """dramatiq with results."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.dramatiq = importlib.import_module("dramatiq")
        rabbitmq = importlib.import_module("dramatiq.brokers.rabbitmq")
        results = importlib.import_module("dramatiq.results")
        backends = importlib.import_module("dramatiq.results.backends")
        self.broker = rabbitmq.RabbitmqBroker(url=options.amqp.removesuffix("//") + "/%2F")
        backend = backends.RedisBackend(url=f"redis://127.0.0.1:{options.redis}/2")
        self.broker.add_middleware(results.Results(backend=backend))
        self.dramatiq.set_broker(self.broker)
        nova = Nova(options.nova)
        self.task = self.dramatiq.actor(
            nova.send, actor_name="create", queue_name="dramatiq-tasks", store_results=True
        )

    def carry(self, job: Job) -> list[Any]:
        """See ``Carrier``."""
        message = self.task.send(job)
        answer: list[Any] = message.get_result(block=True, timeout=RESULT_SECONDS * 1000)
        return answer

    def work(self) -> None:
        """Runs a worker."""
        self.dramatiq.Worker(self.broker, worker_threads=AT_ONCE).start()
        threading.Event().wait()


PEERS: dict[str, Callable[[argparse.Namespace], Celery | Dramatiq]] = {
    "celery": lambda options: Celery(options, late=True),
    "celery-early": lambda options: Celery(options, late=False),
    "dramatiq": Dramatiq,
}


def front(carry: Carrier) -> Starlette:
    """The front: one route."""
    limiter: list[anyio.CapacityLimiter] = []

    async def create(request: Request) -> Response:
        if not limiter:
            limiter.append(anyio.CapacityLimiter(WAITERS))
        job = {
            "token": request.headers["idempotency-key"],
            "path": request.url.path,
            "headers": {name: value for name, value in request.headers.items() if name in KEPT},
            "body": (await request.body()).decode(),
        }
        answer = await anyio.to_thread.run_sync(carry, job, limiter=limiter[0])
        status, location, body = answer
        return Response(body, status, {"Location": location}, "application/json")

    return Starlette(routes=[Route("/v2.1/servers", create, methods=["POST"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("part", choices=("front", "worker"))
    parser.add_argument("--amqp", required=True, help="RabbitMQ's URL")
    parser.add_argument("--redis", type=int, required=True, help="port of a Redis on this machine")
    parser.add_argument("--nova", required=True, help="the stub's URL")
    parser.add_argument("--port", type=int, help="the front's")
    options = parser.parse_args()
    peer = PEERS[options.peer](options)
    if options.part == "worker":
        peer.work()
        return
    uvicorn.run(
        front(peer.carry),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        backlog=8192,
    )


if __name__ == "__main__":
    main()
