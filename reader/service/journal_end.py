"""Where a journal ends, for the many who want to know at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from broker.port import BrokerFault

_log = logging.getLogger(__name__)

JOURNAL_END_S: Final = 0.5
"""How long the journal's leader may take to say where it ends. Where there is none, what is known
here counts: who asks about accounts that are there would wait for as long."""


class JournalEnd:
    """Asks one question at a time.

    Who comes while one is out shares the next: what this one brings may be older than who comes.
    """

    def __init__(self, partition: int, ask: Callable[[], Awaitable[int]]) -> None:
        self._partition = partition
        self._ask = ask
        self._asking = asyncio.Lock()
        self._begun = 0
        self._answered = 0
        """The newest question of which something came."""
        self._end: int | None = None
        """What came of it."""

    async def now(self) -> int | None:
        """The last stream sequence at this moment or later; None if nobody says it in time."""
        begun = self._begun
        async with self._asking:
            if self._answered <= begun:
                self._begun += 1
                self._end = await self._asked()
                self._answered = self._begun
            return self._end

    async def _asked(self) -> int | None:
        try:
            async with asyncio.timeout(JOURNAL_END_S):
                return await self._ask()
        except (TimeoutError, BrokerFault) as fault:
            _log.warning("partition %s: its end is not known: %r", self._partition, fault)
            return None
