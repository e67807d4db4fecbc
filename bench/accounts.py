"""The accounts that the load moves money between: their names, their opening, their sum."""

import asyncio
import binascii
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp

from bench.settings import BenchError

SLOTS = 16_384
CURRENCY = "USD"
OVERDRAFT_LIMIT = "1000000.00"
IN_FLIGHT = 64
SETTLE_SECONDS_MAX = 15


def account_ids(number: int) -> list[str]:
    """Return as many names as wanted, all of one length."""
    return [f"account-{index:07}" for index in range(number)]


def by_partition(ids: list[str], partitions: int) -> list[list[str]]:
    """Group accounts as the wallet does: CRC16 hash slots, in equal ranges per partition.

    Computed here from the rule and not by the wallet's own code, as another client would.
    """
    groups: list[list[str]] = [[] for _ in range(partitions)]
    for account_id in ids:
        slot = binascii.crc_hqx(account_id.encode(), 0) % SLOTS
        groups[slot * partitions // SLOTS].append(account_id)
    return groups


def write_accounts(path: Path, groups: list[list[str]]) -> None:
    """Write the file that `transfers.lua` reads: one line of names per partition."""
    path.write_text("".join(" ".join(group) + "\n" for group in groups))


def open_accounts(base_url: str, ids: list[str]) -> None:
    """Open every account; BenchError at the first answer that is not 200 or 201."""

    async def open_one(session: aiohttp.ClientSession, account_id: str) -> None:
        body = {"currency": CURRENCY, "overdraft_limit": OVERDRAFT_LIMIT}
        async with session.put(f"/wallet/accounts/{account_id}", json=body) as answer:
            if answer.status not in {200, 201}:
                text = await answer.text()
                raise BenchError(f"opening {account_id} gave {answer.status}: {text}")

    asyncio.run(_for_each(base_url, ids, open_one))


def check_sum_is_zero(base_url: str, ids: list[str]) -> None:
    """Read every balance: money was moved, none was made or lost. BenchError otherwise.

    Transfers that were in flight when the load stopped may still complete while we read, so a
    wrong sum counts only when it stays wrong.
    """
    deadline = time.monotonic() + SETTLE_SECONDS_MAX
    while (balances := _read_balances(base_url, ids)) and sum(balances) != 0:
        if time.monotonic() > deadline:
            raise BenchError(f"the balances of all accounts sum to {sum(balances)}, not to 0")
    if not any(balances):
        raise BenchError("every balance is 0: no money was moved")


def _read_balances(base_url: str, ids: list[str]) -> list[Decimal]:
    balances: list[Decimal] = []

    async def read_one(session: aiohttp.ClientSession, account_id: str) -> None:
        async with session.get(f"/wallet/accounts/{account_id}") as answer:
            if answer.status != 200:
                raise BenchError(f"reading {account_id} gave {answer.status}")
            balances.append(Decimal((await answer.json())["balance"]))

    asyncio.run(_for_each(base_url, ids, read_one))
    return balances


async def _for_each(
    base_url: str, ids: list[str], act: Callable[[aiohttp.ClientSession, str], Awaitable[None]]
) -> None:
    """Act on every id, a bounded number at a time; the first exception ends it all."""
    asyncio.get_running_loop().set_exception_handler(_report_unless_leaving)
    remaining = iter(ids)

    async def worker() -> None:
        for account_id in remaining:  # shared: each worker takes the next one
            await act(session, account_id)

    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(base_url, connector=connector) as session:
        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def _report_unless_leaving(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Stay silent about the tasks that a signal ended: it is under way to the caller."""
    if not isinstance(context.get("exception"), SystemExit):
        loop.default_exception_handler(context)
