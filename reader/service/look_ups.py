"""Look-ups of one partition in its history: they hold up nobody, and are not too many at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, TypeVar

from reader.ports import StoreFault
from reader.service.threads import Threads

LOOK_UPS_MAX: Final = 1_024
"""In threads or waiting for one."""

_T = TypeVar("_T")


class LookUps:
    """Both raise StoreFault when the store can't be read, or so many wait that it must be stuck."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._count = 0

    async def in_past(self, look: Callable[[], _T]) -> _T:
        """Look something up that walks through the past, in a thread."""
        return await self._in(self._threads.past, look)

    async def in_present(self, look: Callable[[], _T]) -> _T:
        """Look up what is present, in place if that is quick."""
        if self._threads.names is None:
            return look()
        return await self._in(self._threads.names, look)

    async def _in(self, threads: Executor, look: Callable[[], _T]) -> _T:
        if self._count >= LOOK_UPS_MAX:
            raise StoreFault(f"{self._count} look-ups wait for the store")
        try:
            looking = asyncio.get_running_loop().run_in_executor(threads, look)
        except RuntimeError as error:  # the threads have ended, and this reader with them
            raise StoreFault("the reader stops") from error
        self._count += 1
        looking.add_done_callback(self._looked)
        # Shielded: whoever gives up waiting leaves it in the queue, where it still counts.
        return await asyncio.shield(looking)

    def _looked(self, looking: asyncio.Future[_T]) -> None:
        self._count -= 1
        if not looking.cancelled():
            looking.exception()  # seen, also if nobody waits any more
