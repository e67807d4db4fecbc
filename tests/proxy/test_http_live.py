"""Watching accounts over WebSocket, with real parts behind the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts.changes import Listen
from contracts.frames import LISTEN
from contracts.subjects import listen_subject
from proxy.adapters import live_websocket
from proxy.core.live_requests import MESSAGE_ACCOUNTS_MAX, MESSAGE_BYTES_MAX
from tests.proxy.live_wallet import LiveWallet, run_live_wallet

pytestmark = pytest.mark.server

DEADLINE_S = 30.0


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[LiveWallet]:
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path) as live:
        yield live


async def test_first_comes_the_present_state_and_then_every_change(wallet: LiveWallet) -> None:
    async with wallet.socket() as client:
        state = await client.subscribe("ann")
        sequence = await wallet.pay("ann", "t1", "10.50")
        change = await client.hear()
    assert state | {"at": "", "sequence": 0} == {
        "type": "state",
        "account_id": "ann",
        "currency": "USD",
        "balance": "0.00",
        "held": "0.00",
        "available": "0.00",
        "overdraft_limit": "0.00",
        "partition": 0,
        "sequence": 0,
        "at": "",
        "conflated": False,
    }
    assert state["sequence"] < sequence
    assert change | {"at": ""} == {
        "type": "change",
        "account_id": "ann",
        "currency": "USD",
        "balance": "10.50",
        "held": "0.00",
        "available": "10.50",
        "partition": 0,
        "sequence": sequence,
        "at": "",
        "transaction_id": "t1",
        "direction": "credit",
        "amount": "10.50",
        "conflated": False,
    }


async def test_many_accounts_on_one_connection_and_many_connections_on_one_account(
    wallet: LiveWallet,
) -> None:
    async with wallet.socket() as both, wallet.socket() as one:
        await both.say(op="subscribe", accounts=["ann", "issuer"])
        states = await both.hear_of("ann", "issuer")
        assert {state["type"] for state in states.values()} == {"state"}
        await one.subscribe("ann")
        sequence = await wallet.pay("ann", "t1")
        changes = await both.hear_of("ann", "issuer")
        assert {each["sequence"] for each in changes.values()} == {sequence}
        assert changes["issuer"]["direction"] == "debit"
        assert changes["issuer"]["available"] == "999.00"
        assert await one.hear() == changes["ann"]


async def test_who_unsubscribes_hears_nothing_more(wallet: LiveWallet) -> None:
    async with wallet.socket() as client:
        await client.say(op="subscribe", accounts=["ann", "bob"])
        await client.hear_of("ann", "bob")
        await client.say(op="unsubscribe", accounts=["ann"])
        assert await client.hear() == {"type": "unsubscribed", "accounts": ["ann"]}
        await wallet.pay("ann", "t1")
        await wallet.pay("bob", "t2")
        assert (await client.hear())["account_id"] == "bob"


async def test_a_ping_is_answered_and_changes_nothing(wallet: LiveWallet) -> None:
    async with wallet.socket() as client:
        await client.say(op="ping")
        assert await client.hear() == {"type": "pong"}
        await client.subscribe("ann")
        await client.say(op="ping")
        assert await client.hear() == {"type": "pong"}
        sequence = await wallet.pay("ann", "t1")
        assert (await client.hear())["sequence"] == sequence


async def test_who_comes_back_misses_nothing(wallet: LiveWallet) -> None:
    async with wallet.socket() as client:
        place = (await client.subscribe("ann"))["sequence"]
    sequences = [await wallet.pay("ann", f"t{number}") for number in range(5)]
    async with wallet.socket() as client:
        await client.say(op="subscribe", accounts=["ann"], from_sequence={"ann": place})
        heard = [await client.hear() for _ in range(6)]
        assert [each["type"] for each in heard] == ["change"] * 5 + ["state"]
        assert [each["sequence"] for each in heard[:5]] == sequences
        assert [each["balance"] for each in heard] == [f"{n}.00" for n in (1, 2, 3, 4, 5, 5)]
    async with wallet.socket() as client:
        state = await client.subscribe("ann", heard[-1]["sequence"])
        assert (state["type"], state["conflated"]) == ("state", False), "nothing was missed"


async def test_who_missed_too_much_is_told_so(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.changes.REPLAY_CHANGES_MAX", 3)
    for number in range(4):
        await wallet.pay("ann", f"t{number}")
    async with wallet.socket() as client:
        state = await client.subscribe("ann", 1)
        assert (state["type"], state["conflated"], state["balance"]) == ("state", True, "4.00")


@pytest.mark.parametrize("way", ["choreography", "orchestration", "tcc", "2pc"])
async def test_holds_and_transfers_between_partitions_are_changes_too(
    tmp_path: Path, way: str
) -> None:
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path, 2) as wallet:
        slots = wallet.world.slots
        assert slots.partition_of("issuer") != slots.partition_of("ann")
        async with wallet.socket() as client:
            await client.say(op="subscribe", accounts=["ann", "issuer"])
            await client.hear_of("ann", "issuer")
            await wallet.pay("ann", "t1", "7.00", way=way)
            count = 3 if way == "tcc" else 2
            heard = [await client.hear() for _ in range(count)]
    of_issuer = [each for each in heard if each["account_id"] == "issuer"]
    (of_ann,) = [each for each in heard if each["account_id"] == "ann"]
    assert (of_ann["direction"], of_ann["balance"], of_ann["transaction_id"]) == (
        "credit",
        "7.00",
        "t1",
    )
    assert [each["direction"] for each in of_issuer] == ["hold", "debit"][2 - len(of_issuer) :]
    assert of_issuer[-1]["balance"] == "-7.00"
    if way == "tcc":
        hold = of_issuer[0]
        assert (hold["balance"], hold["held"], hold["available"]) == ("0.00", "7.00", "993.00")
        assert of_issuer[1]["held"] == "0.00"


async def test_what_is_wrong_is_said_and_the_connection_goes_on(wallet: LiveWallet) -> None:
    messages: list[tuple[Any, str]] = [
        ("{", "not_json"),
        ("[]", "invalid_request"),
        ('{"op":"dance"}', "invalid_request"),
        ('{"op":"ping","accounts":["ann"]}', "invalid_request"),
        ('{"op":"subscribe"}', "invalid_request"),
        ('{"op":"subscribe","accounts":[]}', "invalid_request"),
        ('{"op":"subscribe","accounts":["a b"]}', "invalid_request"),
        ('{"op":"subscribe","accounts":["ann"],"more":1}', "invalid_request"),
        ('{"op":"subscribe","accounts":["ann"],"from_sequence":{"bob":1}}', "invalid_request"),
        ('{"op":"subscribe","accounts":["ann"],"from_sequence":{"ann":-1}}', "invalid_request"),
        ('{"op":"subscribe","accounts":["ann"],"from_sequence":{"ann":true}}', "invalid_request"),
        ('{"op":"subscribe","accounts":["nobody"]}', "account_not_found"),
    ]
    async with wallet.socket() as client:
        for text, code in messages:
            await client.websocket.send_str(text)
            error = await client.hear()
            assert (error["type"], error["code"]) == ("error", code), text
        await client.websocket.send_bytes(b"{}")
        assert (await client.hear())["code"] == "invalid_request"
        many = [f"a{number}" for number in range(MESSAGE_ACCOUNTS_MAX + 1)]
        await client.say(op="subscribe", accounts=many)
        assert (await client.hear())["code"] == "invalid_request"
        assert (await client.subscribe("ann"))["type"] == "state"


async def test_the_future_is_refused(wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.service.changes.LISTEN_EVERY_MS", 50)
    async with wallet.socket() as client:
        error = await client.subscribe("ann", 1_000_000)
        assert (error["code"], error["account_id"]) == ("sequence_not_reached", "ann")


async def test_a_message_that_is_too_long_ends_the_connection(wallet: LiveWallet) -> None:
    async with wallet.socket() as client:
        await client.websocket.send_str(" " * (MESSAGE_BYTES_MAX + 1))
        message = await client.websocket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert client.websocket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_the_accounts_of_a_connection_are_bounded(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_websocket, "CONNECTION_ACCOUNTS_MAX", 1)
    async with wallet.socket() as client:
        await client.subscribe("ann")
        error = await client.subscribe("bob")
        assert (error["code"], error["account_id"]) == ("too_many_accounts", "bob")
        state = await client.subscribe("ann")
        assert state["type"] == "state", "one that is watched begins anew"


async def test_what_a_process_watches_is_bounded(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given up, refused or left makes room again."""
    monkeypatch.setattr("proxy.service.changes.WATCHES_MAX", 1)
    async with wallet.socket() as client:
        assert (await client.subscribe("nobody"))["code"] == "account_not_found"
        await client.subscribe("ann")
        assert (await client.subscribe("bob"))["code"] == "no_room_to_watch"
        async with wallet.client.get("/wallet/accounts/bob/events") as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (
                503,
                "no_room_to_watch",
            )
        await client.say(op="unsubscribe", accounts=["ann"])
        await client.hear()
        assert (await client.subscribe("bob"))["type"] == "state"
    async with wallet.socket() as other:
        heard = await other.subscribe("ann")
        while heard["type"] == "error":  # until the first connection's end is noticed
            heard = await other.subscribe("ann")


async def test_a_plain_request_is_told_to_speak_websocket(wallet: LiveWallet) -> None:
    async with wallet.client.get("/wallet/subscribe") as answer:
        assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
        assert (await answer.json(content_type=None))["code"] == "upgrade_required"


async def test_no_compression_is_agreed_to(wallet: LiveWallet) -> None:
    async with wallet.socket(compress=15) as client:
        assert not client.websocket.compress


async def test_a_connection_that_ends_leaves_nothing(wallet: LiveWallet) -> None:
    """Readers are told that nobody listens any more."""
    said: list[Listen] = []
    ended = asyncio.Event()

    def note(data: bytes) -> None:
        said.append(LISTEN.decode(data))
        if not said[-1].slots:
            ended.set()

    await wallet.world.server.connect().subscribe(listen_subject(0), note)
    async with wallet.socket() as client:
        await client.subscribe("ann")
    await ended.wait()
    assert said[0].slots


async def test_a_proxy_that_ends_says_so(wallet: LiveWallet) -> None:
    async with wallet.socket() as client:
        await client.subscribe("ann")
        stopping = asyncio.create_task(wallet.runner.cleanup())
        message = await client.websocket.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert client.websocket.close_code == aiohttp.WSCloseCode.GOING_AWAY
        await stopping
