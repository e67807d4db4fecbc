"""Writes what is projected to the read store, in groups, behind the pushes."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from reader.core.rows import Group
from reader.core.unstored import Unstored
from reader.ports import ReadStore, StoreFault
from reader.service.progress import Progress

_log = logging.getLogger(__name__)

SPACING_S: Final = 0.25
"""Least time between two groups: fewer commits for the same rows. Nobody waits for them, as queries
find in memory what is not stored yet; a restart projects that much again."""
GROUP_ROWS: Final = 8_192
"""A group of so many rows is written without waiting."""
BACKLOG_ROWS_MAX: Final = 65_536
"""Beyond this the projection waits for the store. About 500 bytes of memory each."""
_RETRY_S_FIRST: Final = 0.1
_RETRY_S_MAX: Final = 10.0


class Storing:
    """One partition's way into its store. `progress` tells how far the store has got."""

    def __init__(
        self, store: ReadStore, unstored: Unstored, threads: Executor, *, stored_sequence: int
    ) -> None:
        self.progress = Progress(stored_sequence)
        self._store = store
        self._unstored = unstored
        self._threads = threads
        self._filled = asyncio.Event()
        self._urgent = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = asyncio.Event()

    async def added(self) -> None:
        """Rows were added to what is unstored; return when there is room for more."""
        self._filled.set()
        if self._unstored.pending.row_count >= GROUP_ROWS:
            self._urgent.set()
        while self._unstored.row_count > BACKLOG_ROWS_MAX:
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        """Write group after group until `finish`. Raise StoreUnfit; a StoreFault is retried."""
        while not self._closing.is_set():
            await self._filled.wait()
            await _set_within(self._urgent, SPACING_S)
            await self._write_group()
        await self._write_group()

    def finish(self) -> None:
        """Let `run` write what is there without delay and return.

        It raises StoreFault if that fails: then the store is behind, and the journal has it all.
        """
        self._closing.set()
        self._urgent.set()
        self._filled.set()

    async def _write_group(self) -> None:
        self._filled.clear()
        if not self._closing.is_set():
            self._urgent.clear()
        if self._unstored.pending.cursor is None:
            return
        group = self._unstored.take()
        await self._persist(lambda: self._store.write(group))
        self._unstored.written()
        self._note_written(group)
        await self._persist(self._store.tidy)

    def _note_written(self, group: Group) -> None:
        assert group.cursor is not None, "an empty group is not written"
        self.progress.advance(group.cursor.tip.sequence)
        self._room.set()

    async def _persist(self, step: Callable[[], None]) -> None:
        """Do one step in a thread, again and again if it fails for a reason that may pass."""
        delay_s = _RETRY_S_FIRST
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(self._threads, step)
            except StoreFault as fault:
                if self._closing.is_set():
                    raise
                _log.error("not stored, tried again in %.1f s: %s", delay_s, fault)
                await _set_within(self._closing, delay_s)
                delay_s = min(2 * delay_s, _RETRY_S_MAX)
            else:
                return


async def _set_within(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, but no longer than so many seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
