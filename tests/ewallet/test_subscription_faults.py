"""What the client's subscription makes of a WebSocket server's words and deeds, by scripts."""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec
import pytest

from ewallet import live_documents, watched_accounts
from ewallet.client import WalletClient
from ewallet.client_faults import NoAnswerError, RefusedError
from ewallet.live_documents import AccountStands
from proxy.core import live_messages
from proxy.core.live_requests import MESSAGE_ACCOUNTS_MAX
from tests.ewallet.scripted_server import DEADLINE_S, Server, Socket, watch

pytestmark = pytest.mark.server


async def begin(socket: Socket) -> None:
    await socket.asked()
    await socket.state(1)
    await socket.stay()


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_proxy_that_has_no_room_is_asked_again(
    server: Server, client: WalletClient, status: int
) -> None:
    server.script = [status, status, begin]
    async with watch(server, client) as live:
        assert (await anext(live)).sequence == 1
    assert len(server.losses) == 2
    assert str(status) in server.losses[0]


@pytest.mark.parametrize("status", [200, 400, 403, 404, 426])
async def test_who_may_not_watch_is_told_at_once(
    server: Server, client: WalletClient, status: int
) -> None:
    server.script = [status]
    async with watch(server, client) as live:
        with pytest.raises(RefusedError, match=str(status)):
            await anext(live)
    assert (server.connections, server.losses) == (1, [])


async def test_who_is_closed_with_a_reason_goes_on_behind_what_it_was_told(
    server: Server, client: WalletClient
) -> None:
    asked = []

    async def cut_off(socket: Socket) -> None:
        asked.append(await socket.asked())
        await socket.state(4)
        await socket.change(7, "1.00")
        await socket.websocket.close(code=4_008, message=b"too slow")

    async def go_on(socket: Socket) -> None:
        asked.append(await socket.asked())
        await socket.change(9, "2.00")
        await socket.state(9, "2.00")
        await socket.change(11, "3.00")
        await socket.stay()

    server.script = [cut_off, go_on]
    async with watch(server, client) as live:
        told = [(await anext(live)).sequence for _ in range(4)]
    assert told == [4, 7, 9, 11]
    assert asked == [
        {"op": "subscribe", "accounts": ["ann"], "from_sequence": {}},
        {"op": "subscribe", "accounts": ["ann"], "from_sequence": {"ann": 7}},
    ]
    assert server.losses == [f"{server.url.rstrip('/')} closed the connection: too slow (4008)"]


async def test_a_state_is_given_if_it_says_something_new(
    server: Server, client: WalletClient
) -> None:
    async def talk(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1, "5.00")
        await socket.state(2, "5.00")
        await socket.state(3, "5.00", conflated=True)  # it went up and down meanwhile
        await socket.change(4, "6.00")
        await socket.state(5, "6.00")
        await socket.state(6, "6.00", held="1.00")
        await socket.state(3, "6.00", held="1.00")  # as if the wallet had gone back
        await socket.change(7, "7.00")
        await socket.stay()

    server.script = [talk]
    async with watch(server, client) as live:
        told = [(await anext(live)).sequence for _ in range(6)]
    assert told == [1, 3, 4, 6, 3, 7]


async def test_a_pong_is_no_news(server: Server, client: WalletClient) -> None:
    async def talk(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        await socket.say(type="pong")
        await socket.change(2, "1.00")
        await socket.stay()

    server.script = [talk]
    async with watch(server, client) as live:
        assert [(await anext(live)).sequence for _ in range(2)] == [1, 2]


async def test_a_message_that_is_no_wallets_is_not_skipped(
    server: Server, client: WalletClient
) -> None:
    """It may have been a change, so it ends with a fault, and who goes on gets what it was."""

    async def talk(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        await socket.say(type="change", account_id="ann")
        await socket.stay()

    async def go_on(socket: Socket) -> None:
        assert (await socket.asked())["from_sequence"] == {"ann": 1}
        await socket.change(2, "1.00")
        await socket.stay()

    server.script = [talk, go_on]
    async with watch(server, client) as live:
        await anext(live)
        with pytest.raises(NoAnswerError, match="not one of a wallet"):
            await anext(live)
        assert (await anext(live)).sequence == 2


async def test_a_reader_that_is_not_as_far_yet_is_waited_for(
    server: Server, client: WalletClient
) -> None:
    async def lag(socket: Socket) -> None:
        await socket.asked()
        await socket.refuse("sequence_not_reached")
        await socket.stay()

    async def leave(socket: Socket) -> None:
        await socket.asked()
        await socket.state(5)

    async def catch_up(socket: Socket) -> None:
        assert (await socket.asked())["from_sequence"] == {"ann": 5}
        await socket.change(6, "1.00")
        await socket.stay()

    server.script = [leave, lag, lag, catch_up]
    async with watch(server, client) as live:
        assert [(await anext(live)).sequence for _ in range(2)] == [5, 6]


async def test_nothing_of_a_removed_account_is_given(server: Server, client: WalletClient) -> None:
    """Though the wallet tells of it until it has heard."""

    async def talk(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        assert await socket.asked() == {"op": "unsubscribe", "accounts": ["ann"]}
        await socket.change(2, "1.00")
        await socket.refuse("account_not_found")
        await socket.say(type="unsubscribed", accounts=["ann"])
        assert (await socket.asked())["accounts"] == ["ann"]
        await socket.state(3, "2.00")
        await socket.stay()

    server.script = [talk]
    async with watch(server, client) as live:
        await anext(live)
        await live.remove("ann")
        await live.add("ann")
        again = await anext(live)
    assert isinstance(again, AccountStands)
    assert again.sequence == 3


async def test_it_ends_with_its_block(server: Server, client: WalletClient) -> None:
    ended = asyncio.Event()

    async def talk(socket: Socket) -> None:
        await socket.asked()
        await socket.state(1)
        assert (await socket.websocket.receive()).type is aiohttp.WSMsgType.CLOSE
        ended.set()

    server.script = [talk]
    async with asyncio.timeout(DEADLINE_S):
        async with watch(server, client) as live:
            await anext(live)
        await ended.wait()


@pytest.mark.parametrize("name", ["AccountStands", "AccountChanged"])
def test_news_has_the_fields_that_the_wallet_sends(name: str) -> None:
    fields = {each.name for each in msgspec.structs.fields(getattr(live_documents, name))}
    assert fields | {"type"} == set(getattr(live_messages, name).__annotations__)


def test_a_message_names_as_many_accounts_as_the_wallet_takes() -> None:
    assert watched_accounts.MESSAGE_ACCOUNTS_MAX == MESSAGE_ACCOUNTS_MAX
