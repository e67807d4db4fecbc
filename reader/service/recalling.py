"""Fetches stored rows before a frame is projected, from a store that is too far for the loop.

An answer to a repeat needs the row of the first outcome. The projection can't wait for it, and must
not be held up for long by a database that is away: what does not come in time is not answered, and
its proxy asks again a second later.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Final

from contracts.events import TransferRepeated
from contracts.frames import EventFrame
from reader.core.rows import NotAtHand, RecordedRow
from reader.core.unstored import Unstored
from reader.ports import StoreFault, StoreReading

_log = logging.getLogger(__name__)

_PATIENCE_S: Final = 0.25


class Recalling:
    """The stored rows that the frame at hand refers to."""

    def __init__(self, unstored: Unstored, stored: StoreReading, threads: Executor) -> None:
        self._unstored = unstored
        self._stored = stored
        self._threads = threads
        self._rows: dict[int, RecordedRow] = {}
        self._is_whole = True
        self._out: asyncio.Future[dict[int, RecordedRow]] | None = None
        """A look-up that was not waited for to its end."""

    def row(self, sequence: int) -> RecordedRow | None:
        """A stored row that the frame refers to. Raise NotAtHand if it could not be fetched."""
        row = self._rows.get(sequence)
        if row is None and not self._is_whole:
            raise NotAtHand
        return row

    async def fetch(self, frame: EventFrame) -> None:
        """Make `row` ready for a frame, or for saying that it is not."""
        self._rows, self._is_whole = {}, True
        if TransferRepeated not in map(type, frame.events):
            return
        sequences = []
        for event in frame.events:
            if isinstance(event, TransferRepeated):
                row = self._unstored.row(event.first_sequence)
                if row is not None:  # kept: it may be stored by the time the frame is projected
                    self._rows[event.first_sequence] = row
                elif event.first_sequence < frame.first_sequence:
                    sequences.append(event.first_sequence)
        if sequences:
            await self._fetch(sequences)

    async def _fetch(self, sequences: Sequence[int]) -> None:
        self._is_whole = False
        if self._out is not None and not self._out.done():
            return
        loop = asyncio.get_running_loop()
        self._out = loop.run_in_executor(self._threads, self._stored.rows, sequences)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                self._rows |= await asyncio.shield(self._out)
        except TimeoutError:
            self._out.add_done_callback(_forget)
            _log.warning("%s repeats not answered: the store is slow", len(sequences))
        except StoreFault as fault:
            _log.warning("%s repeats not answered: %s", len(sequences), fault)
        else:
            self._is_whole = True


def _forget(late: asyncio.Future[dict[int, RecordedRow]]) -> None:
    """Take what came too late, so that its error counts as seen."""
    if not late.cancelled():
        late.exception()
