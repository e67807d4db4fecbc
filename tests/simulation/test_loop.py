"""The loop in virtual time: quick, in order, and never silent about a hang."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from simulation.loop import Deadlock, Overtime, VirtualLoop


def play(work: Coroutine[Any, Any, Any], time_max_s: float = 1e9) -> tuple[Any, float]:
    """The work's result and how long it took."""
    loop = VirtualLoop(time_max_s)
    try:
        return loop.run_until_complete(work), loop.time()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def test_a_year_passes_at_once_and_to_the_second() -> None:
    year_s = 365 * 24 * 3_600.0
    assert play(asyncio.sleep(year_s, "slept")) == ("slept", year_s)


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def work() -> list[int]:
        fired: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (3, 1, 2):
            loop.call_later(delay, fired.append, delay)
        await asyncio.sleep(4)
        return fired

    assert play(work())[0] == [1, 2, 3]


def test_a_timeout_comes_at_its_time() -> None:
    async def work() -> None:
        async with asyncio.timeout(2.5):
            await asyncio.sleep(60)

    loop = VirtualLoop(1e9)
    with pytest.raises(TimeoutError):
        loop.run_until_complete(work())
    assert loop.time() == 2.5
    loop.close()


def test_waiting_for_what_never_comes_is_a_deadlock() -> None:
    with pytest.raises(Deadlock):
        play(asyncio.Event().wait())


def test_what_never_ends_is_stopped_at_the_bound() -> None:
    async def tick_for_ever() -> None:
        while True:  # noqa: ASYNC110  # something that never ends
            await asyncio.sleep(1)

    with pytest.raises(Overtime):
        play(tick_for_ever(), time_max_s=100)


def test_sets_of_tasks_are_walked_in_the_order_of_their_making() -> None:
    async def number(value: int) -> int:
        return value

    async def work() -> list[int]:
        tasks = {asyncio.ensure_future(number(value)) for value in range(50)}
        done, _ = await asyncio.wait(tasks)
        return [task.result() for task in done]

    assert play(work())[0] == list(range(50))


def test_work_for_threads_is_done_here_and_its_error_comes_back() -> None:
    async def work() -> int:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        return await loop.run_in_executor(None, lambda: 42)

    assert play(work())[0] == 42
