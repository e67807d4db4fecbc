"""Kill -9 in the middle of transfers between partitions, by all four ways at once.

The writer hosts the partitions and the coordinator: both die. Every transfer ends, once, both sides
agree on how, and money is conserved.
"""

from collections import Counter
from typing import Any

import aiohttp
import pytest

from contracts.coordination import COORDINATION_NAMES, Coordination, Step
from contracts.events import (
    EpochOpened,
    Event,
    StepTaken,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferStarted,
)
from tests.system.bank import ACCOUNTS, CLIENTS, Bank, minor, read_model
from tests.system.embedded_stack import Stack
from tests.system.test_kill import load_and_kill

pytestmark = [pytest.mark.server, pytest.mark.faults]

PARTITIONS = 4
ROUNDS_MAX = 4
"""Kills may all fall between two transfers."""
WAYS = [name for way, name in COORDINATION_NAMES.items() if way is not Coordination.NONE]
RECEIVING = (Step.CREDIT, Step.CONFIRM_CREDIT, Step.COMMIT_CREDIT)

Name = tuple[str, str]


@pytest.mark.parametrize(("victim", "writers"), [("writer", 1), ("writer", 3), ("nats-server", 1)])
async def test_kill_9_between_partitions_loses_and_doubles_nothing(
    stack: Stack, victim: str, writers: int
) -> None:
    stack.configure(
        EWALLET_PROXIES="2", EWALLET_PARTITIONS=str(PARTITIONS), EWALLET_WRITERS=str(writers)
    )
    bank = Bank("", tuple(WAYS))
    for number in range(ROUNDS_MAX):
        bank.prefix, bank.is_over = f"t{number}", False
        shown = await killed_under_load(stack, bank, victim)
        journals = [stack.events(partition) for partition in range(PARTITIONS)]
        if sum(map(survivors, journals)) > 0:
            break
    else:
        pytest.fail("nothing was ever under way when it died")
    assert not bank.errors, "a failover looks like latency, not like errors"
    outcomes = check_outcomes(journals)
    assert set(outcomes) == set(bank.told)
    for name, completed in outcomes.items():
        told, recorded = bank.told[name], shown[" ".join(name)]
        assert completed == (told["http"] == 201) == (recorded["status"] == "completed")
        assert (
            told["coordination" if completed else "code"]
            == recorded["coordination" if completed else "code"]
        )
    balances = check_sides(journals, outcomes)
    assert sum(balances.values()) == 0
    for account_id in ACCOUNTS:
        assert minor(shown[account_id]["balance"]) == balances[account_id]
        assert minor(shown[account_id]["held"]) == 0


async def killed_under_load(stack: Stack, bank: Bank, victim: str) -> dict[str, dict[str, Any]]:
    """Run the wallet for a while; give what its read model showed when all had ended."""
    bank.url = stack.start().url
    timeout = aiohttp.ClientTimeout(total=30)
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await load_and_kill(stack, bank, session, victim)
        shown = await read_model(session, stack.url, bank)
        async with session.get(f"{stack.url}/wallet/transfers/unfinished") as response:
            assert (await response.json())["count"] == 0
    stack.stop()
    return shown


def check_outcomes(journals: list[list[Event]]) -> dict[Name, bool]:
    """Whether each transfer was completed; each has one outcome in the payer's journal."""
    outcomes: dict[Name, bool] = {}
    for event in (event for journal in journals for event in journal):
        if isinstance(event, TransferCompleted | TransferFinished | TransferRejected):
            name = event.from_account_id, event.transaction_id
            assert name not in outcomes
            outcomes[name] = getattr(event, "reason", None) is None
    return outcomes


def check_sides(journals: list[list[Event]], outcomes: dict[Name, bool]) -> Counter[str]:
    """Balances by what payees received: once for a completed transfer, never for another."""
    received: Counter[Name] = Counter()
    balances: Counter[str] = Counter()
    for event in (event for journal in journals for event in journal):
        is_received = isinstance(event, StepTaken) and event.step in RECEIVING
        if isinstance(event, TransferCompleted) or is_received:
            assert isinstance(event, TransferCompleted | StepTaken)
            received[event.from_account_id, event.transaction_id] += 1
            balances[event.from_account_id] -= event.amount_minor
            balances[event.to_account_id] += event.amount_minor
    assert received == Counter({name: 1 for name, completed in outcomes.items() if completed})
    return balances


def survivors(journal: list[Event]) -> int:
    """Transfers that were started in one epoch and finished in a later one."""
    epoch, started, count = 0, dict[Name, int](), 0
    for event in journal:
        if isinstance(event, EpochOpened):
            epoch += 1
        elif isinstance(event, TransferStarted):
            started[event.from_account_id, event.transaction_id] = epoch
        elif isinstance(event, TransferFinished):
            count += started[event.from_account_id, event.transaction_id] < epoch
    return count
