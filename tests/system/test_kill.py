"""Kill -9 of any one process under load: nothing is lost, nothing is done twice."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest

from contracts.events import AccountOpened, Event, TransferCompleted, TransferRejected
from tests.system.bank import ACCOUNTS, CLIENTS, Bank, minor, open_accounts, read_model
from tests.system.embedded_stack import Stack

pytestmark = [pytest.mark.server, pytest.mark.faults]

KILLS = 4
LOAD_S = 1.2
"""Between one kill and the next."""
STALL_S_MAX = 30.0
"""Only to end a test that hangs; how long stalls are is measured elsewhere."""


@pytest.mark.parametrize(
    ("victim", "writers"),
    [("writer", 1), ("writer", 2), ("reader", 1), ("proxy", 1), ("nats-server", 2)],
)
async def test_kill_9_under_load_loses_and_doubles_nothing(
    stack: Stack, victim: str, writers: int
) -> None:
    stack.configure(EWALLET_PROXIES="2", EWALLET_WRITERS=str(writers)).start()
    bank = Bank(stack.url)
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await load_and_kill(stack, bank, session, victim)
        shown = await read_model(session, stack.url, bank)
    stack.stop()
    check(stack.events(), bank, shown)
    if victim != "proxy":
        assert not bank.errors, "a failover looks like latency, not like errors"


async def load_and_kill(
    stack: Stack, bank: Bank, session: aiohttp.ClientSession, victim: str
) -> None:
    """Kill a process again and again in the middle of a load, and let the load come to its end."""
    await open_accounts(session, stack.url)
    clients = [asyncio.create_task(bank.run_client(session, n)) for n in range(CLIENTS)]
    for _ in range(KILLS):
        await asyncio.sleep(LOAD_S)
        stack.kill(victim)
        before = len(bank.told)
        async with asyncio.timeout(STALL_S_MAX):
            await bank.reach(before + CLIENTS)
    bank.is_over = True
    await asyncio.gather(*clients)


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
