"""Several readers, one database: whoever stores what, it ends as if one had."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count
from random import Random
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.chain import Tip
from contracts.events import TransferCompleted
from reader.adapters import store_postgresql_database
from reader.adapters.store_postgresql import PostgresqlReadStore
from reader.adapters.store_postgresql_database import READING_THREADS, Database, connected
from reader.adapters.store_postgresql_migrating import migrate
from reader.adapters.store_postgresql_rebuild import BUILDING, rebuilding
from reader.config import DatabaseAddress
from reader.ports import StoreFault, StoreMovedBack, StoreUnfit
from tests.reader.desk import PostgresqlPlace, StoreDesk
from tests.reader.histories import busy_writer, written, written_frames
from tests.reader.journal_writer import Writer

pytestmark = pytest.mark.server

READERS: Final = 3
DEADLINE_S: Final = 20.0

_partitions = count(1)
"""Each example has one of its own, in the same tables."""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written_frames, st.integers(0, 2**32))
def test_readers_that_share_a_database_store_what_one_would(
    postgresql_place: PostgresqlPlace,
    whole_place: PostgresqlPlace,
    frames: list,  # type: ignore[type-arg] # drawn
    seed: int,
) -> None:
    """At any pace, in groups of any size, and with restarts."""
    partition, chance = next(_partitions), Random(seed)
    postgresql_place.partition = whole_place.partition = partition
    writer = written(frames, partition)
    _store_all(whole_place, writer)
    desks = [StoreDesk(postgresql_place.open()) for _ in range(READERS)]
    while any(_place(desk) < len(writer.frames) for desk in desks):
        number = chance.randrange(READERS)
        desk, at = desks[number], _place(desks[number])
        if chance.random() < 0.1:
            desks[number] = _restarted(postgresql_place, writer)
            continue
        desk.take_all(writer.frames[at : at + chance.randint(1, 4)])
        if chance.random() < 0.5:
            desk.store_pending()
    _check_seen(desks[0], writer)
    for desk in desks:
        desk.store_pending()
        _check_seen(desk, writer)
    assert postgresql_place.dump() == whole_place.dump()
    _restarted(postgresql_place, writer)


def test_readers_that_write_at_the_same_time_store_what_one_would(
    postgresql_place: PostgresqlPlace, whole_place: PostgresqlPlace
) -> None:
    writer = busy_writer(600)
    _store_all(whole_place, writer)

    def read_all(seed: int) -> None:
        chance, desk = Random(seed), StoreDesk(postgresql_place.open())
        while _place(desk) < len(writer.frames):
            at = _place(desk)
            desk.take_all(writer.frames[at : at + chance.randint(1, 5)])
            desk.store_pending()
            if chance.random() < 0.2:
                desk = _restarted(postgresql_place, writer)

    with ThreadPoolExecutor(READERS) as threads:
        list(threads.map(read_all, range(READERS)))
    assert postgresql_place.dump() == whole_place.dump()


def test_what_is_loaded_is_of_one_moment(postgresql_place: PostgresqlPlace) -> None:
    """Balances and holds are checked against rows, so two moments in one would be refused."""
    writer = busy_writer(700)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(_store_frame_by_frame, postgresql_place, writer)
        while not writing.done():
            _restarted(postgresql_place, writer)
        writing.result()
    assert _restarted(postgresql_place, writer).stored.cursor.tip == writer.tip


def test_a_reader_sees_nothing_that_it_has_not_projected(postgresql_place: PostgresqlPlace) -> None:
    """Though another has stored it: its answers would be ahead of themselves."""
    writer = busy_writer(100)
    behind = StoreDesk(postgresql_place.open())
    _store_all(postgresql_place, writer)
    behind.take_all(writer.frames[:4])
    behind.store_pending()
    tip = behind.projection.cursor.tip.sequence
    for fact in writer.facts[tip:]:
        assert behind.history.row(fact.sequence) is None
    names = {(e.from_account_id, e.transaction_id) for e in _transfers(writer)}
    found = [behind.history.outcome(name, 0) for name in names]
    assert max(row.sequence for row in found if row is not None) <= tip
    assert behind.history.sequence_at(writer.facts[0].at_ms, tip) <= tip
    _check_seen(behind, writer)


def test_the_journal_of_another_wallet_is_not_mixed_in(postgresql_place: PostgresqlPlace) -> None:
    ours, theirs = busy_writer(50), busy_writer(50, per_frame=3)
    desks = [StoreDesk(postgresql_place.open()) for _ in range(2)]
    desks[0].take_all(ours.frames[:4])
    desks[0].store_pending()
    before = postgresql_place.dump()
    desks[1].take_all(theirs.frames)
    with pytest.raises(StoreUnfit, match="another journal up to sequence"):
        desks[1].store_pending()
    assert postgresql_place.dump() == before


def test_a_database_that_went_back_in_time_is_not_written_over_a_gap(
    postgresql_place: PostgresqlPlace,
) -> None:
    """As after a restore from a backup: the reader ends, and its successor begins where that is."""
    writer = busy_writer(60)
    desk = StoreDesk(postgresql_place.open())
    desk.take_all(writer.frames[:5])
    desk.store_pending()
    backup = postgresql_place.dump()
    desk.take_all(writer.frames[5:8])
    desk.store_pending()
    postgresql_place.restore(backup)
    desk.take_all(writer.frames[8:])
    with pytest.raises(StoreMovedBack, match="starts again continues from there"):
        desk.store_pending()
    assert postgresql_place.dump() == backup
    again = StoreDesk(postgresql_place.open())
    again.take_all(writer.frames[_place(again) :])
    again.store_pending()
    whole = postgresql_place.beside()
    _store_all(whole, writer)
    assert postgresql_place.dump() == whole.dump()


def test_who_waits_to_write_while_a_rebuild_ends_writes_into_the_new_rows(
    database: DatabaseAddress, postgresql_place: PostgresqlPlace, whole_place: PostgresqlPlace
) -> None:
    """Its statements are prepared by then, for tables that are replaced under it."""
    writer = busy_writer(100)
    _store_all(whole_place, writer)
    desk = StoreDesk(postgresql_place.open())
    for frame in writer.frames[:-1]:
        desk.take(frame)
        desk.store_pending()
    with ThreadPoolExecutor(1) as threads, rebuilding(database) as rebuild:
        migrate(database, schema=BUILDING)
        with closing(Database(database, 1, schema=BUILDING)) as tables:
            rebuilt = StoreDesk(PostgresqlReadStore(tables, 0))
            rebuilt.take_all(writer.frames[:-1])
            rebuilt.store_pending()
        assert rebuild.hold_writers() == {0: len(writer.frames) - 1}
        desk.take(writer.frames[-1])
        waiting = threads.submit(desk.store_pending)
        _await_a_waiting_writer(database)
        rebuild.switch()
        waiting.result()
    _check_seen(desk, writer)
    assert postgresql_place.dump() == whole_place.dump()


def test_a_reader_that_is_paused_while_it_writes_keeps_others_waiting_for_a_bounded_time(
    database: DatabaseAddress, postgresql_place: PostgresqlPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here one that locked the cursor and does no more. It finds out when it goes on."""
    monkeypatch.setattr(store_postgresql_database, "IDLE_MS_MAX", 300)
    writer = busy_writer(30)
    desk = StoreDesk(postgresql_place.open())
    desk.take_all(writer.frames)

    def pause_with_the_cursor_locked() -> None:
        with closing(Database(database, 1)) as paused, paused.transaction() as db:
            db.execute("SELECT * FROM cursors FOR UPDATE")
            desk.store_pending()
            db.execute("DELETE FROM cursors")

    with pytest.raises(StoreFault):
        pause_with_the_cursor_locked()
    assert StoreDesk(postgresql_place.open()).stored.cursor.tip == writer.tip


def test_a_reader_that_is_paused_in_the_middle_of_a_copy_keeps_others_waiting_no_longer(
    database: DatabaseAddress, postgresql_place: PostgresqlPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL heeds none of its time limits while it waits for the rest of the rows.

    Whoever waits for it ends it, also when all other connections are busy.
    """
    monkeypatch.setattr(store_postgresql_database, "STATEMENT_MS_MAX", 300)
    writer = busy_writer(30)

    def pause_in_the_middle_of_a_copy(paused: Database, others: Database) -> None:
        store = PostgresqlReadStore(others, 0)
        desk = StoreDesk(store)
        desk.take_all(writer.frames)
        group = desk.unstored.take()
        with paused.transaction() as db:
            db.execute("SELECT * FROM cursors FOR UPDATE")
            with db.cursor().copy("COPY moments FROM STDIN") as copy:
                with ExitStack() as busy:
                    for _ in range(READING_THREADS):
                        busy.enter_context(others.connection())
                    with pytest.raises(StoreFault, match="timeout"):
                        store.write(group)
                store.write(group)  # as after every fault
                copy.write_row((0, 1, 1))

    with closing(Database(database, 1)) as paused, closing(Database(database, 1)) as others:
        with pytest.raises(StoreFault, match="administrator"):
            pause_in_the_middle_of_a_copy(paused, others)
        with paused.connection() as again:
            assert again.execute("SELECT 1").fetchone() == (1,)
    assert StoreDesk(postgresql_place.open()).stored.cursor.tip == writer.tip


@pytest.fixture
def whole_place(postgresql_place: PostgresqlPlace) -> PostgresqlPlace:
    """Where one reader stores alone."""
    return postgresql_place.beside()


def _store_all(place: PostgresqlPlace, writer: Writer) -> None:
    desk = StoreDesk(place.open())
    desk.take_all(writer.frames)
    desk.store_pending()


def _store_frame_by_frame(place: PostgresqlPlace, writer: Writer) -> None:
    desk = StoreDesk(place.open())
    for frame in writer.frames:
        desk.take(frame)
        desk.store_pending()


def _await_a_waiting_writer(database: DatabaseAddress) -> None:
    deadline = time.monotonic() + DEADLINE_S
    with connected(database) as db:
        while not db.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _restarted(place: PostgresqlPlace, writer: Writer) -> StoreDesk:
    """A new reader, which finds the accounts as they were at the cursor."""
    desk = StoreDesk(place.open())
    sequence = desk.stored.cursor.tip.sequence
    for account in desk.stored.accounts:
        assert account.posted_minor == writer.books.posted(account.account_id, sequence)
    return desk


def _check_seen(desk: StoreDesk, writer: Writer) -> None:
    """What a reader finds is what it projected, however far others have stored."""
    tip: Tip = desk.projection.cursor.tip
    for fact in writer.facts:
        row = desk.history.row(fact.sequence)
        assert row is None or (row.sequence, row.at_ms) == (fact.sequence, fact.at_ms)
        assert row is None or fact.sequence <= tip.sequence
    for account_id in ("issuer", "anna", "bert"):
        account = desk.projection.account(account_id)
        assert account is not None
        page = desk.history.page(account.number, account.newest_sequence, None, 500)
        expected = writer.books.entries(account_id, 500, None, tip=tip.sequence)
        assert [row.sequence for row in page.rows] == [each.sequence for each in expected.entries]


def _place(desk: StoreDesk) -> int:
    """How many frames it has projected."""
    return desk.projection.cursor.stream_sequence


def _transfers(writer: Writer) -> Sequence[TransferCompleted]:
    return [fact.event for fact in writer.facts if isinstance(fact.event, TransferCompleted)]
