"""A stopped server's files, read cold: what was stored comes back, and no damage goes unseen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from broker.store_blocks import Record
from broker.store_files import Damage, DamageKind, read_stream, stream_folders
from contracts.subjects import journal_stream, journal_subject
from tests.broker.checked_journal import record_ends

pytestmark = pytest.mark.server

HEADERS: Final = {"Trace": "x"}
PAYLOADS: Final = [b"first", b"second" * 9, b"third\r\n\r\n", b"fourth" * 20, b"5", b"sixth"]
SMALL_BLOCKS: Final = {"max_bytes": 120_000}
"""With these settings the server makes blocks of 32,000 bytes."""

WriteJournal = Callable[..., None]


def read(folder: Path) -> tuple[list[Record], list[Damage]]:
    items = list(read_stream(folder, journal_stream(3), journal_subject(3)))
    records = [item for item in items if isinstance(item, Record)]
    return records, [item for item in items if isinstance(item, Damage)]


def journal_folder(store: Path) -> Path:
    (folder,) = stream_folders(store, journal_stream(3))
    return folder


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder: when it was changed and what is in it."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def killed_store(tmp_path_factory: pytest.TempPathFactory, write_journal: WriteJournal) -> Path:
    """Six acknowledged records, then kill -9; so no index.db knows of them."""
    store = tmp_path_factory.mktemp("killed") / "store"
    write_journal(store, 3, PAYLOADS, headers=HEADERS, then="kill")
    assert not (journal_folder(store) / "msgs" / "index.db").exists()
    return store


@pytest.fixture(scope="module")
def stopped_store(tmp_path_factory: pytest.TempPathFactory, write_journal: WriteJournal) -> Path:
    """The same six records, then a clean stop, which leaves index.db."""
    store = tmp_path_factory.mktemp("stopped") / "store"
    write_journal(store, 3, PAYLOADS, headers=HEADERS, then="stop")
    assert (journal_folder(store) / "msgs" / "index.db").exists()
    return store


@pytest.fixture
def folder(killed_store: Path, tmp_path: Path) -> Path:
    """A copy of the killed server's journal folder, to be damaged."""
    return Path(shutil.copytree(journal_folder(killed_store), tmp_path / "EVT_3"))


@pytest.fixture
def stopped(stopped_store: Path, tmp_path: Path) -> Path:
    """A copy of the stopped server's journal folder, to be damaged."""
    return Path(shutil.copytree(journal_folder(stopped_store), tmp_path / "stopped"))


def test_records_come_back_as_they_were_stored(folder: Path, stopped: Path) -> None:
    for place in (folder, stopped):
        records, damages = read(place)
        assert damages == []
        assert [record.payload for record in records] == PAYLOADS
        assert [record.stream_sequence for record in records] == [1, 2, 3, 4, 5, 6]
        assert [bool(record.headers) for record in records] == [False, True] * 3
        assert b"Trace: x" in records[1].headers
        assert all(a.at_ns <= b.at_ns for a, b in pairwise(records))


@pytest.mark.parametrize("number", range(1, 7))
def test_every_flipped_bit_is_found_and_put_down_to_its_record(folder: Path, number: int) -> None:
    """Lengths, sequence, timestamp, subject, headers, payload and checksum of each record.

    All bits of the last two records (without and with headers), of the others one in each byte.
    """
    path = folder / "msgs" / "1.blk"
    block = path.read_bytes()
    begin, end = [0, *record_ends(block)][number - 1 : number + 1]
    step = 1 if number >= 5 else 9
    for bit in range(begin * 8, end * 8, step):
        flipped = bytearray(block)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        records, damages = read(folder)
        assert [damage.first for damage in damages] == [number], bit
        assert damages[0].last in ({number} if number < 6 else {number, None}), bit
        intact = [n for n in range(1, 7) if n != number]
        assert [record.stream_sequence for record in records] == intact, bit


def test_a_cut_inside_the_last_record_is_a_torn_tail(folder: Path) -> None:
    path = folder / "msgs" / "1.blk"
    block = path.read_bytes()
    for size in range(record_ends(block)[-2] + 1, len(block)):
        path.write_bytes(block[:size])
        records, damages = read(folder)
        assert len(records) == 5
        assert [(d.kind, d.first, d.last) for d in damages] == [(DamageKind.TORN_TAIL, 6, 6)]


def test_a_last_record_of_zeros_is_a_torn_tail(folder: Path) -> None:
    path = folder / "msgs" / "1.blk"
    block = path.read_bytes()
    end = record_ends(block)[-2]
    path.write_bytes(block[:end] + bytes(len(block) - end))
    assert [(d.kind, d.first) for d in read(folder)[1]] == [(DamageKind.TORN_TAIL, 6)]


def test_a_last_record_with_a_flipped_payload_bit_is_a_torn_tail(folder: Path) -> None:
    path = folder / "msgs" / "1.blk"
    block = bytearray(path.read_bytes())
    block[-20] ^= 4
    path.write_bytes(block)
    assert [(d.kind, d.first, d.last) for d in read(folder)[1]] == [(DamageKind.TORN_TAIL, 6, 6)]


def test_two_broken_records_at_the_end_are_more_than_a_torn_tail(folder: Path) -> None:
    path = folder / "msgs" / "1.blk"
    block = bytearray(path.read_bytes())
    block[record_ends(bytes(block))[3] + 15] ^= 1
    block[-1] ^= 1
    path.write_bytes(block)
    assert [(d.kind, d.first, d.last) for d in read(folder)[1]] == [(DamageKind.BROKEN, 5, None)]


def test_a_cut_between_records_shows_in_the_note_of_a_clean_stop(stopped: Path) -> None:
    path = stopped / "msgs" / "1.blk"
    block = path.read_bytes()
    for kept, end in enumerate([0, *record_ends(block)[:-1]]):
        path.write_bytes(block[:end])
        records, damages = read(stopped)
        assert len(records) == kept
        assert [(d.kind, d.first, d.last) for d in damages] == [(DamageKind.MISSING, kept + 1, 6)]


def test_a_flipped_bit_in_the_settings_is_found(stopped: Path) -> None:
    """The server would ignore the stream, and a new one could be made in its place."""
    for name in ("meta.inf", "meta.sum"):
        path = stopped / name
        original = path.read_bytes()
        for at in range(len(original)):
            path.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
            assert [d.kind for d in read(stopped)[1]] == [DamageKind.SETTINGS]
        path.unlink()
        assert [d.kind for d in read(stopped)[1]] == [DamageKind.SETTINGS]
        path.write_bytes(original)
    assert read(stopped)[1] == []


def test_a_flipped_bit_in_the_servers_note_puts_no_record_in_doubt(stopped: Path) -> None:
    path = stopped / "msgs" / "index.db"
    original = path.read_bytes()
    for at in range(len(original)):
        path.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
        records, damages = read(stopped)
        assert len(records) == 6
        assert [d.kind for d in damages] == [DamageKind.INDEX]


def test_what_a_server_deletes_is_found(write_journal: WriteJournal, tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_journal(store, 3, PAYLOADS, settings={"deny_delete": False}, delete=2)
    records, damages = read(journal_folder(store))
    assert 2 not in [record.stream_sequence for record in records]
    assert {(d.first, d.last) for d in damages} == {(2, 2)}
    assert DamageKind.DELETED in {d.kind for d in damages}


def test_a_server_cuts_a_damaged_file_and_leaves_no_trace(
    folder: Path, write_journal: WriteJournal, tmp_path: Path
) -> None:
    """The harm that the check prevents; afterwards only a witness knows of it."""
    store = tmp_path / "store"
    shutil.copytree(folder, store / "jetstream" / "$G" / "streams" / "EVT_3")
    path = journal_folder(store) / "msgs" / "1.blk"
    block = path.read_bytes()
    intact = record_ends(block)[2]
    path.write_bytes(block[: intact + 30] + bytes([block[intact + 30] ^ 1]) + block[intact + 31 :])
    assert [(d.first, d.last) for d in read(journal_folder(store))[1]] == [(4, 4)]
    write_journal(store, 3, [], then="stop")
    assert path.stat().st_size == intact
    assert [len(part) for part in read(journal_folder(store))] == [3, 0]


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory, write_journal: WriteJournal) -> Path:
    """Twenty records in three blocks, written over two runs of the server."""
    store = tmp_path_factory.mktemp("long") / "store"
    payloads = [bytes([number]) * 3_800 for number in range(20)]
    for part in (payloads[:11], payloads[11:]):
        write_journal(store, 3, part, headers=HEADERS, settings=SMALL_BLOCKS, then="kill")
    names = sorted(path.name for path in journal_folder(store).glob("msgs/*.blk"))
    assert names == ["1.blk", "2.blk", "3.blk"]
    return store


def test_a_journal_of_several_blocks_is_read_whole(long_store: Path) -> None:
    records, damages = read(journal_folder(long_store))
    assert damages == []
    assert [record.payload[0] for record in records] == list(range(20))


@pytest.mark.parametrize(("block", "first", "last"), [(1, 1, 8), (2, 9, 16), (3, 17, 20)])
def test_a_removed_block_is_a_gap(
    long_store: Path, tmp_path: Path, block: int, first: int, last: int
) -> None:
    """The last block leaves no trace behind: only a witness (or index.db) knows of it."""
    folder = Path(shutil.copytree(journal_folder(long_store), tmp_path / "EVT_3"))
    (folder / "msgs" / f"{block}.blk").unlink()
    records, damages = read(folder)
    found = [(damage.kind, damage.first, damage.last) for damage in damages]
    assert found == ([] if block == 3 else [(DamageKind.MISSING, first, last)])
    left = [n for n in range(1, 21) if not first <= n <= last]
    assert [record.stream_sequence for record in records] == left


def test_blocks_that_changed_places_are_found(long_store: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(journal_folder(long_store), tmp_path / "EVT_3"))
    first, second = folder / "msgs" / "1.blk", folder / "msgs" / "2.blk"
    first.rename(folder / "msgs" / "0")
    second.rename(first)
    (folder / "msgs" / "0").rename(second)
    records, damages = read(folder)
    assert [record.stream_sequence for record in records] == [17, 18, 19, 20]
    assert [(d.kind, d.first, d.last) for d in damages] == [(DamageKind.BROKEN, 1, 16)]


def test_a_server_killed_under_load_leaves_no_damage(
    write_journal: WriteJournal, tmp_path: Path
) -> None:
    """Three times kill -9 with 300 appends in flight, on one store."""
    store, acknowledged = tmp_path / "store", 0
    for _ in range(3):
        flood = [b"in flight" * 50] * 300
        write_journal(store, 3, PAYLOADS, headers=HEADERS, in_flight=flood, then="kill")
        records, damages = read(journal_folder(store))
        assert damages == []
        assert len(records) >= acknowledged + len(PAYLOADS)
        acknowledged = len(records)


def foreign_forms(folder: Path) -> Iterator[Path]:
    """Files that a journal of this wallet never has."""
    yield folder / "meta.key"
    yield folder / "msgs" / "1.key"
    yield folder / "msgs" / "1.new"
    yield folder / "msgs" / "1.blk.tmp"
    yield folder / "__msgs__"


def test_forms_that_the_check_does_not_read_are_named(folder: Path) -> None:
    for path in foreign_forms(folder):
        path.write_bytes(b"x")
        records, damages = read(folder)
        assert (records, [d.kind for d in damages]) == ([], [DamageKind.NOT_JUDGED])
        path.unlink()
    assert read(folder)[1] == []


def test_a_compressed_block_is_not_judged_intact(
    write_journal: WriteJournal, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    payloads = [b"z" * 3_800] * 9
    write_journal(store, 3, payloads, settings=SMALL_BLOCKS | {"compression": "s2"})
    records, damages = read(journal_folder(store))
    assert len(records) < len(payloads)
    assert "compressed" in damages[0].seen


def test_reading_changes_nothing(killed_store: Path, stopped_store: Path) -> None:
    for store in (killed_store, stopped_store):
        before = contents(store)
        read(journal_folder(store))
        assert contents(store) == before


def test_a_stream_that_does_not_exist_has_no_folder(tmp_path: Path) -> None:
    assert stream_folders(tmp_path, journal_stream(3)) == []
