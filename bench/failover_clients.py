"""Clients that pay and clients that read, each starting at a steady rate whatever became of others.

Each asks until it has an outcome, and remembers how long that took. Those that read what they were
told name the sequence that came with a transfer's outcome (`min_sequence`).
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from bench import accounts
from bench.choice import Choice

TRANSFER: Final = "transfer"
READ: Final = "read"
READ_OF_TOLD: Final = "read of what was told"
RATES_PER_S: Final = {TRANSFER: 200, READ: 50, READ_OF_TOLD: 50}
"""Of each kind, far below what the machine can do."""
KINDS: Final = tuple(RATES_PER_S)
BROKEN: Final = "connection broken"
RETRY_S: Final = 0.02
_OUTCOMES: Final = frozenset({200, 201, 422})


@dataclass(frozen=True, slots=True)
class Waited:
    """One transfer or read as its client saw it; seconds of `time.monotonic`."""

    kind: str
    asked_s: float
    known_s: float
    met: tuple[str, ...] = ()
    """What was not an outcome: broken connections, statuses."""


class Clients:
    """Start something of each kind at its rate and ask until it has an outcome.

    Outcomes that are neither done nor refused by a rule, as a 202, are asked for again.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._chance = random.Random(1)  # noqa: S311 - chooses accounts
        self._told: tuple[str, int] = (choice.ids[0], 0)
        """The payer of the last transfer that was done, and its sequence."""
        self.waited: list[Waited] = []
        self.is_over = False

    async def run(self, base_url: str) -> None:
        """Go on until `is_over`, and return when everything has an outcome."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(base_url, connector=connector) as session,
            asyncio.TaskGroup() as asking,
        ):
            starts = {TRANSFER: self._pay, READ: self._read, READ_OF_TOLD: self._read_told}
            for kind, start in starts.items():
                asking.create_task(self._steadily(asking, session, start, RATES_PER_S[kind]))

    async def _steadily(
        self,
        asking: asyncio.TaskGroup,
        session: aiohttp.ClientSession,
        start: Callable[[aiohttp.ClientSession, int], Coroutine[None, None, None]],
        rate_per_s: int,
    ) -> None:
        start_s, count = time.monotonic(), 0
        while not self.is_over:
            asking.create_task(start(session, count))
            count += 1
            await asyncio.sleep(max(0, start_s + count / rate_per_s - time.monotonic()))

    async def _pay(self, session: aiohttp.ClientSession, number: int) -> None:
        crosses = self._chance.random() < 0.5  # as often as not
        payer, payee = self._choice.pair(self._chance, crosses=crosses)
        body = {
            "from_account_id": self._choice.ids[payer],
            "to_account_id": self._choice.ids[payee],
            "amount": "1.00",
            "currency": accounts.CURRENCY,
            "transaction_id": f"failover-{number}",
        }
        told = await self._outcome(TRANSFER, session, "POST", "/wallet/transfer", json=body)
        if told["status"] == "completed":
            self._told = body["from_account_id"], told["sequence"]

    async def _read(self, session: aiohttp.ClientSession, _: int) -> None:
        account_id = self._choice.ids[self._choice.pick(self._chance)]
        await self._outcome(READ, session, "GET", f"/wallet/accounts/{account_id}")

    async def _read_told(self, session: aiohttp.ClientSession, _: int) -> None:
        account_id, sequence = self._told
        path = f"/wallet/accounts/{account_id}"
        params = {"min_sequence": sequence}
        await self._outcome(READ_OF_TOLD, session, "GET", path, params=params)

    async def _outcome(
        self, kind: str, session: aiohttp.ClientSession, method: str, path: str, **what: Any
    ) -> dict[str, Any]:
        asked_s, met = time.monotonic(), list[str]()
        while isinstance(answer := await _answer(session, method, path, **what), str):
            met.append(answer)
            await asyncio.sleep(RETRY_S)
        self.waited.append(Waited(kind, asked_s, time.monotonic(), tuple(met)))
        return answer


async def _answer(
    session: aiohttp.ClientSession, method: str, path: str, **what: Any
) -> dict[str, Any] | str:
    """The outcome, or what came instead."""
    try:
        async with session.request(method, path, **what) as response:
            outcome: dict[str, Any] = await response.json(content_type=None)
            return outcome if response.status in _OUTCOMES else str(response.status)
    except (aiohttp.ClientError, ConnectionError):
        return BROKEN
