"""A RabbitMQ of several nodes, each on ports and data of its own, that serve one queue together."""

from __future__ import annotations

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.engines.children import launch
from tests.engines.ports import free_port, is_free
from tests.engines.rabbitmq import (
    PASSWORD,
    START_SECONDS,
    USER,
    NotReady,
    RabbitMQ,
    names_command,
)

_POLL_SECONDS = 0.02


class RabbitMQCluster:
    """Its nodes may be killed and started again, one by one; a context that ends all of them.

    Args:
        directory: Made here; where all of its files are.
        size: How many nodes.
    """

    def __init__(self, directory: Path, size: int = 3) -> None:
        """Write the nodes' configurations; nothing is started."""
        directory.mkdir()
        self._directory = directory
        self._names_port = free_port()
        self._stack = ExitStack()
        places = [directory / f"node{number}" for number in range(size)]
        for place in places:
            place.mkdir()
        self.nodes = [RabbitMQ(place, self._names_port) for place in places]
        self._introduce()

    @property
    def url(self) -> str:
        """How it is reached: every node."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"amqp://{USER}:{PASSWORD}@{hosts}//"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            names = launch(
                names_command(self._names_port),
                directory=self._directory,
                log=self._directory / "names.log",
            )
            stack.callback(names.wait)
            stack.callback(names.kill)
            self._wait_for_names()
            for node in self.nodes:
                stack.callback(node.kill)
            self._start_nodes()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def leader(self, queue: str) -> RabbitMQ:
        """The node that leads a queue, as any of the nodes tells; all of them must run."""
        told = self.nodes[0].control("list_queues", "--formatter", "json", "name", "leader")
        leads = {row["name"]: row["leader"] for row in json.loads(told)}
        return next(node for node in self.nodes if node.node == leads[queue])

    def members(self, queue: str) -> set[str]:
        """The names of the nodes that a queue is kept on."""
        told = self.nodes[0].control("list_queues", "--formatter", "json", "name", "members")
        return next(set(row["members"]) for row in json.loads(told) if row["name"] == queue)

    def _introduce(self) -> None:
        """Tell each node of the others, and all of them one secret."""
        lines = {
            f"cluster_formation.classic_config.nodes.{number}": node.node
            for number, node in enumerate(self.nodes, 1)
        }
        text = "".join(f"{name} = {value}\n" for name, value in lines.items())
        cookie = secrets.token_hex(16)
        for node in self.nodes:
            with (node.directory / "rabbitmq.conf").open("a") as configuration:
                configuration.write(text)
            path = node.directory / ".erlang.cookie"
            path.write_text(cookie)
            path.chmod(0o400)

    def _wait_for_names(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while is_free(self._names_port):
            if time.monotonic() > deadline:
                raise NotReady("Erlang's directory of names is not ready")
            time.sleep(_POLL_SECONDS)

    def _start_nodes(self) -> None:
        """The first one, for the others to join."""
        first, *others = self.nodes
        first.start()
        with ThreadPoolExecutor(len(others)) as pool:
            list(pool.map(RabbitMQ.start, others))
