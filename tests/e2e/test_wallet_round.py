"""The whole wallet on a cluster, as a client sees it."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.e2e.audit import get, statement
from tests.e2e.cluster import Cluster
from tests.system.bank import RETRY_S

pytestmark = [pytest.mark.e2e, pytest.mark.server]

WAYS = ("choreography", "orchestration", "tcc", "2pc")
PAYEES = [f"round-{number}" for number in range(8)]
"""Over four partitions: some with the bank, some elsewhere."""
ENTRY_S_MAX = 60.0
"""Only to end a test that hangs."""


async def put(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.put(url, json=body) as response:
        assert response.status == 201
        opened: dict[str, Any] = await response.json()
        return opened


async def test_money_goes_round_within_and_across_partitions(
    cluster: Cluster, session: aiohttp.ClientSession
) -> None:
    wallet = f"{cluster.url}/wallet"
    bank = await put(
        session, f"{wallet}/accounts/bank", {"currency": "USD", "overdraft_limit": "1000.00"}
    )
    crossed = set()
    for number, payee in enumerate(PAYEES):
        opened = await put(session, f"{wallet}/accounts/{payee}", {"currency": "USD"})
        way = WAYS[number % len(WAYS)]
        body = {
            "from_account_id": "bank",
            "to_account_id": payee,
            "amount": "10.50",
            "currency": "USD",
            "transaction_id": f"round-{number}",
        }
        headers = {"Wallet-Coordination": way}
        async with session.post(f"{wallet}/transfer", json=body, headers=headers) as response:
            assert response.status == 201
            answer = await response.json()
            assert answer["status"] == "completed"
            used = response.headers["Wallet-Coordination"]
        is_across = opened["partition"] != bank["partition"]
        assert used == (way if is_across else "none")
        crossed.add(is_across)
        line = await first_entry(session, cluster.url, payee, opened["sequence"])
        assert (line["amount"], line["counterparty_id"]) == ("10.50", "bank")
        seen = f"{wallet}/accounts/{payee}?min_sequence={line['sequence']}"
        assert (await get(session, seen))["balance"] == "10.50"
    assert crossed == {True, False}
    paid = answer["sequence"]
    shown = await get(session, f"{wallet}/accounts/bank?min_sequence={paid}")
    assert shown["balance"] == f"-{10.50 * len(PAYEES):.2f}"


async def first_entry(
    session: aiohttp.ClientSession, url: str, account: str, opened: int
) -> dict[str, Any]:
    """The only one, from whichever reader is asked: one of two may be behind the other."""
    async with asyncio.timeout(ENTRY_S_MAX):
        while True:
            lines = await statement(session, url, account, min_sequence=opened)
            if lines:
                (line,) = lines
                return line
            await asyncio.sleep(RETRY_S)


async def test_status_shows_a_writer_a_standby_and_two_readers_of_each_partition(
    cluster: Cluster, session: aiohttp.ClientSession
) -> None:
    status = await get(session, f"{cluster.url}/wallet/status")
    assert len(status["partitions"]) == 4
    for partition in status["partitions"]:
        assert partition["writer"] is not None
        assert len(partition["standbys"]) == 1
        assert len(partition["readers"]) == 2
    assert [each["name"] for each in status["coordinators"]] == ["c0"]
