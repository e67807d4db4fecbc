"""Clients that never stop asking: each sends its next transfer when it has the last one's answer.

Unlike wrk they remember every single answer, so that an outage can be looked at. They cost more:
their speed is not to be compared with wrk's.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field

import aiohttp
import orjson

from bench.choice import Choice

HOT_ACCOUNTS = 10
ANSWER_SECONDS_MAX = 70
HEADERS = {"Content-Type": "application/json", "Prefer": "wait=60"}
BROKEN = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """One transfer as its client saw it; times are seconds of `time.monotonic`."""

    asked_s: float
    answered_s: float
    status: int
    """BROKEN when the connection broke."""
    crosses: bool
    is_hot: bool
    """One of the HOT_ACCOUNTS hottest accounts took part."""

    @property
    def held_s(self) -> float:
        """How long the client waited."""
        return self.answered_s - self.asked_s


@dataclass
class Clients:
    """A number of clients with one way and one share of transfers between partitions."""

    base_url: str
    choice: Choice
    way: str
    share_percent: int
    seed: int
    answers: list[Answer] = field(default_factory=list)
    is_over: bool = False

    async def run(self, number: int) -> None:
        """Ask until `is_over`, and return when every answer is here."""
        connector = aiohttp.TCPConnector(limit=number)
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        headers = HEADERS | {"Wallet-Coordination": self.way}
        async with aiohttp.ClientSession(
            self.base_url, connector=connector, timeout=timeout, headers=headers
        ) as session:
            await asyncio.gather(*(self._ask_on(session, client) for client in range(number)))

    async def _ask_on(self, session: aiohttp.ClientSession, client: int) -> None:
        chance = random.Random(self.seed * 10_000 + client)  # noqa: S311 - chooses accounts
        count = 0
        while not self.is_over:
            count += 1
            crosses = chance.random() * 100 < self.share_percent
            payer, payee = self.choice.pair(chance, crosses=crosses)
            body = {
                "from_account_id": self.choice.ids[payer],
                "to_account_id": self.choice.ids[payee],
                "amount": f"{chance.randint(100, 999) / 100:.2f}",
                "currency": "USD",
                "transaction_id": f"client-{client}-{count}",
            }
            asked_s = time.monotonic()
            status = await _ask(session, orjson.dumps(body))
            is_hot = min(payer, payee) < HOT_ACCOUNTS
            self.answers.append(Answer(asked_s, time.monotonic(), status, crosses, is_hot))


async def _ask(session: aiohttp.ClientSession, body: bytes) -> int:
    try:
        async with session.post("/wallet/transfer", data=body) as response:
            await response.read()
            return response.status
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return BROKEN
