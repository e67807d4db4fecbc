"""The client's subscription to a real proxy, over a line that is cut at every place."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ewallet import repeating, subscription
from ewallet.client import WalletClient
from ewallet.client_faults import NoAnswerError, RefusedError
from ewallet.live_documents import AccountChanged, AccountStands, News
from ewallet.subscription import Subscription
from proxy.adapters import live_outflow, live_websocket
from tests.ewallet.relay import Relay, run_relay
from tests.proxy.live_wallet import LiveWallet, run_live_wallet, serve_live

pytestmark = pytest.mark.server

DEADLINE_S = 60.0


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[LiveWallet]:
    async with run_live_wallet(tmp_path) as live:
        yield live


@pytest.fixture
async def relay(wallet: LiveWallet) -> AsyncIterator[Relay]:
    async with run_relay(wallet.url) as relay:
        yield relay


class Losses:
    """Why connections were lost."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.some = asyncio.Event()

    def take(self, reason: str) -> None:
        self.reasons.append(reason)
        self.some.set()


@asynccontextmanager
async def watching(
    url: str, *account_ids: str, losses: Losses | None = None, timeout_s: float = 30.0
) -> AsyncIterator[Subscription]:
    on_loss = (losses or Losses()).take
    async with (
        asyncio.timeout(DEADLINE_S),
        WalletClient(url, timeout_s=timeout_s) as client,
        client.subscribe(*account_ids, on_loss=on_loss) as live,
    ):
        yield live


async def pay_often(wallet: LiveWallet, count: int, prefix: str = "t") -> list[int]:
    return [await wallet.pay("ann", f"{prefix}-{number}", "0.01") for number in range(count)]


async def take(live: Subscription, count: int) -> list[News]:
    return [await anext(live) for _ in range(count)]


def sequences(news: Iterable[News]) -> list[int]:
    return [each.sequence for each in news if isinstance(each, AccountChanged)]


async def test_a_state_comes_first_and_then_every_change(wallet: LiveWallet) -> None:
    async with watching(wallet.url, "ann") as live:
        first = await anext(live)
        assert isinstance(first, AccountStands)
        assert (first.account_id, first.currency, first.balance) == ("ann", "USD", "0.00")
        sequence = await wallet.pay("ann", "t1", "10.50")
        change = await anext(live)
    assert isinstance(change, AccountChanged)
    assert (change.sequence, change.transaction_id, change.direction, change.amount) == (
        sequence,
        "t1",
        "credit",
        "10.50",
    )
    assert (change.balance, change.available, change.conflated) == ("10.50", "10.50", False)


async def test_a_place_brings_what_changed_since_and_then_the_state(wallet: LiveWallet) -> None:
    paid = [await wallet.pay("ann", f"t{number}") for number in range(3)]
    async with (
        WalletClient(wallet.url, timeout_s=30) as client,
        client.subscribe("ann", "bob", from_sequence={"ann": paid[0]}) as live,
    ):
        news = [each for each in await take(live, 4) if each.account_id == "ann"]
    assert sequences(news) == paid[1:]
    assert isinstance(news[-1], AccountStands)


@pytest.mark.parametrize("seed", range(4))
async def test_cuts_at_any_byte_lose_and_double_nothing(
    wallet: LiveWallet, relay: Relay, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the middle of a handshake, of a message, and of what is caught up."""
    monkeypatch.setattr(repeating, "PAUSE_S_FIRST", 0.01)
    chance, rounds, losses = random.Random(seed), 20, Losses()
    paid: list[int] = []
    async with watching(relay.url, "ann", "issuer", losses=losses) as live:
        told = await take(live, 2)
        for number in range(rounds):
            relay.cut_after = chance.randrange(4_000)
            paying = asyncio.create_task(pay_often(wallet, 10, f"r{number}"))
            if chance.random() < 0.5:
                await paying
            relay.cut()
            while len(sequences(told)) < 2 * 10 * (number + 1):
                told.append(await anext(live))
            paid += await paying
    assert len(losses.reasons) > rounds
    for account_id in ("ann", "issuer"):
        of_account = [each for each in told if each.account_id == account_id]
        assert isinstance(of_account[0], AccountStands)
        assert sequences(of_account[1:]) == paid
        assert len(of_account) == len(paid) + 1, "the first state, and then changes only"
        assert not any(each.conflated for each in of_account)


async def test_what_is_missed_beyond_replay_is_one_conflated_state(
    wallet: LiveWallet, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.changes.REPLAY_CHANGES_MAX", 3)
    async with watching(relay.url, "ann") as live:
        await anext(live)
        relay.cut()
        for number in range(5):
            await wallet.pay("ann", f"t{number}")
        state = await anext(live)
        await wallet.pay("ann", "t5")
        change = await anext(live)
    assert isinstance(state, AccountStands)
    assert (state.balance, state.conflated) == ("5.00", True)
    assert isinstance(change, AccountChanged)
    assert (change.balance, change.conflated) == ("6.00", False)


async def test_a_proxy_that_is_stopped_says_so_and_its_successor_goes_on(
    wallet: LiveWallet, relay: Relay
) -> None:
    losses = Losses()
    async with watching(relay.url, "ann", losses=losses) as live:
        await anext(live)
        await wallet.runner.cleanup()
        async with (
            wallet.world.gateway() as gateway,
            serve_live(wallet.world, gateway) as successor,
        ):
            waiting = asyncio.create_task(anext(live))
            await losses.some.wait()
            relay.target = successor.url
            sequence = await successor.pay("ann", "t1")
            assert (await waiting).sequence == sequence
    assert "come back with from_sequence (1001)" in losses.reasons[0]


async def test_a_silent_line_is_left(
    relay: Relay, wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is up, but brings nothing, not even the wallet's pings."""
    monkeypatch.setattr(subscription, "SILENCE_S", 0.2)
    losses = Losses()
    async with watching(relay.url, "ann", losses=losses) as live:
        await anext(live)
        relay.is_silent = True
        sequence = await wallet.pay("ann", "t1")
        waiting = asyncio.create_task(anext(live))
        await losses.some.wait()
        relay.is_silent = False
        assert (await waiting).sequence == sequence
    assert "was silent for 0.2 s" in losses.reasons[0]


async def test_an_unknown_account_is_refused_and_the_others_go_on(wallet: LiveWallet) -> None:
    async with watching(wallet.url, "ann", "nobody") as live:
        with pytest.raises(RefusedError) as refused:
            await take(live, 2)
        assert str(refused.value) == (
            "nobody can't be watched: No account of this id was opened. (account_not_found)"
        )
        sequence = await wallet.pay("ann", "t1")
        while (await anext(live)).sequence < sequence:
            pass


async def test_one_account_too_many_is_refused(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_websocket, "CONNECTION_ACCOUNTS_MAX", 1)
    async with watching(wallet.url, "ann", "bob") as live:
        with pytest.raises(RefusedError, match=r"bob can't be watched: .*\(too_many_accounts\)"):
            await take(live, 2)


async def test_a_place_in_the_future_is_refused(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restore from a backup."""
    monkeypatch.setattr("proxy.service.changes.LISTEN_EVERY_MS", 50)
    async with (
        WalletClient(wallet.url, timeout_s=30) as client,
        client.subscribe("ann", from_sequence={"ann": 1_000_000}) as live,
    ):
        with pytest.raises(RefusedError, match="sequence_not_reached"):
            await anext(live)
        await live.add("ann")
        assert isinstance(await anext(live), AccountStands)


async def test_what_is_no_id_is_refused_before_it_is_sent() -> None:
    async with WalletClient("http://127.0.0.1:1", timeout_s=5) as client:
        with pytest.raises(RefusedError, match="'a b' is not the id of an account"):
            client.subscribe("ann", "a b")


async def test_a_lack_of_room_is_waited_for(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Losses()
    monkeypatch.setattr("proxy.service.changes.WATCHES_MAX", 1)
    async with watching(wallet.url, "bob", losses=losses) as live:
        async with wallet.socket() as other:
            await other.subscribe("ann")
            waiting = asyncio.create_task(anext(live))
            await losses.some.wait()
        assert (await waiting).account_id == "bob"
    assert "(no_room_to_watch)" in losses.reasons[0]


async def test_accounts_come_and_go_on_an_open_subscription(
    wallet: LiveWallet, relay: Relay
) -> None:
    losses = Losses()
    async with watching(relay.url, "ann", losses=losses) as live:
        await anext(live)
        await live.add("bob", "ann")
        state = await anext(live)
        assert (type(state), state.account_id) == (AccountStands, "bob")
        await live.remove("ann")
        await wallet.pay("ann", "t1")
        await wallet.pay("bob", "t2")
        assert (await anext(live)).account_id == "bob"
        relay.cut()
        await wallet.pay("ann", "t3")
        sequence = await wallet.pay("bob", "t4")
        news = await anext(live)
        assert (news.account_id, news.sequence) == ("bob", sequence), "the new connection knows it"
    assert len(losses.reasons) == 1


async def test_an_account_that_comes_back_at_once_is_told_nothing_twice(
    wallet: LiveWallet,
) -> None:
    """What the wallet had sent before it heard of the removal does not count."""
    async with watching(wallet.url, "ann") as live:
        place = (await anext(live)).sequence
        paid = [await wallet.pay("ann", f"t{number}") for number in range(3)]
        await live.remove("ann")
        await live.add("ann", from_sequence={"ann": place})
        news = await take(live, 4)
    assert sequences(news) == paid
    assert isinstance(news[-1], AccountStands)


async def test_more_accounts_than_a_message_may_name_are_watched(wallet: LiveWallet) -> None:
    many = [f"user-{number}" for number in range(450)]
    for at in range(0, 450, 50):
        await asyncio.gather(*(wallet.open(each) for each in many[at : at + 50]))
    async with watching(wallet.url, *many) as live:
        news = await take(live, 450)
    assert sorted(each.account_id for each in news) == sorted(many)


async def test_waiting_that_is_cancelled_loses_nothing(wallet: LiveWallet) -> None:
    async with watching(wallet.url, "ann") as live:
        told = [await anext(live)]
        paying = asyncio.create_task(pay_often(wallet, 300))
        while len(sequences(told)) < 300:
            try:
                async with asyncio.timeout(0.002):
                    told.append(await anext(live))
            except TimeoutError:
                pass
        assert sequences(told) == await paying


async def test_who_takes_slowly_is_told_what_was_left_out(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or comes back behind what it had; either way the last it is told is how it stands."""
    monkeypatch.setattr(live_outflow, "OUTFLOW_BYTES_MAX", 2_000)
    monkeypatch.setattr(live_outflow, "OUTFLOW_NEWS_MAX", 20)
    paused = asyncio.Event()
    original = live_outflow.Outflow.pause

    def pause(outflow: live_outflow.Outflow) -> None:
        original(outflow)
        paused.set()

    monkeypatch.setattr(live_outflow.Outflow, "pause", pause)
    wallet.use_small_buffers()
    async with watching(wallet.url, "ann") as live:
        told = [await anext(live)]
        number, more = 0, 2
        while more:
            more -= paused.is_set()
            await asyncio.gather(*(wallet.pay("ann", f"t{number}-{n}", "0.01") for n in range(200)))
            number += 200
        while told[-1].balance != f"{number / 100:.2f}":
            told.append(await anext(live))
    assert sequences(told) == sorted(set(sequences(told)))
    assert len(told) < number
    assert any(each.conflated for each in told)


async def test_nobody_there_is_said_at_once(unused_tcp_port: int) -> None:
    async with watching(f"http://127.0.0.1:{unused_tcp_port}", "ann") as live:
        with pytest.raises(NoAnswerError, match="start one with `ewallet up`"):
            await anext(live)


async def test_an_outage_ends_when_its_time_is_up_and_can_be_gone_on_after(
    wallet: LiveWallet, relay: Relay
) -> None:
    losses = Losses()
    async with watching(relay.url, "ann", losses=losses, timeout_s=1.0) as live:
        await anext(live)
        relay.target = "http://127.0.0.1:1"
        relay.cut()
        with pytest.raises(NoAnswerError):
            await anext(live)
        assert losses.reasons, "it tried again"
        relay.target = wallet.url
        sequence = await wallet.pay("ann", "t1")
        assert (await anext(live)).sequence == sequence
