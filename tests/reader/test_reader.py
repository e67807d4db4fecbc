"""A whole reader on a memory broker: pushes, restarts, rebuilds, and what it refuses."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from broker.port import BrokerUnfit
from broker.witness import read_witness, witness_path
from contracts.frames import EVENT_FRAME, frame_hash
from contracts.queries import AccountQuery, EntriesQuery
from contracts.results import Result
from contracts.status import ReaderStatus, decode_status
from contracts.subjects import journal_stream, status_subject
from reader.adapters.store_folder import present_file, store_folder
from reader.adapters.store_sqlite import SqliteReadStore
from reader.bootstrap import rebuild_on, serve_on
from reader.core.rows import Group
from reader.ports import JournalInDoubt, ReaderUnfit, StoreFault
from runtime.settings import ServiceSettings
from tests.reader.desk import dump
from tests.reader.histories import busy_writer, transfer
from tests.reader.journal_writer import Writer
from tests.reader.running import Journals, Running


async def test_every_result_is_pushed_to_its_proxy_in_order(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(50)
    async with Running(journals, tmp_path) as reader:
        await journals.append(writer.frames)
        await reader.reach(writer.tip.sequence)
        await reader.pushes(_expected(writer))


async def test_a_reader_that_stops_leaves_queries_to_others_while_it_still_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows no more: who demands what it lacks would wait there in vain."""
    journals, writer, may_store = Journals(), busy_writer(20), threading.Event()
    readings, write = journals.server.streams[journal_stream(0)].readings, SqliteReadStore.write

    def write_late(store: SqliteReadStore, group: Group) -> None:
        may_store.wait()
        write(store, group)

    monkeypatch.setattr(SqliteReadStore, "write", write_late)
    async with Running(journals, tmp_path / "a") as stopping, Running(journals, tmp_path / "b"):
        await journals.append(writer.frames)
        for _ in range(2):
            await stopping.reach(writer.tip.sequence)
        try:
            stopping.stop()
            async with asyncio.timeout(10):
                while len(readings) > 1:  # noqa: ASYNC110  # the server knows who follows
                    await asyncio.sleep(0.001)
            known = len(writer.frames)
            writer.write([("p1", 3, [transfer("issuer", "anna", 1, "later")])])
            await journals.append(writer.frames[known:])
            for _ in range(4):
                await stopping.reach(writer.tip.sequence)
        finally:
            may_store.set()


async def test_a_frame_that_does_not_chain_is_dropped_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A deposed writer's frame, a duplicate, and bytes that are no frame at all."""
    journals, writer = Journals(), busy_writer(20)
    rival = Writer()
    rival.write([("p2", 5, [transfer("issuer", "anna", 1, "t")])])
    strange = [rival.frames[-1], writer.frames[1], b"\x01 no frame"]
    async with Running(journals, tmp_path) as reader:
        await journals.append([*writer.frames[:2], *strange, *writer.frames[2:]])
        await reader.reach(writer.tip.sequence)
        await reader.pushes(_expected(writer))
    dropped = [record.getMessage() for record in caplog.records if "dropped" in record.message]
    assert [
        f"partition 0: frame at stream sequence {at} dropped" in line
        for at, line in zip((3, 4, 5), dropped, strict=True)
    ] == [True] * 3


async def test_a_restart_pushes_nothing_again_and_forgets_nothing(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(100)
    await journals.append(writer.frames[:9])
    async with Running(journals, tmp_path) as reader:
        pass
    for _ in range(2):
        async with Running(journals, tmp_path) as reader:
            assert reader.pushed == {}
    await journals.append(writer.frames[9:])
    async with Running(journals, tmp_path) as reader:
        tip = writer.tip.sequence
        assert reader.pushed["p1"] == _expected(writer)["p1"][_count(writer, 9) :]
        for account_id in ("issuer", "anna", "bert", "carl"):
            page = await reader.ask(EntriesQuery(account_id, 500))
            assert page == writer.books.entries(account_id, 500, None, tip=tip)


async def test_a_repeat_after_a_restart_is_answered_from_the_store(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(10)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path):
        pass
    async with Running(journals, tmp_path) as reader:
        again = [transfer("issuer", "anna", 1, "t0"), transfer("anna", "bert", 10**6, "refused-5")]
        await journals.append([writer.write([("p2", 1, again)])])
        await reader.reach(writer.tip.sequence)
        await reader.pushes({"p2": writer.expected[-1]["p2"]})
        assert [result.repeated for result in reader.pushed["p2"]] == [True, True]


async def test_what_all_readers_are_asked_each_of_them_answers(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(10)
    await journals.append(writer.frames)
    async with (
        Running(journals, tmp_path / "one") as reader,
        Running(journals, tmp_path / "other"),
    ):
        page = writer.books.entries("anna", 500, None, tip=writer.tip.sequence)
        assert await reader.ask_with_others(EntriesQuery("anna", 500)) == [page, page]


async def test_the_witness_names_the_newest_frame(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(10)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path):
        pass
    witness = read_witness(witness_path(tmp_path, 0, "reader"))
    assert witness is not None
    assert witness == (writer.tip.sequence, writer.tip.hash, len(writer.frames))
    assert witness.hash == frame_hash(writer.frames[-1])


async def test_a_lost_connection_delays_and_loses_nothing(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(40)
    await journals.append(writer.frames[:3])
    async with Running(journals, tmp_path) as reader:
        reader.connection.cut()
        await journals.append(writer.frames[3:])
        reader.connection.mend()
        await reader.reach(writer.tip.sequence)
        await reader.pushes(_expected(writer))


async def test_several_partitions_are_followed_side_by_side(tmp_path: Path) -> None:
    journals, writers = Journals(3), [Writer(partition) for partition in range(3)]
    for writer in writers[1:]:
        await journals.append(writer.frames, writer.partition)
    async with Running(journals, tmp_path, partitions=3) as reader:
        await journals.append(writers[0].frames, 0)
        await reader.reach(1, 0)
        (answer,) = await reader.client.request_all(status_subject("reader"), b"", timeout_s=5.0)
        status = decode_status(answer)
        assert isinstance(status, ReaderStatus)
        assert [(p.partition, p.sequence, p.lag_frames) for p in status.partitions] == [
            (0, 1, 0),
            (1, 1, 0),
            (2, 1, 0),
        ]


async def test_a_rebuilt_store_equals_the_one_that_grew(tmp_path: Path) -> None:
    """Rebuilt while the reader runs, which takes the new file at its next start."""
    journals, writer = Journals(), busy_writer(300)
    await journals.append(writer.frames[:10])
    async with Running(journals, tmp_path) as reader:
        await journals.append(writer.frames[10:])
        await reader.reach(writer.tip.sequence)
        await rebuild_on(journals.server.connect(), reader.settings)
        page = await reader.ask(EntriesQuery("anna", 500))
        assert page == writer.books.entries("anna", 500, None, tip=writer.tip.sequence)
        folder = store_folder(reader.settings.data_dir)
    grown, rebuilt = (
        folder / f"partition-0.generation-{generation}.sqlite" for generation in (1, 2)
    )
    assert dump(grown) == dump(rebuilt)
    async with Running(journals, tmp_path) as reader:
        assert reader.pushed == {}
        tip = writer.tip.sequence
        assert await reader.ask(AccountQuery("anna")) == writer.books.account("anna", tip, tip=tip)
    assert not grown.exists()
    assert present_file(folder, 0) == rebuilt


async def test_a_rebuild_that_is_stopped_leaves_the_present_store(tmp_path: Path) -> None:
    """It waits here for a second journal that nobody makes; the first is rebuilt by then."""
    journals, writer = Journals(), busy_writer(30)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        folder = store_folder(reader.settings.data_dir)
    before, present = dump(present_file(folder, 0)), present_file(folder, 0)
    wider = ServiceSettings(
        nats_url="memory", nats_monitor_url="", partition_count=2, data_dir=tmp_path
    )
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(rebuild_on(journals.server.connect(), wider), 0.3)
    assert dump(folder / "partition-0.building.sqlite") == before
    assert present_file(folder, 0) == present
    assert dump(present) == before


async def test_one_reader_at_a_time_uses_a_folder(tmp_path: Path) -> None:
    journals = Journals()
    async with Running(journals, tmp_path) as reader:
        with pytest.raises(ReaderUnfit, match="EWALLET_DATA_DIR"):
            await serve_on(
                journals.server.connect(), reader.settings, asyncio.Event(), lambda: None
            )


async def test_a_journal_that_ends_before_the_cursor_is_refused(tmp_path: Path) -> None:
    """Whether the store or only the witness knows better."""
    journals, writer = Journals(), busy_writer(70)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        settings = reader.settings
    journals.server.lose_tail(journal_stream(0), 2)
    first = EVENT_FRAME.decode(writer.frames[-2]).first_sequence
    words = rf"Partition 0: .* sequences from {first} to {writer.tip.sequence} are in doubt"
    await _refused(journals, settings, words)
    present_file(store_folder(settings.data_dir), 0).unlink()
    await _refused(journals, settings, words)


async def test_a_journal_that_tells_another_story_is_refused(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(77)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        settings = reader.settings
    before = dump(present_file(store_folder(settings.data_dir), 0))
    first = EVENT_FRAME.decode(writer.frames[-1]).first_sequence
    journals.server.lose_tail(journal_stream(0), 1)
    other = busy_writer(70)
    assert other.frames == writer.frames[:-1]
    other.write([("p2", 1, [transfer("issuer", "anna", 5, "other")] * 9)])
    await journals.append(other.frames[-1:])
    await _refused(journals, settings, rf"sequences from {first} on are in doubt")
    assert dump(present_file(store_folder(settings.data_dir), 0)) == before


async def test_a_journal_that_loses_what_was_read_stops_the_reader(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(70)
    await journals.append(writer.frames)
    reader = await Running(journals, tmp_path).__aenter__()
    journals.server.lose_tail(journal_stream(0), 2)
    with pytest.raises(ExceptionGroup) as stopped:
        await reader.ended()
    assert stopped.group_contains(BrokerUnfit)


async def test_a_store_that_fails_for_a_while_delays_nothing_but_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Results are pushed and queries answered meanwhile, and in the end every row is there."""
    is_full, tried = True, asyncio.Event()
    write = SqliteReadStore.write
    loop = asyncio.get_running_loop()

    def write_unless_full(store: SqliteReadStore, group: Group) -> None:
        if is_full:
            loop.call_soon_threadsafe(tried.set)
            raise StoreFault("database or disk is full")
        write(store, group)

    monkeypatch.setattr(SqliteReadStore, "write", write_unless_full)
    journals, writer = Journals(), busy_writer(60)
    with caplog.at_level(logging.ERROR):
        async with Running(journals, tmp_path) as reader:
            await journals.append(writer.frames[:5])
            await tried.wait()
            await journals.append(writer.frames[5:])
            await reader.reach(writer.tip.sequence)
            await reader.pushes(_expected(writer))
            page = await reader.ask(EntriesQuery("anna", 500))
            assert page == writer.books.entries("anna", 500, None, tip=writer.tip.sequence)
            is_full = False
    assert "disk is full" in caplog.text
    grown = present_file(store_folder(reader.settings.data_dir), 0)
    await rebuild_on(journals.server.connect(), reader.settings)
    assert dump(grown) == dump(present_file(store_folder(reader.settings.data_dir), 0))


async def _refused(journals: Journals, settings: ServiceSettings, words: str) -> None:
    with pytest.raises(ExceptionGroup) as refusal:
        await serve_on(journals.server.connect(), settings, asyncio.Event(), lambda: None)
    assert refusal.group_contains(JournalInDoubt, match=words)


def _expected(writer: Writer) -> dict[str, list[Result]]:
    everything: dict[str, list[Result]] = {}
    for by_proxy in writer.expected:
        for proxy_id, results in by_proxy.items():
            everything.setdefault(proxy_id, []).extend(results)
    return everything


def _count(writer: Writer, frames: int) -> int:
    return sum(len(by_proxy.get("p1", [])) for by_proxy in writer.expected[:frames])
