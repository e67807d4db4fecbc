"""Who takes over what a writer led that died, failed or left, where some writers are new."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.subjects import journal_subject
from tests.writer.running import ALL, LEADER_SUBJECTS, PARTITIONS, Wallet, faulty, never
from writer.config import SnapshotRule
from writer.core.leases import LEASE_MS

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return Wallet(tmp_path)


@pytest.mark.parametrize("way", ["it recovers", "it can't lead"])
async def test_who_reads_on_takes_over_from_a_leader_that_fails(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """That it can't read another journal is no matter here."""
    async with wallet.writer("d"), wallet.writer("a") as a:
        await wallet.until_even()
        unread, broken, *_ = (each for each in a.all if each.reigning.is_set())
        async with wallet.writer("b") as b:
            (unreadable,) = (each for each in b.all if each.party == unread.party)
            monkeypatch.setattr(unreadable.snapshots, "restore", never)
            (standby,) = (each for each in b.all if each.party == broken.party)
            await wallet.until(lambda: b.leading.mandates[broken.party].is_ready)
            wallet.connections["d"].die()
            wallet.running.pop("d")
            await wallet.until(lambda: wallet.load()["a"] == len(ALL))
            if way == "it recovers":
                monkeypatch.setattr(broken.snapshots, "restore", never)
            else:
                monkeypatch.setattr(wallet.connections["a"], "restore_queue", faulty)
            wallet.server.publish(journal_subject(broken.party), b"no frame at all")
            if broken.party in range(PARTITIONS):
                await wallet.open_account(broken.party)
            async with asyncio.timeout(0.1):
                await standby.reigning.wait()


async def test_who_is_new_is_handed_over_to_at_once_by_one_that_leaves(wallet: Wallet) -> None:
    """Though a record of a dead writer is left, which lasts for a minute."""
    async with wallet.writer("d"), wallet.writer("a") as a:
        await wallet.until_even()
        wallet.connections["d"].die()
        wallet.running.pop("d")
        await wallet.until(lambda: wallet.load()["a"] == len(ALL))
        async with wallet.writer("b") as b:
            for each in b.all:
                await each.settled()
            await a.leading.leave()
            wallet.running.pop("a")
            async with asyncio.timeout(0.1):
                await wallet.until(lambda: wallet.load()["b"] == len(ALL))


async def test_who_was_cut_off_holds_up_no_takeover(wallet: Wallet) -> None:
    loop = asyncio.get_running_loop()
    async with wallet.writer("a"), wallet.writer("b"), wallet.writer("c"):
        await wallet.until_even()
        wallet.connections["c"].cut()
        await wallet.until(lambda: wallet.load()["a"] + wallet.load()["b"] == len(ALL))
        await asyncio.sleep(3)
        wallet.connections["a"].die()
        wallet.running.pop("a")
        died_s = loop.time()
        await asyncio.sleep(0.4)
        wallet.connections["c"].mend()
        await wallet.until(lambda: sum(wallet.load().values()) == len(ALL))
        assert loop.time() - died_s <= LEASE_MS / 1_000 + 0.02


async def test_who_reads_a_journal_again_is_handed_nothing_meanwhile(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wallet.writer("a") as a, wallet.writer("b") as b:
        await wallet.until_even()
        led = next(each for each in b.partitions if each.reigning.is_set())
        before = {each.party for each in b.all if each.reigning.is_set()}
        (heir,) = (each for each in a.all if each.party == led.party)
        monkeypatch.setattr(led.snapshots, "restore", never)
        wallet.server.publish(journal_subject(led.party), b"no frame at all")
        await wallet.open_account(led.party)
        await wallet.until(heir.reigning.is_set)
        await asyncio.sleep(3)
        assert {each.party for each in b.all if each.reigning.is_set()} < before


async def test_a_journal_that_is_out_of_reach_does_not_leave_all_others_to_one_writer(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b") as b:
            monkeypatch.setattr(b.partitions[-1].snapshots, "restore", never)
            await asyncio.sleep(90)
            assert wallet.load()["b"] == len(ALL) // 2


@pytest.mark.parametrize("answered_s", [0.0, 0.05], ids=["idle", "under load"])
async def test_a_takeover_alone_is_no_reason_for_a_snapshot(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch, answered_s: float
) -> None:
    """Frames count from the last one, whoever wrote it, and not from where this one stood by.

    Under load a frame is stored before the bucket tells which snapshots there are.
    """
    wallet.snapshot_rule = SnapshotRule(events=10**9, frames=20, seconds=10**6)
    snapshots = wallet.server.snapshots
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b") as b:
            await wallet.until_even()
            standby = next(each for each in b.partitions if not each.reigning.is_set())
            party = standby.party
            while len(snapshots.sequences(party)) < 2:
                await wallet.open_account(party)
                await asyncio.sleep(0.01)
            before = max(snapshots.sequences(party))
            connection = wallet.connections["b"]
            names = connection.snapshots

            async def late(of: int) -> list[int]:
                await asyncio.sleep(answered_s)
                return await names(of)

            monkeypatch.setattr(connection, "snapshots", late)
            wallet.connections["a"].die()
            wallet.running.pop("a")
            await wallet.until(standby.reigning.is_set)
            await wallet.open_account(party)
            await asyncio.sleep(5)
            assert max(snapshots.sequences(party)) == before


@pytest.mark.parametrize("later_s", [0.0, 0.1, 0.3, 0.5, 0.65])
async def test_who_comes_after_a_death_holds_up_no_takeover(wallet: Wallet, later_s: float) -> None:
    """As the dead one's successor, which can't know how long its predecessor has been silent."""
    loop = asyncio.get_running_loop()
    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        wallet.connections["a"].die()
        wallet.running.pop("a")
        died_s = loop.time()
        await asyncio.sleep(later_s)
        async with wallet.writer("c"):
            await wallet.until(lambda: sum(wallet.load().values()) == len(ALL))
            taken_over_s = loop.time() - died_s
            assert taken_over_s <= LEASE_MS / 1_000 + 0.02
            await wallet.until_even()


async def test_who_has_not_read_all_journals_is_handed_nothing_but_takes_what_nobody_leads(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = asyncio.Event()
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b") as b:
            last = b.partitions[-1]
            restore = last.snapshots.restore

            async def slow(fresh: Callable[[], Any]) -> Any:
                await is_over.wait()
                return await restore(fresh)

            monkeypatch.setattr(last.snapshots, "restore", slow)
            others = [each for each in b.leading.mandates if each != last.party]
            mandates = b.leading.mandates
            await wallet.until(lambda: all(mandates[each].is_ready for each in others))
            await asyncio.sleep(2.0)
            assert wallet.load()["b"] == 0
            wallet.connections["a"].die()
            wallet.running.pop("a")
            await wallet.until(lambda: wallet.load()["b"] == len(others))
            is_over.set()
            await wallet.until(lambda: wallet.load()["b"] == len(ALL))


async def test_a_hand_over_between_others_ends_no_keeping_away(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the old leader recovers and the new one is not named, nobody needs a third one."""
    async with wallet.writer("a") as a:
        await wallet.until_even()
        async with wallet.writer("c") as c:
            monkeypatch.setattr(wallet.connections["c"], "restore_queue", faulty)
            await asyncio.sleep(300)
            await wallet.until(lambda: wallet.load() == {"a": len(ALL), "c": 0})
            connection, needed = wallet.connections["a"], list[bool]()
            put = connection.put

            async def slow(subject: str, data: bytes, **options: Any) -> int:
                if data == b"b":
                    await asyncio.sleep(0.3)
                    party = ALL[LEADER_SUBJECTS.index(subject)]
                    needed.append(c.leading.mandates[party].needed.is_set())
                return await put(subject, data, **options)

            monkeypatch.setattr(connection, "put", slow)
            for writer in a.all:
                monkeypatch.setattr(writer.snapshots, "restore", never)
            async with wallet.writer("b"):
                await wallet.until(lambda: wallet.load()["b"] > 0)
            assert needed
            assert not any(needed)
