"""An event loop in virtual time: nothing ever waits, and every run of a seed is the same run.

The clock stands still while callbacks run and jumps to the next timer when none is ready. What
asyncio would do in an order that depends on memory addresses (walking over sets of tasks) happens
in the order in which tasks and futures were made, because these hash by their number.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_RESOLUTION_S: Final = 1e-6
"""Timers so close to each other fire in one turn. Must be more than a float's error at any time."""


class Deadlock(Exception):
    """Something is still awaited, and nothing will ever happen again."""


class Overtime(Exception):
    """Virtual time passed its bound: something never ends."""


class _NumberedFuture(asyncio.Future[_T]):
    """A future whose place in a set does not depend on its address."""

    def __init__(self, number: int, loop: "VirtualLoop") -> None:
        super().__init__(loop=loop)
        self._number = number

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _NumberedTask(asyncio.Task[_T]):
    """A task whose place in a set does not depend on its address."""

    def __init__(
        self,
        number: int,
        work: Coroutine[Any, Any, _T],
        loop: "VirtualLoop",
        context: Context | None,
    ) -> None:
        self._number = number
        super().__init__(work, loop=loop, name=str(number), context=context)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Clock:
    """In the place of the selector: to wait is to move the clock."""

    def __init__(self, time_max_s: float) -> None:
        self.now_s = 0.0
        self.time_max_s = time_max_s

    def select(self, timeout_s: float | None) -> list[Any]:
        """Pass the time until the next timer."""
        if timeout_s is None:
            raise Deadlock("nothing is ready and no timer is set")
        if timeout_s > 0:
            self.now_s += timeout_s
            if self.now_s > self.time_max_s:
                raise Overtime(f"not finished after {self.time_max_s} s")
        return []

    def close(self) -> None:
        """There is nothing to close."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks at once and timers when their virtual time has come."""

    def __init__(self, time_max_s: float, pause_s: Callable[[], float] | None = None) -> None:
        """pause_s gives how long an executor takes over its next piece of work."""
        super().__init__()
        self._selector = _Clock(time_max_s)
        self._clock_resolution = _RESOLUTION_S
        self._count = 0
        self._pause_s = pause_s
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._selector.now_s

    def next_number(self) -> int:
        """A number that no task or future has yet."""
        self._count += 1
        return self._count

    def create_future(self) -> asyncio.Future[Any]:
        """A future with a number."""
        return _NumberedFuture(self.next_number(), self)

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,  # noqa: ARG002  # threads have no place here
        func: Callable[[Unpack[_Ts]], _T],
        *args: *_Ts,
    ) -> asyncio.Future[_T]:
        """Do the work here, at once or after a pause."""
        future: asyncio.Future[_T] = self.create_future()
        pause_s = self._pause_s() if self._pause_s is not None else 0.0
        if pause_s > 0:
            self.call_later(pause_s, _work, future, func, *args)
        else:
            _work(future, func, *args)
        return future

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no events from outside."""

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody needs to be woken."""


def _make_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, _T] | Generator[Any, None, _T],
    context: Context | None = None,
) -> asyncio.Task[_T]:
    assert isinstance(loop, VirtualLoop)
    assert isinstance(work, Coroutine)
    return _NumberedTask(loop.next_number(), work, loop, context)


def _work(future: asyncio.Future[_T], func: Callable[[Unpack[_Ts]], _T], *args: *_Ts) -> None:
    """Nobody waits any more for what was cancelled: its process died before it was done."""
    if future.done():
        return
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001  # handed to who awaits it
        future.set_exception(error)
    else:
        future.set_result(result)
