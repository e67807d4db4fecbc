"""Several whole writers on one broker in memory: who leads, and what happens when one goes."""

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from broker.port import APPEND_S_MAX, AppendRefused, AppendUnknown, NoResponse
from contracts.subjects import LEASES_STREAM, journal_subject, leader_subject, lease_subject
from tests.writer.running import ALL, LEADER_SUBJECTS, Wallet, faulty, never
from writer.config import SnapshotRule
from writer.core.leases import LEASE_RENEWED_MS
from writer.service.mandate import Mandate
from writer.service.snapshots import SNAPSHOTS_KEPT

pytestmark = pytest.mark.virtual_time


async def lose_first_claim(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch, loser: str, *, to: str
) -> None:
    """Return when a writer's first claim came a moment after another one's."""
    connection, is_lost = wallet.connections[loser], asyncio.Event()
    put = connection.put

    async def late(subject: str, data: bytes, **options: Any) -> int:
        is_claim = subject in LEADER_SUBJECTS and data == loser.encode()
        if not is_claim or is_lost.is_set():
            return await put(subject, data, **options)
        await wallet.client.put(subject, to.encode())
        is_lost.set()
        return await put(subject, data, **options)

    with monkeypatch.context() as race:
        race.setattr(connection, "put", late)
        await is_lost.wait()


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return Wallet(tmp_path)


def test_a_mandate_that_is_withdrawn_before_its_use_keeps_nobody_waiting() -> None:
    mandate = Mandate(lambda: None)
    mandate.grant()
    mandate.withdraw()
    assert not mandate.use()
    assert not mandate.is_used


async def test_a_writer_alone_leads_everything(wallet: Wallet) -> None:
    async with wallet.writer("a"):
        await wallet.until_even()


async def test_writers_that_come_and_go_share_evenly(wallet: Wallet) -> None:
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b"):
            await wallet.until_even()
            async with wallet.writer("c"), wallet.writer("d"):
                await wallet.until_even()
            await wallet.until_even()
        await wallet.until_even()


async def test_who_leaves_hands_over_without_waiting_for_its_lease(wallet: Wallet) -> None:
    async with wallet.writer("a") as leaving, wallet.writer("b") as staying:
        await wallet.until_even()
        await leaving.leading.leave()
        assert not any(writer.reigning.is_set() for writer in leaving.all)
        records = wallet.records()
        assert all(records[leader_subject(party)] == b"b" for party in ALL)
        assert records[lease_subject("a")] == b"", "nobody waits for its end"
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))
        assert "a" not in staying.leading.leases.living


async def test_a_dead_writers_parties_are_taken_over(wallet: Wallet) -> None:
    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        wallet.connections["a"].die()
        wallet.running.pop("a")
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))


async def test_nothing_is_handed_to_a_writer_that_died_before_another_came(wallet: Wallet) -> None:
    async with wallet.writer("b"):
        async with wallet.writer("a"):
            await wallet.until_even()
            wallet.connections["a"].die()
            wallet.running.pop("a")
            await wallet.until(lambda: wallet.load()["b"] == len(ALL))
        before = wallet.named("a")
        async with wallet.writer("c"):
            await wallet.until_even()
            assert wallet.named("a") == before


async def test_a_writer_that_was_split_off_comes_back_as_one_of_two(wallet: Wallet) -> None:
    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        wallet.connections["a"].cut()
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))
        wallet.connections["a"].mend()
        await wallet.until(lambda: wallet.load()["a"] > 0)
        await wallet.until_even()


async def test_leases_that_were_lost_with_their_server_are_made_again(wallet: Wallet) -> None:
    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        wallet.lose_leases()
        await wallet.until_even()
        async with wallet.writer("c"):
            await wallet.until_even()


async def test_while_no_leases_are_heard_everybody_goes_on_with_what_it_leads(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the servers of the bucket choose a leader; the journals may have theirs."""

    async def refused(*_arguments: object, **_options: object) -> int:
        raise NoResponse("no responders")

    async with wallet.writer("a") as a, wallet.writer("b") as b:
        await wallet.until_even()
        epochs = wallet.epochs()
        with monkeypatch.context() as silence:
            for connection in wallet.connections.values():
                silence.setattr(connection, "put", refused)
            await wallet.until(lambda: not a.leading.leases.can_judge)
            await wallet.until(lambda: not b.leading.leases.can_judge)
        await wallet.until(lambda: a.leading.leases.can_judge and b.leading.leases.can_judge)
        await wallet.until_even()
        assert wallet.epochs() == epochs


@pytest.mark.parametrize("silent_s", [0.6, 0.8, 1.5, 3.0])
async def test_who_is_heard_first_after_a_silence_does_not_take_the_other_for_dead(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch, silent_s: float
) -> None:
    """As when the server is lost that leads the bucket, and one writer was connected to it."""
    renewed_s = LEASE_RENEWED_MS / 1_000

    async def refused(*_arguments: object, **_options: object) -> int:
        raise NoResponse("no responders")

    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        epochs = wallet.epochs()
        with monkeypatch.context() as of_a:
            of_a.setattr(wallet.connections["a"], "put", refused)
            await asyncio.sleep(renewed_s)
            with monkeypatch.context() as of_b:
                of_b.setattr(wallet.connections["b"], "put", refused)
                await asyncio.sleep(silent_s)
            await asyncio.sleep(renewed_s)
        await asyncio.sleep(10.0)
        await wallet.until_even()
        assert wallet.epochs() == epochs


async def test_who_stands_by_takes_over_while_a_leader_recovers(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = asyncio.Event()
    async with wallet.writer("a") as a, wallet.writer("b") as b:
        await wallet.until_even()
        await wallet.until(lambda: len(b.leading.ready_parties) == len(ALL) - wallet.load()["b"])
        led = next(writer for writer in a.partitions if writer.reigning.is_set())
        (standby,) = (writer for writer in b.all if writer.party == led.party)
        restore = led.snapshots.restore

        async def slow(fresh: Callable[[], Any]) -> Any:
            await is_over.wait()
            return await restore(fresh)

        monkeypatch.setattr(led.snapshots, "restore", slow)
        wallet.server.publish(journal_subject(led.party), b"no frame at all")
        await wallet.open_account(led.party)
        await wallet.until(standby.reigning.is_set)
        assert not led.reigning.is_set()
        is_over.set()
        await wallet.until_even()


async def test_leases_that_are_read_anew_give_no_mandate_back_that_was_resigned(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when a connection breaks: by that a reign fails, and then the leases are read anew."""
    caplog.set_level(logging.INFO)
    async with wallet.writer("a") as a, wallet.writer("b") as b:
        await wallet.until_even()
        await wallet.until(lambda: len(b.leading.ready_parties) == len(ALL) - wallet.load()["b"])
        led = next(writer for writer in a.partitions if writer.reigning.is_set())
        (standby,) = (writer for writer in b.all if writer.party == led.party)
        mandate, connection = a.leading.mandates[led.party], wallet.connections["a"]
        put, leases = connection.put, wallet.server.streams[LEASES_STREAM].messages

        async def renewals_alone(subject: str, data: bytes, **options: Any) -> int:
            return await (never() if subject in LEADER_SUBJECTS else put(subject, data, **options))

        with monkeypatch.context() as of_a:
            of_a.setattr(connection, "put", renewals_alone)
            wallet.server.publish(journal_subject(led.party), b"no frame at all")
            await wallet.open_account(led.party)
            await wallet.until(lambda: not mandate.granted.is_set())
            await wallet.until(lambda: leases[-1].subject == lease_subject("b"))
            connection.cut()
            heard = len(leases)
            await wallet.until(lambda: len(leases) > heard)
            connection.mend()
            await wallet.until(lambda: "the leases are read anew" in caplog.text)
            await wallet.until(lambda: a.leading.leases.leads(led.party))
            assert not mandate.granted.is_set()
        await wallet.until(standby.reigning.is_set)


async def test_who_takes_over_keeps_the_snapshots_that_were_written_meanwhile(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet.snapshot_rule = SnapshotRule(events=1, frames=10**9, seconds=60)
    snapshots = wallet.server.snapshots
    prune = snapshots.prune
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b") as b:
            await wallet.until_even()
            await wallet.until(
                lambda: len(b.leading.ready_parties) == len(ALL) - wallet.load()["b"]
            )
            standby = next(each for each in b.partitions if not each.reigning.is_set())
            party = standby.party
            while len(snapshots.sequences(party)) < SNAPSHOTS_KEPT:
                await wallet.open_account(party)
                await asyncio.sleep(0.01)
            wallet.connections["a"].die()
            wallet.running.pop("a")
            kept = list[int]()

            def noted(of: int, below: int, named: Collection[int]) -> None:
                prune(of, below, named)
                if of == party:
                    kept.append(len(snapshots.sequences(party)))

            monkeypatch.setattr(snapshots, "prune", noted)
            await wallet.until(lambda: standby.reigning.is_set() and bool(kept))
            assert min(kept) >= SNAPSHOTS_KEPT


async def test_a_server_that_refuses_every_claim_keeps_no_party_without_a_leader(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leadership is for liveness only, so it must not hang on a compare-and-set."""
    async with wallet.writer("a"):
        await wallet.until(lambda: wallet.load()["a"] == len(ALL))
        connection = wallet.connections["a"]
        put = connection.put

        async def refusing(
            subject: str, data: bytes, *, expected_revision: int | None = None, lasts_s: int | None
        ) -> int:
            if expected_revision is not None:
                raise AppendRefused("wrong last sequence")
            return await put(subject, data, lasts_s=lasts_s)

        with monkeypatch.context() as refusal:
            refusal.setattr(connection, "put", refusing)
            async with wallet.writer("b"):
                await wallet.until_even()
                refusal.undo()
                claims = wallet.watch_claims(monkeypatch)
                async with wallet.writer("c"):
                    await wallet.until_even()
            await wallet.until_even()
        assert claims
        assert None not in claims, "a condition, while nobody refuses"


async def test_a_claim_that_was_refused_once_is_no_reason_to_claim_without_a_condition_later(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Revisions recur when the bucket is lost, and then all claim at once."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(wallet.writer("b"))
        await lose_first_claim(wallet, monkeypatch, "b", to="a")
        await stack.enter_async_context(wallet.writer("a"))
        await wallet.until_even()
        await asyncio.sleep(60)
        claims = wallet.watch_claims(monkeypatch)
        wallet.connections["a"].die()
        wallet.running.pop("a")
        wallet.lose_leases()
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))
        assert claims.count(0) >= len(ALL), "nothing was recorded any more"
        assert None not in claims


# --- who fails as a leader ---


async def test_a_writer_that_can_lead_nothing_stops_others_less_and_less_often(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b"):
            monkeypatch.setattr(wallet.connections["b"], "restore_queue", faulty)
            await asyncio.sleep(120)
            before = wallet.named("a")
            await asyncio.sleep(600)
            stopped = wallet.named("a") - before
            assert 0 < stopped <= 10 * len(ALL), "each party once a minute at most"
            await wallet.until(lambda: wallet.load() == {"a": len(ALL), "b": 0})


async def test_a_writer_that_kept_away_leads_as_soon_as_nobody_else_does(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b"):
            with monkeypatch.context() as fault:
                fault.setattr(wallet.connections["b"], "restore_queue", faulty)
                await asyncio.sleep(300)
                await wallet.until(lambda: wallet.load() == {"a": len(ALL), "b": 0})
            wallet.connections["a"].die()
            wallet.running.pop("a")
            await wallet.until(lambda: wallet.load()["b"] == len(ALL))


async def test_a_writer_that_kept_away_leads_as_soon_as_the_one_that_is_named_can_not(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, is named for the party again and again, and leads nothing."""
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b") as b:
            with monkeypatch.context() as fault:
                fault.setattr(wallet.connections["b"], "restore_queue", faulty)
                await asyncio.sleep(300)
                await wallet.until(lambda: wallet.load() == {"a": len(ALL), "b": 0})
            monkeypatch.setattr(wallet.connections["a"], "restore_queue", faulty)
            for writer in b.partitions:
                wallet.server.publish(journal_subject(writer.party), b"no frame at all")
                await wallet.open_account(writer.party)
            await wallet.until(lambda: all(each.reigning.is_set() for each in b.partitions))


async def test_who_leaves_while_a_frame_is_out_hands_over_once_that_is_given_up(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the servers choose a leader for a journal."""
    is_out = asyncio.Event()

    async def unanswered(*_arguments: object, **_options: object) -> asyncio.Future[int]:
        is_out.set()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        loop.call_later(APPEND_S_MAX, future.set_exception, AppendUnknown("no acknowledgement"))
        return future

    async with wallet.writer("a") as leaving, wallet.writer("b") as staying:
        await wallet.until_even()
        await wallet.until(
            lambda: len(staying.leading.ready_parties) == len(ALL) - wallet.load()["b"]
        )
        led = next(writer for writer in leaving.partitions if writer.reigning.is_set())
        monkeypatch.setattr(wallet.connections["a"], "append", unanswered)
        await wallet.open_account(led.party)
        await is_out.wait()
        await leaving.leading.leave()
        records = wallet.records()
        assert records[leader_subject(led.party)] == b"b"
        assert records[lease_subject("a")] == b"", "nobody waits for its end"
