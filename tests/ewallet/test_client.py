"""The client against a real HTTP server that answers from a script."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ewallet.client import WalletClient, wait_s
from ewallet.client_faults import NoAnswerError, RefusedError, UnknownOutcomeError
from ewallet.command_accounts import numbered, open_all
from ewallet.repeating import is_unsettled

DONE = {
    "status": "completed",
    "transaction_id": "t1",
    "from_account_id": "a",
    "to_account_id": "b",
    "amount": "1.00",
    "currency": "USD",
    "balance": "9.00",
    "coordination": "none",
    "partition": 0,
    "sequence": 7,
    "completed_at": "2026-01-02T03:04:05.000Z",
}
POOR = {
    "title": "Insufficient funds",
    "detail": "The payer does not have that much.",
    "code": "insufficient_funds",
    "errors": [{"field": "amount", "code": "too_much", "detail": "is more than 9.00"}],
}


CUT = 0


@dataclass
class Wallet:
    """Answers each request with the next (status, document); the last one again and again.

    With CUT it has taken the request, and its connection dies before the answer.
    """

    script: list[tuple[int, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    choices: list[str | None] = field(default_factory=list)
    """`Wallet-Coordination` of each request."""
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path_qs, body))
        self.choices.append(request.headers.get("Wallet-Coordination"))
        status, document = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if status == CUT:
            assert request.transport is not None
            request.transport.abort()
        headers = {"Retry-After": "0"} if status == 503 else {}
        return web.json_response(document, status=status, headers=headers)


@pytest.fixture
async def wallet() -> AsyncIterator[Wallet]:
    wallet = Wallet()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", wallet.answer)
    async with TestServer(application, host="127.0.0.1") as server:
        wallet.url = str(server.make_url(""))
        yield wallet


async def transfer(wallet: Wallet, timeout_s: float = 10.0) -> Any:
    async with WalletClient(wallet.url, timeout_s=timeout_s) as client:
        return await client.transfer("a", "b", "1.00", "USD", "t1")


@pytest.mark.parametrize("first", [CUT, 202, 408, 429, 500, 502, 503, 504])
async def test_same_transfer_is_sent_again_until_its_outcome_is_known(
    wallet: Wallet, first: int
) -> None:
    wallet.script = [(first, {}), (first, {}), (201, DONE)]
    answer = await transfer(wallet)
    assert answer.document.balance == "9.00"
    assert json.loads(answer.body) == DONE
    assert len(wallet.requests) == 3
    assert all(request == wallet.requests[0] for request in wallet.requests)
    assert wallet.requests[0][2]["transaction_id"] == "t1"


async def test_choice_of_coordination_goes_with_every_repeat(wallet: Wallet) -> None:
    wallet.script = [(503, {}), (201, DONE)]
    async with WalletClient(wallet.url, timeout_s=10) as client:
        await client.transfer("a", "b", "1.00", "USD", "t1", coordination="2pc")
        await client.transfer("a", "b", "1.00", "USD", "t2")
    assert wallet.choices == ["2pc", "2pc", None]


async def test_refusal_is_final_and_told_in_one_sentence(wallet: Wallet) -> None:
    wallet.script = [(422, POOR)]
    with pytest.raises(RefusedError) as refused:
        await transfer(wallet)
    assert str(refused.value) == (
        "The payer does not have that much.; amount is more than 9.00 (insufficient_funds)"
    )
    assert len(wallet.requests) == 1


async def test_time_that_runs_out_leaves_the_outcome_unknown(wallet: Wallet) -> None:
    wallet.script = [(202, {"status": "pending"})]
    with pytest.raises(UnknownOutcomeError, match=r"not known after 0\.3 s"):
        await transfer(wallet, timeout_s=0.3)
    assert len(wallet.requests) > 1


async def test_transfer_is_not_done_by_an_answer_that_is_no_wallets(wallet: Wallet) -> None:
    """It may have happened, so it is asked again, and never called undone."""
    wallet.script = [(200, {"hello": "world"}), (201, DONE)]
    assert (await transfer(wallet)).document.sequence == 7
    wallet.script = [(200, {"hello": "world"})]
    with pytest.raises(UnknownOutcomeError, match="not one of a wallet"):
        await transfer(wallet, timeout_s=0.3)


async def test_question_is_not_repeated(wallet: Wallet) -> None:
    wallet.script = [(503, {"detail": "No reader answers."})]
    async with WalletClient(wallet.url, timeout_s=5) as client:
        with pytest.raises(NoAnswerError, match="No reader answers"):
            await client.account("a")
    assert len(wallet.requests) == 1


async def test_answer_that_is_no_wallets_is_not_believed(wallet: Wallet) -> None:
    wallet.script = [(200, {"hello": "world"})]
    async with WalletClient(wallet.url, timeout_s=5) as client:
        with pytest.raises(NoAnswerError, match="not one of a wallet"):
            await client.account("a")


async def test_question_carries_only_what_was_given(wallet: Wallet) -> None:
    wallet.script = [(200, {})]
    async with WalletClient(wallet.url, timeout_s=5) as client:
        for ask in (
            lambda: client.account("a", sequence=3),
            lambda: client.account("a", at="2026-01-01T00:00:00Z"),
            lambda: client.entries("a", limit=2),
            lambda: client.recorded_transfer("a", "t1"),
            client.unfinished_transfers,
            lambda: client.unfinished_transfers(limit=3),
        ):
            with pytest.raises(NoAnswerError):
                await ask()
    assert [path for _, path, _ in wallet.requests] == [
        "/wallet/accounts/a?sequence=3",
        "/wallet/accounts/a?at=2026-01-01T00:00:00Z",
        "/wallet/accounts/a/entries?limit=2",
        "/wallet/accounts/a/transfers/t1",
        "/wallet/transfers/unfinished",
        "/wallet/transfers/unfinished?limit=3",
    ]


async def test_nobody_there_is_said_with_what_to_do(unused_tcp_port: int) -> None:
    async with WalletClient(f"http://127.0.0.1:{unused_tcp_port}", timeout_s=5) as client:
        with pytest.raises(NoAnswerError, match="start one with `ewallet up`"):
            await client.status()


async def test_many_accounts_are_opened_once_each(wallet: Wallet) -> None:
    opened = {
        "account_id": "a",
        "currency": "USD",
        "overdraft_limit": "0.00",
        "partition": 0,
        "sequence": 1,
    }
    wallet.script = [(201, opened)]
    told: list[None] = []
    await open_many(wallet, 50, lambda: told.append(None))
    paths = sorted(path for _, path, _ in wallet.requests)
    assert paths == sorted(f"/wallet/accounts/user-{number}" for number in range(1, 51))
    assert len(told) == 50


async def test_first_refusal_ends_the_opening_of_many(wallet: Wallet) -> None:
    wallet.script = [(409, {"detail": "It has another currency."})]
    with pytest.raises(RefusedError, match="another currency"):
        await open_many(wallet, 1_000, lambda: None)
    assert len(wallet.requests) <= 8


async def open_many(wallet: Wallet, count: int, opened: Callable[[], None]) -> None:
    async with asyncio.timeout(30), WalletClient(wallet.url, timeout_s=5) as client:
        await open_all(
            client,
            numbered("user-", count),
            currency="USD",
            overdraft_limit=None,
            concurrency=8,
            opened=opened,
        )


def test_only_an_answer_about_the_change_settles_it() -> None:
    assert [status for status in (200, 201, 400, 404, 409, 422) if is_unsettled(status)] == []
    assert all(is_unsettled(status) for status in (202, 408, 429, 500, 503, 599))


@pytest.mark.parametrize(("timeout_s", "wait"), [(0.2, 1), (5.0, 4), (30.0, 29), (600.0, 60)])
def test_wallet_is_asked_to_wait_less_than_we_do(timeout_s: float, wait: int) -> None:
    assert wait_s(timeout_s) == wait
