from __future__ import annotations

import asyncio

import pytest
import tenacity

from dedupd.policy import Policy

VIRTUAL_TIME = True

THREE_TIMES = Policy(
    retry=tenacity.retry_if_exception_type(OSError) | tenacity.retry_if_result(lambda it: it < 0),
    wait=tenacity.wait_exponential(multiplier=1.0),
    stop=tenacity.stop_after_attempt(3),
)


class Work:
    """Gives one result after the other, or raises it."""

    def __init__(self, *results: int | Exception) -> None:
        self._results = list(results)
        self.times: list[float] = []

    async def __call__(self, plus: int) -> int:
        self.times.append(asyncio.get_running_loop().time())
        result = self._results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result + plus


async def test_what_succeeds_is_done_once() -> None:
    work = Work(3)
    assert await THREE_TIMES.repeat(work, 4) == 7
    assert len(work.times) == 1


async def test_failures_and_unwanted_results_are_tried_again_after_the_pauses() -> None:
    work = Work(OSError(), -9, 3)
    assert await THREE_TIMES.repeat(work, 0) == 3
    assert work.times == pytest.approx([0, 1, 3], abs=1e-3)


async def test_the_last_failure_is_raised_as_it_was() -> None:
    last = OSError("third")
    with pytest.raises(OSError, match="third") as raised:
        await THREE_TIMES.repeat(Work(OSError("first"), OSError("second"), last), 0)
    assert raised.value is last


async def test_the_last_result_is_returned_even_if_it_is_unwanted() -> None:
    assert await THREE_TIMES.repeat(Work(-1, -2, -3), 0) == -3


async def test_other_failures_are_no_matter_of_the_policy() -> None:
    work = Work(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        await THREE_TIMES.repeat(work, 0)
    assert len(work.times) == 1


async def test_many_tasks_may_share_a_policy() -> None:
    works = [Work(*[OSError()] * failures, failures) for failures in range(3)]
    results = await asyncio.gather(*(THREE_TIMES.repeat(work, 10) for work in works))
    assert results == [10, 11, 12]
    assert [len(work.times) for work in works] == [1, 2, 3]
