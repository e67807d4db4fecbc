"""What the SQLite file promises: groups whole or not at all, and the same state when reopened."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.chain import genesis
from contracts.coordination import Coordination
from contracts.events import (
    Event,
    StepRefused,
    StepTaken,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferStarted,
)
from contracts.rejections import NOT_REMEMBERED
from reader.adapters import store_sqlite
from reader.adapters.store_sqlite import SqliteReadStore
from reader.core.rows import BEFORE_ANY_TIME, Cursor, Group
from reader.ports import Stored, StoreFault, StoreUnfit
from tests.reader.desk import Desk, dump, opened
from tests.reader.histories import busy_writer, incoming, transfer, written, written_frames
from tests.reader.journal_writer import GoOn, Writer


def test_a_new_store_is_at_the_genesis_of_its_partition(tmp_path: Path) -> None:
    store = SqliteReadStore(tmp_path / "store.sqlite", 3)
    assert store.load() == Stored(Cursor(genesis(3), 0), BEFORE_ANY_TIME, [], [])
    store.close()


def test_a_closed_store_is_one_file(tmp_path: Path) -> None:
    _stored(tmp_path / "store.sqlite", busy_writer(50))
    assert [path.name for path in tmp_path.iterdir()] == ["store.sqlite"]


def test_a_question_after_the_end_is_no_damage(tmp_path: Path) -> None:
    """One that is under way while the reader stops must not send its operator to rebuild."""
    store = SqliteReadStore(tmp_path / "store.sqlite", 0)
    reading = store.reading()
    store.close()
    with pytest.raises(StoreFault, match="closed"):
        reading.row(1)


def test_what_was_stored_is_found_again(tmp_path: Path) -> None:
    writer = busy_writer(200)
    path = tmp_path / "store.sqlite"
    _stored(path, writer)
    desk = Desk(path)
    assert desk.stored.cursor.tip == writer.tip
    for fact in writer.facts:
        row = desk.history.row(fact.sequence)
        assert (row is not None) == _has_row(fact.event)
        assert row is None or (row.sequence, row.at_ms) == (fact.sequence, fact.at_ms)
    desk.store.close()


@settings(max_examples=40, deadline=None)
@given(written_frames, st.data())
def test_a_death_between_groups_leaves_a_prefix(frames: list, data: st.DataObject) -> None:  # type: ignore[type-arg] # drawn
    """A copy of the files at any group's end reopens as if just that much had been projected."""
    writer = written(frames)
    with TemporaryDirectory() as folder:
        live, dead = Path(folder) / "live.sqlite", Path(folder) / "dead.sqlite"
        desk = Desk(live)
        kept = data.draw(st.integers(0, len(writer.frames)))
        for frame in writer.frames[:kept]:
            desk.take(frame)
            if data.draw(st.booleans()):
                desk.store_pending()
            if data.draw(st.integers(0, 5)) == 0:
                desk.store.tidy(at_once=True)
        desk.store_pending()
        _copy_as_after_a_kill(live, dead)
        desk.take_all(writer.frames[kept:])  # projected, never written
        desk.store.close()
        _finish_and_compare(dead, writer, kept, Path(folder) / "whole.sqlite")


def test_a_restart_anywhere_ends_in_the_same_store(tmp_path: Path) -> None:
    writer = busy_writer(120)
    whole, pieces = tmp_path / "whole.sqlite", tmp_path / "pieces.sqlite"
    _stored(whole, writer)
    at = 0
    while at < len(writer.frames):
        desk = Desk(pieces)
        assert desk.stored.cursor.stream_sequence == at
        desk.take_all(writer.frames[at : at + 3])
        desk.store_pending()
        desk.store.close()
        at += 3
    assert dump(pieces) == dump(whole)


def test_indexes_follow_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sqlite, "INDEX_ROWS", 10)
    writer = busy_writer(100)
    path = tmp_path / "store.sqlite"
    desk = Desk(path)
    for frame in writer.frames:
        desk.take(frame)
        desk.store_pending()
        desk.store.tidy()
        for fact in writer.facts[: desk.projection.cursor.tip.sequence]:
            if isinstance(fact.event, TransferCompleted):
                name = (fact.event.from_account_id, fact.event.transaction_id)
                row = desk.history.outcome(name, _number(desk, name[0]))
                assert row is not None
                assert row.sequence == fact.sequence
    with opened(path) as db:
        assert db.execute("SELECT count(*) FROM names").fetchone()[0] > 50
    desk.store.close()


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """The same group can be written once there is room again."""
    writer = busy_writer(300)
    path = tmp_path / "store.sqlite"
    desk = Desk(path)
    desk.take_all(writer.frames[:2])
    desk.store_pending()
    desk.take_all(writer.frames[2:])
    group = desk.unstored.take()
    limit = desk.store._db.execute("PRAGMA page_count").fetchone()[0]  # noqa: SLF001  # a full disk, as SQLite sees it
    desk.store._db.execute(f"PRAGMA max_page_count = {limit}")  # noqa: SLF001  # likewise
    before = desk.store.load()
    with pytest.raises(StoreFault):
        desk.store.write(group)
    assert desk.store.load() == before
    desk.store._db.execute("PRAGMA max_page_count = 1000000")  # noqa: SLF001  # likewise
    desk.store.write(group)
    desk.store.close()
    _stored(tmp_path / "whole.sqlite", writer)
    assert dump(path) == dump(tmp_path / "whole.sqlite")


def test_a_group_that_is_there_already_is_refused(tmp_path: Path) -> None:
    writer = busy_writer(10)
    desk = Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    group: Group = desk.unstored.take()
    desk.store.write(group)
    with pytest.raises(StoreUnfit):
        desk.store.write(group)
    desk.store.close()


def test_a_group_of_which_one_row_is_refused_leaves_nothing(tmp_path: Path) -> None:
    """Its transfers come before the moment that is there already."""
    writer = busy_writer(10)
    desk = Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    moment = desk.unstored.pending.moments[0]
    desk.store_pending()
    before = desk.store.load()
    sequence = writer.tip.sequence + 1
    row = (sequence, writer.at_ms, 0, 1, "t", 1, -1, 1, 0, 0)
    group = Group(cursor=desk.projection.cursor, transfers=[row], moments=[moment])
    with pytest.raises(StoreUnfit):
        desk.store.write(group)
    assert desk.history.row(sequence) is None
    assert desk.store.load() == before
    desk.store.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("PRAGMA user_version = 1", "schema version 1, this program knows 2"),
        ("PRAGMA user_version = 99", "schema version 99"),
        ("PRAGMA application_id = 1", "schema version"),
        ("UPDATE cursor SET partition = 7", "partition"),
        ("DROP TABLE names", "no such table"),
    ],
)
def test_a_store_that_is_not_ours_is_refused(tmp_path: Path, damage: str, words: str) -> None:
    path = tmp_path / "store.sqlite"
    _stored(path, busy_writer(10))
    with opened(path) as db:
        db.execute(damage)
        db.commit()
    with pytest.raises(StoreUnfit, match=words) as refusal:
        SqliteReadStore(path, 0)
    assert "reader rebuild" in str(refusal.value)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE accounts SET posted_minor = posted_minor + 256 WHERE number = 0",
        "UPDATE accounts SET posted_minor = posted_minor + 1 - 2 * number WHERE number < 2",
        "UPDATE accounts SET currency = 'XAU' WHERE number = 0",
        "UPDATE accounts SET newest_sequence = newest_sequence + 1 WHERE number = 0",
    ],
)
def test_balances_that_do_not_add_up_are_not_believed(tmp_path: Path, damage: str) -> None:
    """SQLite has no checksums: a flipped bit would be read as a balance."""
    path = tmp_path / "store.sqlite"
    _stored(path, busy_writer(200))
    with opened(path) as db:
        db.execute(damage)
        db.commit()
    store = SqliteReadStore(path, 0)
    with pytest.raises(StoreUnfit, match="not agree with"):
        store.load()
    store.close()


_NAMES_FOR_DAMAGE = """
CREATE TEMP VIEW newest AS SELECT max(newest_sequence) AS sequence FROM accounts;
CREATE TEMP VIEW holds AS SELECT sequence FROM unfinished JOIN steps ON sequence = newest_sequence
WHERE step = 11;
CREATE TEMP VIEW captures AS SELECT sequence AS taken, previous_step AS tried FROM unfinished
JOIN steps ON sequence = newest_sequence WHERE step = 13;
"""


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE inflow SET minor_low = minor_low + 1",
        "UPDATE inflow SET minor_high = minor_high - 1",
        "DELETE FROM inflow",
        "UPDATE steps SET moved_minor = 0 WHERE sequence IN newest",
        "UPDATE steps SET balance_minor = balance_minor + 1 WHERE sequence IN newest",
        "DELETE FROM unfinished WHERE newest_sequence IN holds",
        "UPDATE unfinished SET newest_sequence = started_sequence WHERE newest_sequence IN holds",
        "UPDATE unfinished SET newest_sequence = tried FROM captures WHERE newest_sequence = taken",
        "UPDATE unfinished SET newest_sequence = newest_sequence + 1",
        "UPDATE unfinished SET started_sequence = 1 WHERE newest_sequence IN holds",
        "DELETE FROM steps WHERE sequence IN (SELECT started_sequence FROM unfinished)",
        "DELETE FROM steps WHERE sequence IN (SELECT newest_sequence FROM unfinished)",
        "UPDATE steps SET amount_minor = amount_minor + 1 WHERE sequence IN holds",
        "UPDATE held SET held_minor = held_minor + 1",
        "DELETE FROM held",
    ],
)
def test_steps_that_do_not_add_up_are_not_believed(tmp_path: Path, damage: str) -> None:
    """With money held, captured, in flight, and come from elsewhere last of all."""
    path, writer = tmp_path / "store.sqlite", busy_writer(100)
    tried = [transfer("anna", "far-1", 1, name, Coordination.TCC) for name in ("capture", "hold")]
    writer.write([("p", 1, [*tried, transfer("anna", "far-1", 1, "flight")])])
    count = len(writer.books.unfinished())
    writer.write([("w", 1, [GoOn(count - at, 0) for at in (2, 3, 3)])])
    writer.write([("w", 1, [incoming("bert", 5, "last", Coordination.CHOREOGRAPHY)])])
    _stored(path, writer)
    Desk(path).store.close()
    with opened(path) as db:
        db.executescript(_NAMES_FOR_DAMAGE)
        assert db.execute(damage).rowcount > 0
        db.commit()
    store = SqliteReadStore(path, 0)
    with pytest.raises(StoreUnfit, match="not agree with"):
        store.load()
    store.close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(StoreUnfit, match="damaged"):
        SqliteReadStore(path, 0)


def _stored(path: Path, writer: Writer) -> None:
    desk = Desk(path)
    desk.take_all(writer.frames)
    desk.store_pending()
    desk.store.close()


def _copy_as_after_a_kill(live: Path, dead: Path) -> None:
    """What the file system holds of a store that is open."""
    for suffix in ("", "-wal"):
        source = live.with_name(live.name + suffix)
        if source.exists():
            dead.with_name(dead.name + suffix).write_bytes(source.read_bytes())


def _finish_and_compare(dead: Path, writer: Writer, kept: int, whole: Path) -> None:
    desk = Desk(dead)
    assert desk.stored.cursor.stream_sequence == kept
    prefix = desk.stored.cursor.tip.sequence
    for account in desk.stored.accounts:
        assert account.posted_minor == writer.books.posted(account.account_id, prefix)
    desk.take_all(writer.frames[kept:])
    desk.store_pending()
    desk.store.close()
    _stored(whole, writer)
    assert dump(dead) == dump(whole)


def _has_row(event: Event) -> bool:
    if isinstance(event, TransferRejected):
        return event.reason not in NOT_REMEMBERED
    return isinstance(
        event, TransferCompleted | TransferStarted | TransferFinished | StepTaken | StepRefused
    )


def _number(desk: Desk, account_id: str) -> int | None:
    account = desk.projection.account(account_id)
    return None if account is None else account.number
