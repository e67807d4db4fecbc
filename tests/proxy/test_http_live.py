"""Watching accounts over WebSocket and Server-Sent Events, with real parts behind the server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from yarl import URL

from contracts.changes import Listen
from contracts.frames import LISTEN
from contracts.subjects import listen_subject
from proxy.adapters import live_event_stream, live_outflow, live_websocket
from proxy.adapters.http_server import HttpLimits
from proxy.adapters.live_outflow import Outflow
from proxy.adapters.live_websocket import WebSocketListener
from proxy.core.live_requests import MESSAGE_ACCOUNTS_MAX, MESSAGE_BYTES_MAX
from tests.proxy.live_wallet import LiveWallet, Socket, run_live_wallet, serve_live
from tests.proxy.test_service import World

pytestmark = pytest.mark.server

DEADLINE_S = 30.0


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[LiveWallet]:
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path) as live:
        yield live


class SlowSocket:
    """A client that reads from its connection only when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, **message: Any) -> None:
        text = orjson.dumps(message)
        assert len(text) < 126
        self._writer.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)

    def pong(self) -> None:
        self._writer.write(b"\x8a\x80\x00\x00\x00\x00")

    async def hear(self) -> tuple[int, bytes]:
        """The kind of the next frame, and what is in it."""
        async with asyncio.timeout(10):
            kind, size = await self._reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self._reader.readexactly(2), "big")
            return kind & 15, await self._reader.readexactly(size)

    async def hear_message(self) -> dict[str, Any]:
        kind, data = await self.hear()
        while kind == 9:  # a ping
            kind, data = await self.hear()
        assert kind == 1, (kind, data)
        message: dict[str, Any] = orjson.loads(data)
        return message


@asynccontextmanager
async def slow_socket(wallet: LiveWallet) -> AsyncIterator[SlowSocket]:
    """The kernel's buffers are small, so that what it does not read is soon the server's."""
    wallet.use_small_buffers()
    host, port = wallet.url.removeprefix("http://").split(":")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.setblocking(False)  # noqa: FBT003  # its own name
    await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=plain, limit=2_048)
    writer.write(
        b"GET /wallet/subscribe HTTP/1.1\r\nHost: wallet\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    try:
        yield SlowSocket(reader, writer)
    finally:
        writer.close()


# --- WebSocket ---


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
    monkeypatch.setattr("reader.service.answering.QUERY_WAIT_S", 0.1)
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


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 101),
        ("same", 101),
        ("https://shop.example", 101),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("", 403),
    ],
)
async def test_pages_of_strange_origins_may_not_watch(
    tmp_path: Path, origin: str | None, status: int
) -> None:
    origins = ["https://shop.example"]
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path, origins=origins) as wallet:
        headers = {} if origin is None else {"Origin": wallet.url if origin == "same" else origin}
        try:
            async with wallet.socket(headers=headers) as client:
                assert (await client.subscribe("ann"))["type"] == "state"
                got = 101
        except aiohttp.WSServerHandshakeError as refusal:
            got = refusal.status
        assert got == status
        async with wallet.client.get("/wallet/accounts/ann/events", headers=headers) as answer:
            assert answer.status == (200 if status == 101 else 403)


async def test_a_plain_request_is_told_to_speak_websocket(wallet: LiveWallet) -> None:
    async with wallet.client.get("/wallet/subscribe") as answer:
        assert (answer.status, answer.headers["Upgrade"]) == (426, "websocket")
        assert (await answer.json(content_type=None))["code"] == "upgrade_required"


async def test_no_compression_is_agreed_to(wallet: LiveWallet) -> None:
    async with wallet.socket(compress=15) as client:
        assert not client.websocket.compress


async def test_who_reads_too_slowly_gets_the_newest_and_is_told_so(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that watches the same is told all of it."""
    monkeypatch.setattr(live_outflow, "OUTFLOW_BYTES_MAX", 2_000)
    monkeypatch.setattr(live_outflow, "OUTFLOW_NEWS_MAX", 20)
    async with slow_socket(wallet) as slow, wallet.socket() as quick:
        await quick.subscribe("ann")
        slow.say(op="subscribe", accounts=["ann"])
        told: list[dict[str, Any]] = []
        await pay_until_full(wallet, quick, told)
        heard = [await slow.hear_message()]
        while heard[-1]["sequence"] < told[-1]["sequence"]:
            heard.append(await slow.hear_message())
    by_sequence = {each["sequence"]: each for each in told}
    assert list(by_sequence) == sorted(by_sequence)
    assert not any(each["conflated"] for each in told)
    assert heard[0]["type"] == "state"
    assert any(each["conflated"] for each in heard)
    for before, after in pairwise(heard):
        same = by_sequence[after["sequence"]]
        skipped = [at for at in by_sequence if before["sequence"] < at < after["sequence"]]
        assert after == same | {"conflated": bool(skipped)}


async def test_what_waits_for_room_is_told_whole_while_it_is_not_too_much(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when much is replayed to who comes back."""
    monkeypatch.setattr(live_outflow, "OUTFLOW_BYTES_MAX", 2_000)
    paused: list[Outflow] = []
    original = Outflow.pause

    def pause(outflow: Outflow) -> None:
        paused.append(outflow)
        original(outflow)

    monkeypatch.setattr(Outflow, "pause", pause)
    for at in range(0, 900, 100):
        await asyncio.gather(*(wallet.pay("ann", f"t{at + n}", "0.01") for n in range(100)))
    async with slow_socket(wallet) as slow:
        slow.say(op="subscribe", accounts=["ann"], from_sequence={"ann": 1})
        heard = [await slow.hear_message() for _ in range(901)]
    assert paused, "there was room all the time"
    assert [each["type"] for each in heard] == ["change"] * 900 + ["state"]
    assert not any(each["conflated"] for each in heard)
    assert [each["balance"] for each in heard[:900]] == [f"{n / 100:.2f}" for n in range(1, 901)]


async def pay_until_full(wallet: LiveWallet, quick: Socket, told: list[dict[str, Any]]) -> None:
    """Pay until a connection takes no more, and then some."""
    paused = asyncio.Event()
    original = Outflow.pause

    def pause(outflow: Outflow) -> None:
        original(outflow)
        paused.set()

    more = 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outflow, "pause", pause)
        while more:
            more -= paused.is_set()
            number = len(told)
            await asyncio.gather(*(wallet.pay("ann", f"t{number + n}", "0.01") for n in range(100)))
            told += [await quick.hear() for _ in range(100)]


async def test_who_reads_nothing_for_long_is_cut_off_and_told_why(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_outflow, "OUTFLOW_BYTES_MAX", 2_000)
    monkeypatch.setattr(live_outflow, "STUCK_S", 0.01)
    cut = asyncio.Event()
    original = WebSocketListener.close

    def close(listener: WebSocketListener) -> None:
        original(listener)
        cut.set()

    monkeypatch.setattr(WebSocketListener, "close", close)
    async with slow_socket(wallet) as slow:
        slow.say(op="subscribe", accounts=["ann"])
        number = 0
        while not cut.is_set():
            number += 1
            await asyncio.gather(*(wallet.pay("ann", f"t{number}-{n}", "0.01") for n in range(100)))
        kind, data = await slow.hear()
        heard = []
        while kind == 1:
            heard.append(orjson.loads(data)["sequence"])
            kind, data = await slow.hear()
    assert (kind, data[:2]) == (8, (4_008).to_bytes(2, "big"))
    assert b"from_sequence" in data
    assert heard == sorted(set(heard))


async def test_a_quiet_connection_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on idle connections is for those that wait for a request."""
    monkeypatch.setattr(live_websocket, "HEARTBEAT_S", 1.0)
    limits = HttpLimits(idle_timeout_s=0.1)
    async with (
        asyncio.timeout(DEADLINE_S),
        run_live_wallet(tmp_path, limits=limits) as wallet,
        slow_socket(wallet) as client,
    ):
        client.say(op="subscribe", accounts=["ann"])
        assert (await client.hear_message())["type"] == "state"
        for _ in range(2):
            assert await client.hear() == (9, b"")
            client.pong()
        await wallet.pay("ann", "t1")
        assert (await client.hear_message())["type"] == "change"


async def test_a_connection_that_answers_no_ping_is_ended(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_websocket, "HEARTBEAT_S", 0.1)
    async with slow_socket(wallet) as client:
        assert await client.hear() == (9, b"")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.hear_message()


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


# --- Server-Sent Events ---


async def read_event(answer: aiohttp.ClientResponse) -> tuple[str, int, dict[str, Any]]:
    """Kind, id and message of the next event; comments are skipped."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(10):
        while "data" not in fields:
            fields = {}
            while line := (await answer.content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
    return fields["event"], int(fields["id"]), orjson.loads(fields["data"])


EVENTS = "/wallet/accounts/ann/events"


async def test_events_begin_with_the_present_state(wallet: LiveWallet) -> None:
    async with wallet.client.get(EVENTS) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        kind, number, state = await read_event(answer)
        assert (kind, number, state["balance"]) == ("state", state["sequence"], "0.00")
        sequence = await wallet.pay("ann", "t1", "3.00")
        kind, number, change = await read_event(answer)
        assert (kind, number, change["balance"]) == ("change", sequence, "3.00")


@pytest.mark.parametrize("place", ["header", "query"])
async def test_events_go_on_where_the_last_one_was(wallet: LiveWallet, place: str) -> None:
    first = await wallet.pay("ann", "t1")
    second = await wallet.pay("ann", "t2")
    header = {"Last-Event-ID": str(first)} if place == "header" else {}
    query = {"from_sequence": str(first)} if place == "query" else {"from_sequence": "1"}
    async with wallet.client.get(EVENTS, headers=header, params=query) as answer:
        kind, number, _ = await read_event(answer)
        assert (kind, number) == ("change", second)
        kind, number, state = await read_event(answer)
        assert (kind, state["balance"]) == ("state", "2.00")


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/wallet/accounts/nobody/events", {}, 404, "account_not_found"),
        ("/wallet/accounts/a%20b/events", {}, 400, "invalid_request"),
        (f"{EVENTS}?from_sequence=x", {}, 400, "invalid_request"),
        (EVENTS, {"Last-Event-ID": "-1"}, 400, "invalid_request"),
        ("/wallet/subscribe?x=1", {}, 400, "invalid_request"),
    ],
)
async def test_what_can_not_be_watched_is_a_problem(
    wallet: LiveWallet, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    url = URL(path, encoded=True)
    async with wallet.client.get(url, headers=headers) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (status, code)


async def test_a_head_of_events_ends(wallet: LiveWallet) -> None:
    async with wallet.client.head(EVENTS) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


async def test_comments_keep_events_alive(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_event_stream, "HEARTBEAT_S", 0.01)
    async with wallet.client.get(EVENTS) as answer:
        await read_event(answer)
        comments = [await answer.content.readline() for _ in range(6)]
    assert comments.count(b":\n") == 3


async def test_events_of_a_proxy_that_ends_end(wallet: LiveWallet) -> None:
    async with wallet.client.get(EVENTS) as answer:
        await read_event(answer)
        stopping = asyncio.create_task(wallet.runner.cleanup())
        rest = await answer.content.read()
        assert rest.endswith(b": the wallet is restarted\n\n")
        await stopping


# --- faults behind the proxy ---


async def test_a_reader_that_is_started_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Changes that nobody pushed are asked for."""
    world = World(tmp_path)
    async with (
        asyncio.timeout(DEADLINE_S),
        world.gateway() as gateway,
        world.writer(),
        serve_live(world, gateway) as wallet,
        AsyncExitStack() as readers,
    ):
        await readers.enter_async_context(world.reader())
        for account_id in ("issuer", "ann"):
            await wallet.open(account_id, "1000.00")
        async with wallet.socket() as client:
            await client.subscribe("ann")
            sequences = [await wallet.pay("ann", "t0")]
            for round_ in range(3):
                await readers.aclose()
                paying = asyncio.create_task(wallet.pay("ann", f"between-{round_}"))
                await readers.enter_async_context(world.reader())
                sequences.append(await paying)
                sequences.append(await wallet.pay("ann", f"after-{round_}"))
            heard = [await client.hear() for _ in sequences]
    assert [(each["type"], each["sequence"]) for each in heard] == [
        ("change", sequence) for sequence in sequences
    ]


async def test_a_lost_connection_to_the_broker_loses_and_doubles_nothing(
    wallet: LiveWallet,
) -> None:
    async with wallet.socket() as client:
        await client.subscribe("ann")
        sequences = [await wallet.pay("ann", "t0")]
        for round_ in range(3):
            wallet.world.proxy_connection.cut()
            paying = asyncio.create_task(wallet.pay("ann", f"t{round_ + 1}"))
            await asyncio.sleep(0)
            wallet.world.proxy_connection.mend()
            sequences.append(await paying)
        heard = [await client.hear() for _ in sequences]
    assert [each["sequence"] for each in heard] == sequences
