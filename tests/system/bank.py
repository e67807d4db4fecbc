"""Clients of the embedded wallet under load, and what they were told."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

ACCOUNTS = [f"user-{number}" for number in range(20)]
CLIENTS = 24
RETRY_S = 0.05


@dataclass
class Bank:
    """Clients that repeat each transfer until they know its outcome, and what they were told."""

    url: str
    ways: tuple[str, ...] = ("choreography",)
    """Asked for in turn."""
    prefix: str = "t"
    """Of transaction ids: another one for each load on the same wallet."""
    told: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False

    async def reach(self, count: int) -> None:
        """Return when so many outcomes are known."""
        while len(self.told) < count:
            self.more.clear()
            await self.more.wait()

    async def run_client(self, session: aiohttp.ClientSession, number: int) -> None:
        chance = random.Random(number)  # chooses accounts
        count = 0
        while not self.is_over:
            count += 1
            payer, payee = chance.sample(ACCOUNTS, 2)
            body = {
                "from_account_id": payer,
                "to_account_id": payee,
                "amount": f"{chance.randint(1, 9)}.00",
                "currency": "USD",
                "transaction_id": f"{self.prefix}-{number}-{count}",
            }
            way = self.ways[count % len(self.ways)]
            outcome = await self.transfer(session, body, way)
            self.told[payer, body["transaction_id"]] = outcome
            self.more.set()

    async def transfer(
        self, session: aiohttp.ClientSession, body: dict[str, Any], way: str
    ) -> dict[str, Any]:
        url, headers = f"{self.url}/wallet/transfer", {"Wallet-Coordination": way}
        while True:
            try:
                async with session.post(url, json=body, headers=headers) as response:
                    if response.status in (201, 422):
                        answer: dict[str, Any] = await response.json(content_type=None)
                        return answer | {"http": response.status}
                    self.errors[str(response.status)] += 1
            except (aiohttp.ClientError, ConnectionError) as error:
                self.errors[type(error).__name__] += 1
            await asyncio.sleep(RETRY_S)


async def open_accounts(session: aiohttp.ClientSession, url: str) -> None:
    for account_id in ACCOUNTS:
        account = {"currency": "USD", "overdraft_limit": "20.00"}
        async with session.put(f"{url}/wallet/accounts/{account_id}", json=account) as response:
            assert response.status == 201, await response.text()


async def read_model(
    session: aiohttp.ClientSession, url: str, bank: Bank
) -> dict[str, dict[str, Any]]:
    """Balances, and the outcome of every transfer, as the API shows them."""
    shown: dict[str, dict[str, Any]] = {}
    for account_id in ACCOUNTS:
        async with session.get(f"{url}/wallet/accounts/{account_id}") as response:
            shown[account_id] = await response.json()
    names = iter(list(bank.told))

    async def ask() -> None:
        for payer, transaction_id in names:
            path = f"/wallet/accounts/{payer}/transfers/{transaction_id}"
            async with session.get(f"{url}{path}") as response:
                assert response.status == 200, path
                shown[f"{payer} {transaction_id}"] = await response.json()

    async with asyncio.TaskGroup() as asking:
        for _ in range(CLIENTS):
            asking.create_task(ask())
    return shown


def minor(dollars: str) -> int:
    return int(dollars.replace(".", ""))
