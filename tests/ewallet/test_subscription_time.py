"""How long the client's subscription waits for a wallet that does not tell, by scripts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count

import pytest
from aiohttp import WSMsgType

from ewallet import subscription
from ewallet.client import WalletClient
from ewallet.client_faults import NoAnswerError, RefusedError
from ewallet.live_documents import News
from ewallet.subscription import Subscription
from tests.ewallet.scripted_server import (
    DEADLINE_S,
    Server,
    Socket,
    Talk,
    watch,
)

pytestmark = pytest.mark.server


async def test_a_wallet_that_went_back_is_a_refusal_when_the_time_is_up(server: Server) -> None:
    """As one that was restored from a backup: it will not get there."""

    async def back(socket: Socket) -> None:
        await socket.asked()
        await socket.refuse("sequence_not_reached")
        await socket.stay()

    async def leave(socket: Socket) -> None:
        await socket.asked()
        await socket.state(5)

    server.script = [leave, back]
    async with (
        WalletClient(server.url, timeout_s=1.0) as client,
        watch(server, client) as live,
    ):
        await anext(live)
        with pytest.raises(RefusedError, match="sequence_not_reached"):
            await anext(live)


async def test_a_wallet_that_takes_everybody_and_tells_nobody_is_given_up(server: Server) -> None:
    async def leave(socket: Socket) -> None:
        await socket.asked()

    server.script = [leave]
    async with (
        WalletClient(server.url, timeout_s=1.0) as client,
        watch(server, client) as live,
    ):
        with pytest.raises(NoAnswerError, match="closed the connection"):
            await anext(live)
    assert server.connections > 1


async def ping_on(socket: Socket) -> None:
    """Until the client goes."""
    while True:
        await socket.websocket.ping()
        with suppress(TimeoutError):
            await socket.websocket.receive(0.05)
            return


async def tell_of_ann_only(socket: Socket) -> None:
    for sequence in count(2):
        await socket.change(sequence, "1.00")
        with suppress(TimeoutError):
            await socket.websocket.receive(0.05)
            return


@pytest.mark.parametrize("go_on", [ping_on, tell_of_ann_only])
@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_wallet_that_does_not_tell_of_every_account_in_time_is_given_up(
    server: Server,
    go_on: Talk,
    comes_back: bool,  # noqa: FBT001 # drawn
) -> None:
    """Though it says something all the time."""

    async def tell_of_both(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        await socket.state(1, account_id="bob")

    async def talk(socket: Socket) -> None:
        await socket.asked()
        await go_on(socket)

    server.script = [tell_of_both, talk] if comes_back else [talk]
    async with (
        asyncio.timeout(DEADLINE_S),
        WalletClient(server.url, timeout_s=0.5) as client,
        client.subscribe("ann", "bob") as live,
    ):
        with pytest.raises(NoAnswerError, match="did not tell of every account"):
            await until_it_ends(live)
    assert server.connections == 1 + comes_back


async def test_an_added_account_must_be_told_of_in_time_too(server: Server) -> None:
    """Also for who waits for news already."""

    async def talk(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        assert (await socket.asked())["accounts"] == ["bob"]
        await ping_on(socket)

    server.script = [talk]
    async with (
        asyncio.timeout(DEADLINE_S),
        WalletClient(server.url, timeout_s=0.5) as client,
        client.subscribe("ann") as live,
    ):
        await anext(live)
        waiting = asyncio.create_task(until_it_ends(live))
        await asyncio.sleep(0)
        await live.add("bob")
        with pytest.raises(NoAnswerError, match="did not tell of every account"):
            await waiting


async def test_who_adds_accounts_all_the_time_is_not_given_up(server: Server) -> None:
    """Each is told of soon after, so at every moment one has still to be."""
    timeout_s = 0.5
    clock = asyncio.get_running_loop().time

    async def tell_of_the_one_before(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        asked = [(await socket.asked())["accounts"][0]]
        while (message := await socket.websocket.receive()).type is WSMsgType.TEXT:
            asked += message.json()["accounts"]
            await socket.state(1, account_id=asked[-2])

    server.script = [tell_of_the_one_before]
    async with (
        asyncio.timeout(DEADLINE_S),
        WalletClient(server.url, timeout_s=timeout_s) as client,
        watch(server, client) as live,
    ):
        await anext(live)
        end_s = clock() + 2 * timeout_s
        await live.add("a0")
        for number in count(1):
            await live.add(f"a{number}")
            assert (await anext(live)).account_id == f"a{number - 1}"
            if clock() > end_s:
                break
    assert server.losses == []


async def test_who_iterates_on_after_a_long_time_has_the_whole_time_again(server: Server) -> None:
    """It had stopped between two tries."""
    timeout_s = 1.0
    is_lost, is_later = asyncio.Event(), asyncio.Event()

    async def leave(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)

    async def go_on(socket: Socket) -> None:
        await socket.asked()
        await socket.change(2, "1.00")
        await socket.stay()

    server.script = [leave, go_on]
    async with (
        asyncio.timeout(DEADLINE_S),
        WalletClient(server.url, timeout_s=timeout_s) as client,
        client.subscribe("ann", on_loss=lambda _: is_lost.set()) as live,
    ):
        await anext(live)
        waiting = asyncio.create_task(take_one(live))
        await is_lost.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        asyncio.get_running_loop().call_later(timeout_s, is_later.set)
        await is_later.wait()
        assert (await anext(live)).sequence == 2


async def test_nothing_is_awaited_of_a_removed_account(server: Server) -> None:
    """What comes then comes later than the account would have had to."""
    timeout_s = 0.5
    clock = asyncio.get_running_loop().time

    async def talk(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        assert (await socket.asked())["op"] == "subscribe"
        end_s = clock() + 2 * timeout_s
        assert (await socket.asked())["op"] == "unsubscribe"
        await socket.say(type="unsubscribed", accounts=["bob"])
        while clock() < end_s:
            with pytest.raises(TimeoutError):
                await socket.websocket.receive(0.05)
        await socket.change(2, "1.00")
        await socket.stay()

    server.script = [talk]
    async with (
        asyncio.timeout(DEADLINE_S),
        WalletClient(server.url, timeout_s=timeout_s) as client,
        watch(server, client) as live,
    ):
        await anext(live)
        waiting = asyncio.create_task(take_one(live))
        await asyncio.sleep(0)
        await live.add("bob")
        await live.remove("bob")
        assert (await waiting).sequence == 2
    assert server.losses == []


async def until_it_ends(live: Subscription) -> None:
    while True:
        await anext(live)


async def take_one(live: Subscription) -> News:
    return await anext(live)


async def test_pings_keep_a_quiet_connection(
    server: Server, client: WalletClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays quiet for longer than silence is borne."""
    monkeypatch.setattr(subscription, "SILENCE_S", 2.0)
    clock = asyncio.get_running_loop().time

    async def talk(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        end_s = clock() + 2.5
        while clock() < end_s:
            await socket.websocket.ping()
            with pytest.raises(TimeoutError):  # the answer is aiohttp's to take
                await socket.websocket.receive(0.1)
        await socket.change(2, "1.00")
        await socket.stay()

    server.script = [talk]
    async with asyncio.timeout(DEADLINE_S), watch(server, client) as live:
        assert [(await anext(live)).sequence for _ in range(2)] == [1, 2]
    assert server.losses == []
