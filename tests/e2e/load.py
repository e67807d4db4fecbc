"""Clients of the cluster, and what they were told and how long they had to wait for it."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.system.bank import Bank

CLIENTS: Final = 8
PAUSE_S: Final = 0.05
"""Between a client's transfers: the load is there to be disturbed, not to fill the machine."""
WAYS: Final = ("choreography", "orchestration", "tcc", "2pc")
REQUEST_S_MAX: Final = 90.0


@dataclass
class PacedBank(Bank):
    """The clients of all tests of one cluster: each outcome that anybody was ever told is kept."""

    ways: tuple[str, ...] = WAYS
    sent: dict[tuple[str, str], tuple[dict[str, Any], str]] = field(default_factory=dict)
    """Each transfer as it was sent: its body and its way."""
    loads: int = 0
    longest_s: float = 0.0
    """The longest that a client had to wait, repeats included, in the present load."""

    def begin(self) -> None:
        """Begin another load."""
        self.loads += 1
        self.prefix = f"load{self.loads}"
        self.longest_s = 0.0
        self.errors = Counter()
        self.is_over = False
        self.more = asyncio.Event()  # each test has a loop of its own

    def told_in_this_load(self) -> set[tuple[str, str]]:
        """The payers and transaction ids whose outcome is known."""
        return {name for name in self.told if name[1].startswith(f"{self.prefix}-")}

    async def transfer(
        self, session: aiohttp.ClientSession, body: dict[str, Any], way: str
    ) -> dict[str, Any]:
        """Send until the outcome is known, as a client does that wants to know."""
        self.sent[body["from_account_id"], body["transaction_id"]] = body, way
        await asyncio.sleep(PAUSE_S)
        started_s = time.monotonic()
        outcome = await super().transfer(session, body, way)
        self.longest_s = max(self.longest_s, time.monotonic() - started_s)
        return outcome


@dataclass
class Load:
    """Clients at work, from `loaded`."""

    bank: PacedBank
    clients: int

    async def settle(self) -> None:
        """Return when each client may have asked for something only now, and been answered."""
        await self.bank.reach(len(self.bank.told) + 3 * self.clients)


@asynccontextmanager
async def loaded(bank: PacedBank, session: aiohttp.ClientSession) -> AsyncIterator[Load]:
    """Let clients work; at the end each brings its present transfer to an outcome."""
    bank.begin()
    clients = [asyncio.create_task(bank.run_client(session, n)) for n in range(CLIENTS)]
    try:
        load = Load(bank, CLIENTS)
        await load.settle()
        yield load
        bank.is_over = True
        await asyncio.gather(*clients)
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


@asynccontextmanager
async def connected() -> AsyncIterator[aiohttp.ClientSession]:
    """A session of patient clients."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_S_MAX)
    connector = aiohttp.TCPConnector(limit=2 * CLIENTS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield session
