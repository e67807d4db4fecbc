"""What clients were told, held against what the API shows: everything is there, and once."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Final

import aiohttp

from tests.e2e.history import Line, Statement, Told, Transfer
from tests.e2e.load import CLIENTS, Name, PacedBank
from tests.e2e.order import violations
from tests.system.bank import ACCOUNTS, RETRY_S, minor

PAGE: Final = 500
REPEATS: Final = 200
"""Transfers of a load that are sent once more."""
SHOWN_MAX: Final = 20
WAITING: Final = {"Prefer": "wait=10"}
"""For a record that the reader which is asked may not have yet."""
RECORD_S_MAX: Final = 120.0
"""Only to end an audit that hangs."""


async def check(session: aiohttp.ClientSession, bank: PacedBank) -> None:
    """Check every account, and each transfer of the present load."""
    await check_load(session, bank)
    assert bank.cost.lost == 0
    await check_order(session, bank)


async def check_load(session: aiohttp.ClientSession, bank: PacedBank) -> None:
    """Send again what clients left, and count what is not recorded as its client was told."""
    await few_at_a_time(find_out(session, bank, transfer) for transfer in bank.left)
    new = sorted(bank.told_in_this_load())
    await few_at_a_time(check_recorded(session, bank, name) for name in new)
    await few_at_a_time(check_repeat(session, bank, name) for name in new[-REPEATS:])
    bank.cost.resolved = len(bank.unsure & bank.verified)
    open_ended = sorted(bank.unsure - bank.verified)
    assert not open_ended, f"{open_ended}: their outcome is not known; {dict(bank.errors)}"


async def check_order(session: aiohttp.ClientSession, bank: PacedBank) -> None:
    """All that was ever told fits one order that real time agrees with, and money was kept."""
    for account in ACCOUNTS:
        bank.history.statements[account] = await whole_statement(session, bank, account)
    found = violations(bank.history)
    assert not found, "\n".join([f"{len(found)} violations", *found[:SHOWN_MAX]])
    total = 0
    for account, each in bank.history.statements.items():
        shown = minor((await get(session, f"{bank.url}/wallet/accounts/{account}"))["balance"])
        assert shown == (each.lines[-1].balance_minor if each.lines else 0)
        total += shown
    assert total == 0


async def find_out(session: aiohttp.ClientSession, bank: PacedBank, transfer: Transfer) -> None:
    """Send a transfer again that its client left: it gets the outcome that it has, or one now."""
    body, way = bank.sent[transfer.name]
    async with asyncio.timeout(RECORD_S_MAX):
        outcome = await bank.repeat(session, body, way)
    bank.note(transfer, outcome)
    bank.told[transfer.name] = outcome


async def find_record(
    session: aiohttp.ClientSession, bank: PacedBank, name: Name
) -> dict[str, Any] | None:
    """A transfer's record, None if there is none; asked for again while no reader answers."""
    path = f"/wallet/accounts/{name[0]}/transfers/{name[1]}"
    async with asyncio.timeout(RECORD_S_MAX):
        while True:
            async with session.get(f"{bank.url}{path}", headers=WAITING) as response:
                if response.status in (200, 404):
                    record: dict[str, Any] = await response.json(content_type=None)
                    return record if response.status == 200 else None
            await asyncio.sleep(RETRY_S)


def told_by(record: dict[str, Any]) -> Told:
    """What a finished transfer's record says of its outcome."""
    is_accepted = record["status"] == "completed"
    return Told(
        is_accepted=is_accepted,
        partition=record["partition"],
        sequence=record["sequence"],
        balance_minor=minor(record["balance"]) if is_accepted else 0,
        reason="" if is_accepted else record["code"],
    )


async def check_recorded(session: aiohttp.ClientSession, bank: PacedBank, name: Name) -> None:
    """The wallet's record of a transfer says what its client was told."""
    told = bank.told[name]
    recorded = await find_record(session, bank, name) or {}
    if told["http"] == 201:
        members = ("status", "balance", "sequence", "partition", "completed_at")
        is_kept = all(recorded.get(member) == told[member] for member in members)
    else:
        is_kept = (recorded.get("status"), recorded.get("code")) == ("rejected", told["code"])
        if is_kept:  # the answer names no sequence
            bank.history.transfers[name].told = told_by(recorded)
    if is_kept:
        bank.verified.add(name)
    else:
        bank.cost.lost += 1
        bank.errors[f"lost {name}: told {told}, recorded {recorded}"] += 1


async def check_repeat(session: aiohttp.ClientSession, bank: PacedBank, name: Name) -> None:
    """A transfer that is sent again gets the first answer again."""
    body, way = bank.sent[name]
    again = await bank.repeat(session, body, way)
    assert again == bank.told[name]


async def whole_statement(
    session: aiohttp.ClientSession, bank: PacedBank, account: str
) -> Statement:
    """An account's statement, no older than what anybody was told."""
    shown = await get(session, f"{bank.url}/wallet/accounts/{account}")
    known = bank.known.get(shown["partition"], 0)
    lines = await statement(session, bank.url, account, min_sequence=known)
    signs = {"debit": -1, "credit": 1}
    return Statement(
        partition=shown["partition"],
        overdraft_minor=minor(shown["overdraft_limit"]),
        lines=[
            Line(
                line["sequence"],
                line["transaction_id"],
                signs[line["direction"]] * minor(line["amount"]),
                minor(line["balance"]),
            )
            for line in reversed(lines)
        ],
    )


async def statement(
    session: aiohttp.ClientSession, url: str, account: str, *, min_sequence: int = 0
) -> list[dict[str, Any]]:
    """All entries of an account, newest first."""
    lines: list[dict[str, Any]] = []
    following = ""
    path = f"/wallet/accounts/{account}/entries?limit={PAGE}&min_sequence={min_sequence}"
    while True:
        page = await get(session, f"{url}{path}{following}")
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
