"""What clients were told, held against what the API shows: everything is there, and once."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable
from typing import Any, Final

import aiohttp

from tests.e2e.load import CLIENTS, PacedBank
from tests.system.bank import ACCOUNTS, minor

PAGE: Final = 500
REPEATS: Final = 200
"""Transfers of a load that are sent once more."""

Name = tuple[str, str]
"""Payer and transaction id."""


async def check(session: aiohttp.ClientSession, bank: PacedBank) -> None:
    """Check every account, and each transfer of the present load."""
    entries = {account: await statement(session, bank.url, account) for account in ACCOUNTS}
    check_statements(entries, bank.told)
    await check_balances(session, bank.url, entries)
    new = sorted(bank.told_in_this_load())
    await few_at_a_time(check_recorded(session, bank, name) for name in new)
    await few_at_a_time(check_repeat(session, bank, name) for name in new[-REPEATS:])


def check_statements(entries: dict[str, list[dict[str, Any]]], told: dict[Name, Any]) -> None:
    """Every transfer that was told as done is one debit and one credit, and nothing else is.

    Nothing is refunded in these loads: a payer without funds is refused before any debit.
    """
    moved: dict[str, Counter[Name]] = {"debit": Counter(), "credit": Counter()}
    for account, lines in entries.items():
        for line in lines:
            payer = account if line["direction"] == "debit" else line["counterparty_id"]
            moved[line["direction"]][payer, line["transaction_id"]] += 1
    accepted = Counter(name for name, answer in told.items() if answer["http"] == 201)
    assert moved["debit"] == accepted
    assert moved["credit"] == accepted


async def check_balances(
    session: aiohttp.ClientSession, url: str, entries: dict[str, list[dict[str, Any]]]
) -> None:
    """Each balance is the sum of its account's entries, and all together are 0."""
    total = 0
    for account, lines in entries.items():
        shown = minor((await get(session, f"{url}/wallet/accounts/{account}"))["balance"])
        signs = {"debit": -1, "credit": 1}
        assert shown == sum(signs[line["direction"]] * minor(line["amount"]) for line in lines)
        total += shown
    assert total == 0


async def check_recorded(session: aiohttp.ClientSession, bank: PacedBank, name: Name) -> None:
    """The wallet's record of a transfer says what its client was told."""
    payer, transaction_id = name
    told = bank.told[name]
    path = f"/wallet/accounts/{payer}/transfers/{transaction_id}"
    recorded = await get(session, f"{bank.url}{path}")
    if told["http"] == 201:
        assert recorded["status"] == "completed"
        for member in ("balance", "sequence", "partition", "completed_at"):
            assert recorded[member] == told[member]
    else:
        assert recorded["status"] == "rejected"


async def check_repeat(session: aiohttp.ClientSession, bank: PacedBank, name: Name) -> None:
    """A transfer that is sent again gets the first answer again."""
    body, way = bank.sent[name]
    again = await bank.transfer(session, body, way)
    assert again == bank.told[name]


async def statement(session: aiohttp.ClientSession, url: str, account: str) -> list[dict[str, Any]]:
    """All entries of an account, newest first."""
    lines: list[dict[str, Any]] = []
    following = ""
    while True:
        path = f"/wallet/accounts/{account}/entries?limit={PAGE}{following}"
        page = await get(session, f"{url}{path}")
        lines += page["entries"]
        if page["next_page_token"] is None:
            return lines
        following = f"&page_token={page['next_page_token']}"


async def get(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """A document that must be there."""
    async with session.get(url) as response:
        assert response.status == 200, f"{url}: {response.status} {await response.text()}"
        document: dict[str, Any] = await response.json()
        return document


async def few_at_a_time(checks: Iterable[Awaitable[None]]) -> None:
    """Await all; as many at a time as there are clients."""
    room = asyncio.Semaphore(CLIENTS)

    async def one(check: Awaitable[None]) -> None:
        async with room:
            await check

    await asyncio.gather(*map(one, checks))
