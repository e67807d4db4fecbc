"""Transfers between partitions over real HTTP, in front of a gateway with books in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from contracts.coordination import Coordination
from proxy.adapters.http_server import HttpLimits, HttpServer, listen
from tests.proxy.conftest import nobody_to_watch
from tests.proxy.memory_gateway import MemoryGateway

if TYPE_CHECKING:
    from tests.proxy.conftest import Wallet

pytestmark = pytest.mark.server

WAYS = {
    "choreography": ["start", "credit", "complete"],
    "orchestration": ["start", "debit", "credit", "complete"],
    "tcc": ["start", "try_debit", "try_credit", "confirm_debit", "confirm_credit", "complete"],
    "2pc": ["start", "prepare_debit", "prepare_credit", "commit_credit", "commit_debit"],
}


@pytest.fixture
async def apart(open_wallet: Any) -> AsyncIterator[Wallet]:
    """A wallet of two partitions: the accounts issuer and bob are in one, ann in the other."""
    async with open_wallet(partition_count=2) as wallet:
        await wallet.open("issuer", overdraft="1000.00")
        await wallet.open("ann")
        await wallet.open("bob")
        places = [wallet.gateway.slots.partition_of(name) for name in ("issuer", "ann", "bob")]
        assert places == [1, 0, 1]
        yield wallet


def recorded(transaction_id: str) -> str:
    return f"/wallet/accounts/issuer/transfers/{transaction_id}"


@pytest.mark.parametrize("way", WAYS)
async def test_the_chosen_way_is_used_and_told(apart: Wallet, way: str) -> None:
    answer = await apart.transfer("t1", "10.50", headers={"Wallet-Coordination": way.upper()})
    assert answer["status"] == 201
    assert answer["body"]["coordination"] == answer["headers"]["Wallet-Coordination"] == way
    assert answer["body"]["balance"] == "-10.50"
    found = (await apart.get(recorded("t1")))["body"]
    steps = found.pop("steps")
    assert found == answer["body"]
    assert [step["name"] for step in steps] == WAYS[way]
    payer = answer["body"]["partition"]
    assert [step["partition"] for step in steps] == [
        1 - payer if step["name"].endswith("credit") else payer for step in steps
    ]
    assert [step["at"] for step in steps] == sorted(step["at"] for step in steps)
    assert (await apart.get("/wallet/accounts/ann"))["body"]["balance"] == "10.50"


async def test_without_a_choice_the_wallets_own_is_used(apart: Wallet) -> None:
    answer = await apart.transfer("t1", "1")
    assert answer["headers"]["Wallet-Coordination"] == "choreography"


async def test_within_one_partition_no_way_is_needed(apart: Wallet) -> None:
    answer = await apart.transfer(
        "t1", "1", to_account_id="bob", headers={"Wallet-Coordination": "2pc"}
    )
    assert answer["status"] == 201
    assert answer["body"]["coordination"] == answer["headers"]["Wallet-Coordination"] == "none"


async def test_a_repeat_with_another_choice_gets_the_first_answer(apart: Wallet) -> None:
    first = await apart.transfer("t1", "1", headers={"Wallet-Coordination": "tcc"})
    again = await apart.transfer("t1", "1", headers={"Wallet-Coordination": "2pc"})
    assert (again["status"], again["body"]) == (201, first["body"])
    assert again["headers"]["Wallet-Coordination"] == "tcc"
    assert again["headers"]["Idempotent-Replayed"] == "true"


async def test_an_unknown_choice_is_a_problem_of_the_header_and_sends_nothing(
    apart: Wallet,
) -> None:
    sent = apart.gateway.submitted
    answer = await apart.transfer("t1", "1", headers={"Wallet-Coordination": "none"})
    assert (answer["status"], answer["body"]["code"]) == (400, "invalid_request")
    assert answer["body"]["errors"] == [
        {
            "field": "Wallet-Coordination",
            "code": "unknown_coordination",
            "detail": "must be one of choreography, orchestration, tcc, 2pc, and only one",
        }
    ]
    assert apart.gateway.submitted == sent


@pytest.mark.parametrize("way", WAYS)
async def test_a_refusal_by_the_payee_is_undone_and_says_so_step_by_step(
    apart: Wallet, way: str
) -> None:
    stranger = next(f"s{n}" for n in range(99) if lives_with_ann(apart, f"s{n}"))
    answer = await apart.transfer(
        "t1", "1", to_account_id=stranger, headers={"Wallet-Coordination": way}
    )
    assert (answer["status"], answer["body"]["code"]) == (404, "to_account_not_found")
    assert answer["headers"]["Wallet-Coordination"] == way
    found = (await apart.get(recorded("t1")))["body"]
    assert (found["status"], found["coordination"]) == ("rejected", way)
    refused = [step["name"] for step in found["steps"] if step.get("code")]
    assert found["steps"][0]["name"] == "start"
    assert refused[0] in {"credit", "try_credit", "prepare_credit"}
    assert refused[1] in {"refund", "cancel_debit", "abort_debit"}
    assert (await apart.get("/wallet/accounts/issuer"))["body"]["balance"] == "0.00"


def lives_with_ann(wallet: Wallet, account_id: str) -> bool:
    slots = wallet.gateway.slots
    return slots.partition_of(account_id) == slots.partition_of("ann")


async def test_a_refusal_before_the_start_used_no_way(apart: Wallet) -> None:
    answer = await apart.transfer("t1", "1000.01", headers={"Wallet-Coordination": "tcc"})
    assert (answer["status"], answer["body"]["code"]) == (422, "insufficient_funds")
    assert answer["headers"]["Wallet-Coordination"] == "none"


async def test_a_transfer_under_way_is_pending_until_it_is_finished(apart: Wallet) -> None:
    apart.gateway.books.is_stalled = True
    answer = await apart.transfer("t1", "1", headers={"Prefer": "wait=0"})
    assert answer["status"] == 202
    assert "Wallet-Coordination" not in answer["headers"]
    assert "coordination" not in answer["body"]
    pending = await apart.get(recorded("t1"))
    assert (pending["status"], pending["body"]["status"]) == (200, "pending")
    assert [step["name"] for step in pending["body"]["steps"]] == ["start"]
    waiting = asyncio.create_task(apart.get(recorded("t1"), headers={"Prefer": "wait=60"}))
    await apart.gateway.finish()
    finished = await waiting
    assert (finished["status"], finished["body"]["status"]) == (200, "completed")


async def test_without_the_payees_reader_there_is_no_half_an_answer(apart: Wallet) -> None:
    await apart.transfer("t1", "1")
    await apart.transfer("t2", "1", to_account_id="bob")
    apart.gateway.missing_readers = {apart.gateway.slots.partition_of("ann")}
    for path in (recorded("t1"), "/wallet/transfers/unfinished"):
        answer = await apart.get(path)
        assert (answer["status"], answer["body"]["code"]) == (503, "no_answer")
    assert (await apart.get(recorded("t2")))["status"] == 200


async def test_unfinished_transfers_are_listed_and_counted(apart: Wallet) -> None:
    apart.gateway.books.is_stalled = True
    for number in range(3):
        await apart.transfer(f"t{number}", "1", headers={"Prefer": "wait=0"})
    listed = (await apart.get("/wallet/transfers/unfinished?limit=2"))["body"]
    assert listed["count"] == 3
    shown = [(each["transaction_id"], each["age_ms"]) for each in listed["transfers"]]
    assert shown == [("t0", 2_000), ("t1", 1_000)]
    apart.gateway.books.idle_ms = 60_000
    later = (await apart.get("/wallet/transfers/unfinished?limit=2"))["body"]
    assert [each["age_ms"] for each in later["transfers"]] == [62_000, 61_000]
    payer = apart.gateway.slots.partition_of("issuer")
    part = (await apart.get("/wallet/status"))["body"]["partitions"][payer]
    assert part["unfinished"] == 3
    assert part["oldest_unfinished_at"] == listed["transfers"][0]["started_at"]
    await apart.gateway.finish()
    listed = (await apart.get("/wallet/transfers/unfinished"))["body"]
    assert (listed["count"], listed["transfers"]) == (0, [])


async def test_ages_are_counted_to_the_time_that_the_server_has() -> None:
    gateway = MemoryGateway()
    watches = nobody_to_watch(gateway.slots)
    server = HttpServer(gateway, watches, HttpLimits(), Coordination.CHOREOGRAPHY)
    runner = await listen(server, host="127.0.0.1", port=0)
    host, port = runner.addresses[0][:2]
    try:
        url = f"http://{host}:{port}/wallet/transfers/unfinished"
        async with aiohttp.ClientSession() as client, client.get(url) as answer:
            as_of = datetime.fromisoformat((await answer.json())["as_of"])
            date = parsedate_to_datetime(answer.headers["Date"])
    finally:
        await runner.cleanup()
    assert abs(as_of - date) < timedelta(minutes=1)
