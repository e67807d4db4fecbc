"""A client that watches a bank's accounts, comes back whenever it is cut off, and remembers."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from ewallet.client import WalletClient
from ewallet.live_documents import AccountChanged, AccountStands, News
from tests.system.bank import ACCOUNTS

OUTAGE_S_MAX = 60.0
"""Only to end a test that hangs."""


@dataclass
class Watcher:
    """What it was told, in the order in which it was."""

    url: str
    begun: dict[str, int] = field(default_factory=dict)
    """By account the sequence of the first state."""
    places: dict[str, int] = field(default_factory=dict)
    """By account the last sequence that it was told."""
    changes: dict[str, list[AccountChanged]] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    """Why it was cut off, each time."""
    faults: Counter[str] = field(default_factory=Counter)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: it leaves unread what comes."""
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Watch until cancelled."""
        self.reads.set()
        async with (
            WalletClient(self.url, timeout_s=OUTAGE_S_MAX) as client,
            client.subscribe(*ACCOUNTS, on_loss=self.losses.append) as live,
        ):
            async for news in live:
                self._take(news)
                await self.reads.wait()

    async def reach(self, places: dict[str, int]) -> None:
        """Return when it was told of all accounts as far as these sequences."""
        while any(self.places.get(name, 0) < at for name, at in places.items()):
            self.more.clear()
            await self.more.wait()

    def _take(self, news: News) -> None:
        account_id, sequence = news.account_id, news.sequence
        self.faults["conflated"] += news.conflated
        self.faults["out of order"] += sequence < self.places.get(account_id, 0)
        match news:
            case AccountChanged():
                self.faults["twice"] += sequence == self.places[account_id]
                self.changes.setdefault(account_id, []).append(news)
            case AccountStands():
                # A state that its changes don't lead to is the client's way to show a loss.
                self.faults["state again"] += account_id in self.begun
        self.begun.setdefault(account_id, sequence)
        self.places[account_id] = sequence
        self.more.set()
