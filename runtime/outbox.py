"""Gathers messages by destination, so that those of one turn of the event loop leave together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

D = TypeVar("D")
M = TypeVar("M")


class Outbox(Generic[D, M]):
    """Messages that are on their way out. Its owner says how they are sent, and bounds them."""

    def __init__(self) -> None:
        self._unsent: dict[D, list[M]] = {}
        self._filled = asyncio.Event()

    def add(self, destination: D, messages: Iterable[M]) -> None:
        """Let messages leave at the end of this turn, behind those that were added before."""
        self._unsent.setdefault(destination, []).extend(messages)
        self._filled.set()

    async def run(self, send: Callable[[D, list[M]], Awaitable[None]]) -> None:
        """Send to one destination after the other until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            unsent, self._unsent = self._unsent, {}
            for destination, messages in unsent.items():
                await send(destination, messages)
