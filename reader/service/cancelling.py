"""A cancellation that is not lost on its way through a library."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def cancellable(work: Awaitable[_T]) -> _T:
    """Await something that may swallow a cancellation, and raise it then.

    In Python 3.11 `asyncio.wait_for`, through which the broker's client waits, returns its
    result when that comes together with a cancellation (CPython issue 86296), and the task would
    go on as if it had not been told to end.
    """
    result = await work
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return result
