"""What the SQLite file promises: groups whole or not at all, and the same state when reopened."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import (
    TransferCompleted,
)
from reader.adapters import store_sqlite
from reader.adapters.store_sqlite import SqliteReadStore
from reader.core.rows import Group
from reader.ports import StoreFault, StoreUnfit
from tests.reader.desk import Desk, dump, opened
from tests.reader.histories import busy_writer, written, written_frames
from tests.reader.journal_writer import Writer


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


@settings(max_examples=40)
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
        "UPDATE inflow SET minor_low = minor_low + 1",
        "UPDATE inflow SET minor_high = minor_high - 1",
    ],
)
def test_inflow_of_more_than_64_bits_is_doubted_in_both_halves(tmp_path: Path, damage: str) -> None:
    """What else is doubted is told for all stores (test_store_conformance)."""
    path = tmp_path / "store.sqlite"
    _stored(path, busy_writer(100))
    with opened(path) as db:
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


def _number(desk: Desk, account_id: str) -> int | None:
    account = desk.projection.account(account_id)
    return None if account is None else account.number
