"""Kill -9 of reader, proxy and broker, and a client that pauses: watchers miss nothing."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from contracts.changes import Change, Direction
from contracts.coordination import Coordination, Step
from contracts.events import (
    Event,
    StepTaken,
    TransferCompleted,
    TransferFinished,
    TransferStarted,
)
from contracts.money import format_amount
from contracts.partitioning import SlotMap
from tests.system.bank import ACCOUNTS, CLIENTS, Bank, open_accounts
from tests.system.embedded_stack import Stack
from tests.system.test_kill import LOAD_S, STALL_S_MAX
from tests.system.watcher import Watcher

pytestmark = [pytest.mark.server, pytest.mark.faults]

PARTITIONS = 2
WATCHERS = 3
HOLD, RELEASE = Direction.HOLD, Direction.RELEASE
Named = TransferCompleted | TransferStarted | StepTaken | TransferFinished
VICTIMS = ("reader", "proxy", "nats-server", "reader", "proxy")


async def test_watchers_are_told_every_journaled_change_once_and_in_order(stack: Stack) -> None:
    stack.configure(EWALLET_PROXIES="1", EWALLET_PARTITIONS=str(PARTITIONS)).start()
    bank = Bank(stack.url, ways=("choreography", "tcc"))
    watchers = [Watcher(stack.url) for _ in range(WATCHERS)]
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await open_accounts(session, stack.url)
        watching = [asyncio.create_task(each.run()) for each in watchers]
        async with asyncio.timeout(STALL_S_MAX):
            for watcher in watchers:
                await watcher.reach(dict.fromkeys(ACCOUNTS, 1))
        await load_kill_and_pause(stack, bank, session, *watchers[:2])
        ends = await newest_entries(session, stack.url)
        async with asyncio.timeout(STALL_S_MAX):
            for watcher in watchers:
                await watcher.reach(ends)
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    stack.stop()
    journaled = list(changes_of(stack))
    for watcher in watchers:
        check(watcher, journaled)


async def load_kill_and_pause(
    stack: Stack, bank: Bank, session: aiohttp.ClientSession, pausing: Watcher, other: Watcher
) -> None:
    """Kill one process after the other under load.

    Each time one watcher reads nothing until the other was told of a change of every account.
    """
    clients = [asyncio.create_task(bank.run_client(session, n)) for n in range(CLIENTS)]
    for victim in VICTIMS:
        await asyncio.sleep(LOAD_S)
        pausing.reads.clear()
        stack.kill(victim)
        before, places = len(bank.told), dict(pausing.places)
        async with asyncio.timeout(STALL_S_MAX):
            await bank.reach(before + 4 * CLIENTS)
            await other.reach({name: place + 1 for name, place in places.items()})
        untold = [name for name, place in places.items() if pausing.places[name] == place]
        assert len(untold) >= len(places) - 1, "it reads what it waited for, and nothing more"
        pausing.reads.set()
    bank.is_over = True
    await asyncio.gather(*clients)


async def newest_entries(session: aiohttp.ClientSession, url: str) -> dict[str, int]:
    """By account the sequence of its newest entry, once no transfer is under way."""
    async with asyncio.timeout(STALL_S_MAX):
        while True:
            async with session.get(f"{url}/wallet/transfers/unfinished") as response:
                if not (await response.json())["count"]:
                    break
    newest = {}
    for account_id in ACCOUNTS:
        async with session.get(f"{url}/wallet/accounts/{account_id}/entries?limit=1") as response:
            newest[account_id] = (await response.json())["entries"][0]["sequence"]
    return newest


class Fold:
    """What the events of one partition's journal did to its accounts, one after the other."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._posted: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._holds: dict[tuple[str, str], int] = {}

    def take(self, sequence: int, event: Event) -> None:
        match event:
            case TransferCompleted():
                self._post(sequence, event, event.from_account_id, -event.amount_minor)
                self._post(sequence, event, event.to_account_id, event.amount_minor)
            case TransferStarted(coordination=Coordination.CHOREOGRAPHY):
                self._post(sequence, event, event.from_account_id, -event.amount_minor)
            case StepTaken(step=Step.TRY_DEBIT):
                self._holds[event.from_account_id, event.transaction_id] = event.amount_minor
                self._held[event.from_account_id] += event.amount_minor
                self._add(sequence, event, event.from_account_id, event.amount_minor, HOLD)
            case StepTaken(step=Step.CONFIRM_DEBIT):
                self._held[event.from_account_id] -= self._holds.pop(
                    (event.from_account_id, event.transaction_id)
                )
                self._post(sequence, event, event.from_account_id, -event.amount_minor)
            case StepTaken(step=Step.CREDIT | Step.CONFIRM_CREDIT):
                self._post(sequence, event, event.to_account_id, event.amount_minor)
            case TransferFinished(step=Step.REFUND):
                raise AssertionError("all accounts are there, so nothing is refunded")
            case TransferFinished():
                released = self._holds.pop((event.from_account_id, event.transaction_id), 0)
                self._held[event.from_account_id] -= released
                if released:
                    self._add(sequence, event, event.from_account_id, released, RELEASE)
            case _:
                pass

    def _post(self, sequence: int, event: Named, account_id: str, amount: int) -> None:
        self._posted[account_id] += amount
        direction = Direction.CREDIT if amount > 0 else Direction.DEBIT
        self._add(sequence, event, account_id, abs(amount), direction)

    def _add(
        self, sequence: int, event: Named, account_id: str, amount: int, direction: Direction
    ) -> None:
        posted, held = self._posted[account_id], self._held[account_id]
        transaction_id = event.transaction_id
        self.changes.append(
            Change(account_id, sequence, 0, posted, held, transaction_id, amount, direction)
        )


def changes_of(stack: Stack) -> Iterator[Change]:
    """What the journals' events did to accounts."""
    for partition in range(PARTITIONS):
        fold = Fold()
        for sequence, event in enumerate(stack.events(partition), 1):
            fold.take(sequence, event)
        yield from fold.changes


def check(watcher: Watcher, journaled: list[Change]) -> None:
    assert len(watcher.losses) >= VICTIMS.count("proxy"), "each death of the proxy was noticed"
    assert not +watcher.faults, watcher.faults
    slots = SlotMap.even(PARTITIONS)
    directions = set()
    for account_id in ACCOUNTS:
        begun, end = watcher.begun[account_id], watcher.places[account_id]
        expected = [
            shown(each, slots)
            for each in journaled
            if each.account_id == account_id and begun < each.sequence <= end
        ]
        told = [
            {name: getattr(change, name) for name in expected[0]}
            for change in watcher.changes[account_id]
        ]
        assert told == expected
        directions |= {each["direction"] for each in told}
    assert directions >= {"debit", "credit", "hold"}


def shown(change: Change, slots: SlotMap) -> dict[str, Any]:
    """A journaled change as it is told."""
    return {
        "account_id": change.account_id,
        "partition": slots.partition_of(change.account_id),
        "sequence": change.sequence,
        "transaction_id": change.transaction_id,
        "direction": change.direction.name.lower(),
        "amount": format_amount(change.amount_minor, "USD"),
        "balance": format_amount(change.posted_minor, "USD"),
        "held": format_amount(change.held_minor, "USD"),
    }
