"""Every call over real HTTP, in front of a gateway that keeps its books in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from proxy.ports import NoAnswer, NoRoom, Unavailable

if TYPE_CHECKING:
    from tests.proxy.conftest import Wallet

TRANSFER_T1 = "/wallet/accounts/issuer/transfers/t1"


async def test_a_transfer_answers_with_the_payers_new_balance(wallet: Wallet) -> None:
    answer = await wallet.transfer("t1", "10.5")
    assert answer["status"] == 201
    assert answer["headers"]["Location"] == TRANSFER_T1
    assert answer["headers"]["Content-Type"] == "application/json"
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert "Idempotent-Replayed" not in answer["headers"]
    assert answer["body"] == {
        "status": "completed",
        "transaction_id": "t1",
        "from_account_id": "issuer",
        "to_account_id": "ann",
        "amount": "10.50",
        "currency": "USD",
        "balance": "-10.50",
        "coordination": "none",
        "partition": 0,
        "sequence": 4,
        "completed_at": "2030-03-17T17:46:43.000Z",
    }


async def test_a_repeat_gets_the_first_answer_and_says_so(wallet: Wallet) -> None:
    first = await wallet.transfer("t1", "10.5")
    again = await wallet.transfer("t1", "10.50")
    assert (again["status"], again["body"]) == (201, first["body"])
    assert again["headers"]["Idempotent-Replayed"] == "true"
    assert again["headers"]["Location"] == TRANSFER_T1


async def test_a_repeated_refusal_is_the_first_one_again(wallet: Wallet) -> None:
    first = await wallet.transfer("t1", "1000.01")
    again = await wallet.transfer("t1", "1000.01")
    assert first["status"] == 422
    assert first["body"]["code"] == "insufficient_funds"
    assert "Idempotent-Replayed" not in first["headers"]
    assert (again["status"], again["body"]) == (422, first["body"])
    assert again["headers"]["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    ("other", "status", "code"),
    [
        ({"from_account_id": "nobody"}, 404, "from_account_not_found"),
        ({"to_account_id": "nobody"}, 404, "to_account_not_found"),
        ({"to_account_id": "issuer"}, 422, "same_account"),
        ({"currency": "EUR"}, 422, "currency_mismatch"),
        ({"from_account_id": "ann", "to_account_id": "bob"}, 422, "insufficient_funds"),
    ],
)
async def test_a_refused_transfer_is_a_problem_and_moves_nothing(
    wallet: Wallet, other: dict[str, str], status: int, code: str
) -> None:
    answer = await wallet.transfer("t1", "1", **other)
    assert (answer["status"], answer["body"]["code"]) == (status, code)
    assert answer["headers"]["Content-Type"] == "application/problem+json"
    for account_id in ("issuer", "ann", "bob"):
        assert (await wallet.get(f"/wallet/accounts/{account_id}"))["body"]["balance"] == "0.00"


async def test_other_content_under_a_used_id_is_a_conflict(wallet: Wallet) -> None:
    await wallet.transfer("t1", "1")
    answer = await wallet.transfer("t1", "2")
    assert (answer["status"], answer["body"]["code"]) == (422, "idempotency_conflict")


async def test_an_outcome_not_known_in_time_is_202_and_can_be_asked_for(wallet: Wallet) -> None:
    wallet.gateway.pause()
    answer = await wallet.transfer("t1", "1", headers={"Prefer": "wait=0"})
    assert answer["status"] == 202
    assert answer["headers"]["Location"] == TRANSFER_T1
    assert answer["headers"]["Preference-Applied"] == "wait=0"
    assert answer["body"] == {
        "status": "pending",
        "transaction_id": "t1",
        "from_account_id": "issuer",
        "to_account_id": "ann",
        "amount": "1.00",
        "currency": "USD",
    }
    missing = await wallet.get(TRANSFER_T1)
    assert (missing["status"], missing["body"]["code"]) == (404, "transfer_not_found")
    wallet.gateway.resume()
    assert (await wallet.transfer("t1", "1"))["status"] == 201
    assert (await wallet.get(TRANSFER_T1))["body"]["status"] == "completed"


async def test_respond_async_does_not_wait(wallet: Wallet) -> None:
    answer = await wallet.transfer("t1", "1", headers={"Prefer": "respond-async"})
    assert answer["status"] == 202
    assert answer["headers"]["Preference-Applied"] == "respond-async"
    assert (await wallet.get(TRANSFER_T1))["body"]["balance"] == "-1.00"


async def test_a_wait_that_was_heeded_is_echoed(wallet: Wallet) -> None:
    answer = await wallet.transfer("t1", "1", headers={"Prefer": "wait=90, foo"})
    assert answer["status"] == 201
    assert answer["headers"]["Preference-Applied"] == "wait=60"


async def test_a_recorded_transfer_is_the_same_as_its_answer(wallet: Wallet) -> None:
    answer = await wallet.transfer("t1", "10.50")
    recorded = await wallet.get(TRANSFER_T1)
    assert (recorded["status"], recorded["body"]) == (200, answer["body"] | {"steps": []})


async def test_a_recorded_refusal_says_why(wallet: Wallet) -> None:
    answer = await wallet.transfer("t1", "1000.01")
    recorded = await wallet.get(TRANSFER_T1)
    assert recorded["status"] == 200
    assert recorded["body"] == {
        "status": "rejected",
        "transaction_id": "t1",
        "from_account_id": "issuer",
        "to_account_id": "ann",
        "amount": "1000.01",
        "currency": "USD",
        "code": "insufficient_funds",
        "detail": answer["body"]["detail"],
        "coordination": "none",
        "partition": 0,
        "sequence": 4,
        "rejected_at": "2030-03-17T17:46:43.000Z",
        "steps": [],
    }


async def test_asking_for_a_transfer_can_wait_for_it(wallet: Wallet) -> None:
    asked = asyncio.create_task(wallet.get(TRANSFER_T1, headers={"Prefer": "wait=60"}))
    await wallet.transfer("t1", "1")
    found = await asked
    assert (found["status"], found["body"]["status"]) == (200, "completed")
    assert found["headers"]["Preference-Applied"] == "wait=60"


async def test_opening_an_account_twice_gives_one_answer(wallet: Wallet) -> None:
    form = {"currency": "KRW", "overdraft_limit": "500"}
    async with wallet.client.put("/wallet/accounts/carl", json=form) as first:
        assert first.status == 201
        assert first.headers["Location"] == "/wallet/accounts/carl"
        opened = await first.json()
    assert opened == {
        "account_id": "carl",
        "currency": "KRW",
        "overdraft_limit": "500",
        "partition": 0,
        "sequence": 4,
        "opened_at": "2030-03-17T17:46:43.000Z",
    }
    async with wallet.client.put("/wallet/accounts/carl", json=form) as again:
        assert (again.status, await again.json()) == (201, opened)
        assert again.headers["Idempotent-Replayed"] == "true"
    async with wallet.client.put("/wallet/accounts/carl", json={"currency": "USD"}) as other:
        assert (other.status, (await other.json())["code"]) == (409, "account_exists")


async def test_an_opening_not_known_in_time_is_202(wallet: Wallet) -> None:
    wallet.gateway.pause()
    async with wallet.client.put(
        "/wallet/accounts/carl", json={"currency": "USD"}, headers={"Prefer": "respond-async"}
    ) as answer:
        assert answer.status == 202
        assert answer.headers["Location"] == "/wallet/accounts/carl"
        assert await answer.json() == {"status": "pending", "account_id": "carl"}


async def test_an_account_shows_its_state_now_and_then(wallet: Wallet) -> None:
    await wallet.transfer("t1", "10.50")
    await wallet.transfer("t2", "0.25")
    now = await wallet.get("/wallet/accounts/issuer?min_sequence=5")
    assert now["body"] == {
        "account_id": "issuer",
        "currency": "USD",
        "balance": "-10.75",
        "held": "0.00",
        "available": "989.25",
        "overdraft_limit": "1000.00",
        "partition": 0,
        "sequence": 5,
        "as_of": "2030-03-17T17:46:44.000Z",
    }
    then = await wallet.get("/wallet/accounts/issuer?sequence=4")
    assert (then["body"]["balance"], then["body"]["sequence"]) == ("-10.50", 4)
    moment = await wallet.get("/wallet/accounts/issuer?at=2030-03-17T17:46:43.999Z")
    assert moment["body"] == then["body"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/wallet/accounts/nobody", 404, "account_not_found"),
        ("/wallet/accounts/nobody/entries", 404, "account_not_found"),
        ("/wallet/accounts/ann/transfers/t9", 404, "transfer_not_found"),
        ("/wallet/accounts/bob?sequence=1", 404, "before_opening"),
        ("/wallet/accounts/bob?at=1970-01-01T00:00:00Z", 404, "before_opening"),
        ("/wallet/accounts/bob?min_sequence=99", 409, "sequence_not_reached"),
        ("/wallet/accounts/bob?sequence=99", 409, "sequence_not_reached"),
    ],
)
async def test_what_is_not_there_is_told_apart(
    wallet: Wallet, path: str, status: int, code: str
) -> None:
    answer = await wallet.get(path)
    assert (answer["status"], answer["body"]["code"]) == (status, code)
    assert "Partition 0 is at sequence 3." in answer["body"]["detail"]


async def test_a_statement_is_paged_without_gaps_or_repeats(wallet: Wallet) -> None:
    for number in range(1, 8):
        await wallet.transfer(f"t{number}", f"{number}")
    seen: list[str] = []
    token = ""
    while True:
        query = f"?limit=3{token}"
        page = (await wallet.get(f"/wallet/accounts/ann/entries{query}"))["body"]
        seen += [entry["transaction_id"] for entry in page["entries"]]
        if page["next_page_token"] is None:
            break
        assert len(page["entries"]) == 3
        token = f"&page_token={page['next_page_token']}"
    assert seen == [f"t{number}" for number in range(7, 0, -1)]


async def test_an_entry_says_who_how_much_and_what_then(wallet: Wallet) -> None:
    await wallet.transfer("t1", "10.50")
    statement = (await wallet.get("/wallet/accounts/issuer/entries"))["body"]
    assert statement == {
        "account_id": "issuer",
        "currency": "USD",
        "partition": 0,
        "sequence": 4,
        "entries": [
            {
                "sequence": 4,
                "at": "2030-03-17T17:46:43.000Z",
                "transaction_id": "t1",
                "counterparty_id": "ann",
                "direction": "debit",
                "amount": "10.50",
                "balance": "-10.50",
            }
        ],
        "next_page_token": None,
    }


async def test_the_wallet_is_ready_only_with_all_its_parts(open_wallet: Any) -> None:
    async with open_wallet(partition_count=2) as wallet:
        assert (await wallet.get("/readyz"))["body"] == {"status": "ready"}
        wallet.gateway.missing_writers = {1}
        answer = await wallet.get("/readyz")
        assert answer["status"] == 503
        assert answer["headers"]["Retry-After"] == "1"
        assert [(e["field"], e["code"]) for e in answer["body"]["errors"]] == [
            ("partition.1", "no_writer")
        ]
        wallet.gateway.missing_writers, wallet.gateway.has_coordinator = set(), False
        assert (await wallet.get("/readyz"))["status"] == 200, "most transfers work without it"
        assert (await wallet.get("/wallet/status"))["body"]["coordinators"] == []
        assert (await wallet.get("/healthz"))["body"] == {"status": "ok"}
        wallet.gateway.is_connected = False
        answer = await wallet.get("/readyz")
        assert [error["code"] for error in answer["body"]["errors"]] == ["not_connected"]


async def test_the_status_shows_who_leads_and_who_follows(wallet: Wallet) -> None:
    status = (await wallet.get("/wallet/status"))["body"]
    assert status["is_connected"] is True
    [partition] = status["partitions"]
    assert partition["writer"]["id"] == "writer-1"
    assert partition["slots"] == 16_384
    assert (partition["unfinished"], partition["oldest_unfinished_at"]) == (0, None)
    assert [each["name"] for each in status["coordinators"]] == ["c0"]
    assert [reader["id"] for reader in partition["readers"]] == ["reader-1"]


FAULTS = [
    (NoRoom("There is no room."), "no_room"),
    (Unavailable("There is nobody."), "unavailable"),
    (NoAnswer(), "no_answer"),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS)
async def test_a_fault_behind_the_gateway_is_a_503_that_says_when_to_try_again(
    wallet: Wallet, fault: Exception, code: str
) -> None:
    wallet.gateway.raises = fault
    answers = [
        await wallet.transfer("t1", "1"),
        await wallet.get("/wallet/accounts/ann"),
        await wallet.get("/wallet/transfers/unfinished"),
    ]
    for answer in answers:
        assert (answer["status"], answer["body"]["code"]) == (503, code)
        assert answer["body"]["detail"].startswith(str(fault))
        assert answer["headers"]["Retry-After"] == "1"
        assert "Connection" not in answer["headers"]


async def test_a_bug_is_a_500_that_tells_nothing_and_is_logged(
    wallet: Wallet, caplog: pytest.LogCaptureFixture
) -> None:
    wallet.gateway.raises = RuntimeError("secret")
    answer = await wallet.transfer("t1", "1")
    assert (answer["status"], answer["body"]["code"]) == (500, "internal_error")
    assert "secret" not in str(answer["body"])
    assert "secret" in caplog.text


async def test_the_documents_are_served(wallet: Wallet) -> None:
    assert (await wallet.get("/openapi.json"))["body"]["openapi"] == "3.1.0"
    async with wallet.client.get("/docs") as page:
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none';")
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert 'id="insufficient_funds"' in await page.text()


async def test_no_answer_names_the_server_or_allows_other_origins(wallet: Wallet) -> None:
    async with wallet.client.get("/healthz", headers={"Origin": "https://example.org"}) as answer:
        names = {name.lower() for name in answer.headers}
    assert not {name for name in names if name == "server" or name.startswith("access-control")}
