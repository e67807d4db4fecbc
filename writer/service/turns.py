"""Lets the parties of one process append together: their frames leave in one turn.

Whoever has something to append while frames of others are out waits until all of them have landed,
and leaves with them. Steps between the parties then come while there is time for them to be in the
next frame, and what one write brings to the broker, its followers take in one read.
"""

import asyncio
from typing import Final

TURN_S_MAX: Final = 0.02
"""A frame that is out for longer is waited for no more: a journal that stalls must not hold up the
other parties, but for one turn."""


class Turns:
    """The turns of one process: open from when nothing is waited for until the first frame left."""

    def __init__(self) -> None:
        self._out = set[asyncio.Future[int]]()
        """The frames that the next turn waits for."""
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._timer: asyncio.TimerHandle | None = None
        """Runs while no turn is open."""

    async def join(self) -> None:
        """Return when a turn is open."""
        await self._is_open.wait()

    def sent(self, acknowledged: asyncio.Future[int]) -> None:
        """A frame is out; it has landed when its future is done, in whichever way."""
        self._out.add(acknowledged)
        acknowledged.add_done_callback(self._landed)
        # Not now: whoever is woken in this very turn of the event loop leaves too.
        asyncio.get_running_loop().call_soon(self._close)

    def _landed(self, acknowledged: asyncio.Future[int]) -> None:
        self._out.discard(acknowledged)
        if not self._out:
            self._open()

    def _open(self) -> None:
        self._out.clear()
        self._is_open.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if self._out and self._is_open.is_set():
            self._is_open.clear()
            self._timer = asyncio.get_running_loop().call_later(TURN_S_MAX, self._open)
