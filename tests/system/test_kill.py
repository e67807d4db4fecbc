"""Kill -9 of any one process under load: nothing is lost, nothing is done twice."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from contracts.events import AccountOpened, Event, TransferCompleted, TransferRejected
from tests.system.embedded_stack import Stack

pytestmark = [pytest.mark.server, pytest.mark.faults]

ACCOUNTS = [f"user-{number}" for number in range(20)]
CLIENTS = 24
KILLS = 4
LOAD_S = 1.2
"""Between one kill and the next."""
RETRY_S = 0.05
STALL_S_MAX = 30.0
"""Only to end a test that hangs; how long stalls are is measured elsewhere."""


@dataclass
class Bank:
    """Clients that repeat each transfer until they know its outcome, and what they were told."""

    url: str
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
        chance = random.Random(number)  # noqa: S311  # chooses accounts
        count = 0
        while not self.is_over:
            count += 1
            payer, payee = chance.sample(ACCOUNTS, 2)
            body = {
                "from_account_id": payer,
                "to_account_id": payee,
                "amount": f"{chance.randint(1, 9)}.00",
                "currency": "USD",
                "transaction_id": f"t-{number}-{count}",
            }
            outcome = await self.transfer(session, body)
            self.told[payer, body["transaction_id"]] = outcome
            self.more.set()

    async def transfer(
        self, session: aiohttp.ClientSession, body: dict[str, Any]
    ) -> dict[str, Any]:
        while True:
            try:
                async with session.post(f"{self.url}/wallet/transfer", json=body) as response:
                    if response.status in (201, 422):
                        answer: dict[str, Any] = await response.json(content_type=None)
                        return answer | {"http": response.status}
                    self.errors[str(response.status)] += 1
            except (aiohttp.ClientError, ConnectionError) as error:
                self.errors[type(error).__name__] += 1
            await asyncio.sleep(RETRY_S)


@pytest.mark.parametrize("victim", ["writer", "reader", "proxy", "nats-server"])
async def test_kill_9_under_load_loses_and_doubles_nothing(stack: Stack, victim: str) -> None:
    stack.configure(EWALLET_PROXIES="2").start()
    bank = Bank(stack.url)
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await open_accounts(session, stack.url)
        clients = [asyncio.create_task(bank.run_client(session, n)) for n in range(CLIENTS)]
        for _ in range(KILLS):
            before = len(bank.told)
            await asyncio.sleep(LOAD_S)
            stack.kill(victim)
            async with asyncio.timeout(STALL_S_MAX):
                await bank.reach(before + CLIENTS)
        bank.is_over = True
        await asyncio.gather(*clients)
        shown = await read_model(session, stack.url, bank)
    stack.stop()
    check(stack.events(), bank, shown)
    if victim != "proxy":
        assert not bank.errors, "a failover looks like latency, not like errors"


async def open_accounts(session: aiohttp.ClientSession, url: str) -> None:
    for account_id in ACCOUNTS:
        account = {"currency": "USD", "overdraft_limit": "20.00"}
        async with session.put(f"{url}/wallet/accounts/{account_id}", json=account) as response:
            assert response.status == 201


async def read_model(
    session: aiohttp.ClientSession, url: str, bank: Bank
) -> dict[str, dict[str, Any]]:
    """Balances, and the outcome of every transfer, as the API shows them."""
    shown: dict[str, dict[str, Any]] = {}
    for account_id in ACCOUNTS:
        async with session.get(f"{url}/wallet/accounts/{account_id}") as response:
            shown[account_id] = await response.json()
    for payer, transaction_id in bank.told:
        path = f"/wallet/accounts/{payer}/transfers/{transaction_id}"
        async with session.get(f"{url}{path}") as response:
            assert response.status == 200, path
            shown[f"{payer} {transaction_id}"] = await response.json()
    return shown


def check(events: list[Event], bank: Bank, shown: dict[str, dict[str, Any]]) -> None:
    done: Counter[tuple[str, str]] = Counter()
    balance: Counter[str] = Counter()
    after: dict[tuple[str, str], tuple[int, int]] = {}
    refused: set[tuple[str, str]] = set()
    for sequence, event in enumerate(events, 1):
        if isinstance(event, TransferCompleted):
            name = event.from_account_id, event.transaction_id
            done[name] += 1
            balance[event.from_account_id] -= event.amount_minor
            balance[event.to_account_id] += event.amount_minor
            after[name] = sequence, balance[event.from_account_id]
        if isinstance(event, TransferRejected):
            refused.add((event.from_account_id, event.transaction_id))
    assert sum(isinstance(event, AccountOpened) for event in events) == len(ACCOUNTS)
    assert max(done.values()) == 1
    assert accepted(bank) == set(done), "every 201 is in the journal, and nothing else"
    assert set(bank.told) - accepted(bank) == refused, "so is every refusal"
    for name in done:
        told, recorded = bank.told[name], shown[" ".join(name)]
        assert (told["sequence"], minor(told["balance"])) == after[name]
        assert (recorded["status"], recorded["sequence"]) == ("completed", told["sequence"])
        assert recorded["balance"] == told["balance"]
    for account_id in ACCOUNTS:
        assert minor(shown[account_id]["balance"]) == balance[account_id]


def accepted(bank: Bank) -> set[tuple[str, str]]:
    return {name for name, told in bank.told.items() if told["http"] == 201}


def minor(dollars: str) -> int:
    return int(dollars.replace(".", ""))
