"""A process's way to an engine: every exchange on it is a scheduling point."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dedupd.errors import DedupdError
from dedupd.sim.histories.copies import Doubt, course
from dedupd.sim.histories.faults import UPKEEP, Fault, Operation
from dedupd.sim.histories.loop import Process
from dedupd.sim.histories.stage import Node

T = TypeVar("T")

LATENCY = 0.02
"""The longest time that an exchange takes where nothing goes wrong, in seconds."""

SLOW_SECONDS = 1.5
"""The longest time that it takes, or that an effect comes after its answer was given up."""


@dataclass(frozen=True)
class Manners:
    """Which faults an engine knows, and what its port raises."""

    slow: Fault
    refused: Fault
    unanswered: Fault
    late: Fault
    failure: Callable[[str], Exception]
    copied: Fault | None = None
    """What leaves a copy behind, if anything does."""


class Wire:
    """Carries one process's operations to one engine, as its torment lets it."""

    def __init__(self, node: Node, operation: Operation, manners: Manners) -> None:
        self._node = node
        self._process = node.process
        self._operation = operation
        self._upkeep = UPKEEP.get(operation, operation)
        self._manners = manners

    @property
    def process(self) -> Process:
        """Whose wire it is."""
        return self._process

    async def exchange(
        self, subject: str, effect: Callable[[], T], doubt: Doubt | None = None
    ) -> T:
        """Have ``effect`` carried out by the engine, in one step, and its result brought back.

        ``doubt`` is what concerns one that is sent more than once; None: its copies do the same.

        Raises:
            Exception: what ``effect`` raises, or the port's failure: then it was carried out, or
                not, or will be.
        """
        node, manners = self._node, self._manners
        stage = node.stage
        answer: asyncio.Future[T] = stage.loop.create_future()
        if self._process is not node.process:
            return await answer  # what a dead process's clean-up asks for, nobody hears
        operation = self._operation if subject else self._upkeep
        await stage.torment.keep_back(node.stream, operation, subject)
        draw = stage.torment.draw(node.stream, operation, subject)
        fault, size = draw.fault, draw.size
        latency = LATENCY * (0.1 + size)
        if fault is None:
            stage.later(latency, _carry_out, answer, effect)
        elif fault is manners.refused:
            stage.later(latency, _fail, answer, manners.failure("refused"))
        elif fault is manners.unanswered:
            stage.later(latency, _carry_out, answer, effect, manners.failure("unanswered"))
        elif fault is manners.late:
            stage.later(latency, _fail, answer, manners.failure("late"))
            stage.later(latency + SLOW_SECONDS * size, _carry_out, answer, effect)
        elif fault is manners.copied:
            self._leave_copy(answer, effect, doubt or Doubt(effect), size)
        else:
            self._only_struck(answer, effect, fault, latency, size)
        try:
            return await answer
        finally:
            del answer  # a failure knows this frame: nothing is to go in circles

    def _leave_copy(
        self, answer: asyncio.Future[T], effect: Callable[[], T], doubt: Doubt, size: float
    ) -> None:
        """It is sent more than once; one copy lies in a member that stands still."""
        stage, drawn = self._node.stage, course(size)
        latency = LATENCY * (0.1 + size)

        def resolved() -> T:
            result = effect()
            doubt.told()
            return result

        if drawn.answered:
            stage.later(latency, _carry_out, answer, resolved)
        else:
            stage.later(latency, doubt.untold)
            failure = self._manners.failure("copied")
            lost = (_carry_out, answer, effect, failure)
            stage.later(latency, *lost if drawn.carried_out else (_fail, answer, failure))
        stage.sleepers.leave(latency, drawn.seconds, doubt.copy)

    def _only_struck(
        self,
        answer: asyncio.Future[T],
        effect: Callable[[], T],
        fault: Fault,
        latency: float,
        size: float,
    ) -> None:
        """The engine does its part; whether the process is there to see it is another matter."""
        stage = self._node.stage
        if fault is self._manners.slow:
            latency = SLOW_SECONDS * size
        if not self._node.befall(fault, size) and size < 0.5:
            return  # it went before the engine heard of anything
        stage.later(latency, _carry_out, answer, effect)


def _fail(answer: asyncio.Future[T], failure: Exception) -> None:
    """Bring a failure back; where nobody is left to take it, that is no news either."""
    if not answer.done():
        answer.set_exception(failure)
        answer.exception()


def _carry_out(
    answer: asyncio.Future[T], effect: Callable[[], T], failure: Exception | None = None
) -> None:
    """The engine's step; whoever asked may have gone, or been told that it failed."""
    try:
        result = effect()
    except DedupdError as error:
        _fail(answer, failure or error)
        return
    if failure is not None:
        _fail(answer, failure)
    elif not answer.done():
        answer.set_result(result)
