"""No damage of a stopped server's journal passes the check before a start, and nothing else does.

The journals are real frames, written by a real nats-server.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from broker.journal_check import check_journals, render
from broker.witness import read_witness, witness_path
from tests.broker.checked_journal import (
    JOURNAL,
    PARTITION,
    Folder,
    WriteJournal,
    ranges,
    record_ends,
)

pytestmark = pytest.mark.server


def test_an_undamaged_journal_that_reaches_its_witnesses_is_clean(folder: Folder) -> None:
    folder.witness(5, "reader")
    folder.witness(3, "writer")
    assert folder.check() == []


def test_a_wallet_that_was_never_started_is_clean(tmp_path: Path) -> None:
    assert check_journals(tmp_path / "nats", tmp_path, range(4)) == []


def test_every_flipped_byte_is_refused_with_the_events_of_its_frame(folder: Folder) -> None:
    folder.witness(5)
    block = folder.block.read_bytes()
    first = 1
    for tip, begin, end in zip(
        JOURNAL.tips, [0, *record_ends(block)], record_ends(block), strict=False
    ):
        for at in range(begin, end):
            bit = 1 << at % 8
            folder.block.write_bytes(block[:at] + bytes([block[at] ^ bit]) + block[at + 1 :])
            assert ranges(folder.check()) == [(True, first, tip.sequence)], at
        first = tip.sequence + 1


def test_every_cut_below_the_witness_is_refused(folder: Folder) -> None:
    """Inside records and between them, down to an empty file."""
    folder.witness(5)
    block = folder.block.read_bytes()
    for size in range(len(block)):
        folder.block.write_bytes(block[:size])
        whole = sum(end <= size for end in record_ends(block))
        first = JOURNAL.tips[whole - 1].sequence + 1 if whole else 1
        assert ranges(folder.check()) == [(True, first, 9)], size


@pytest.mark.parametrize("witnessed", [0, 4])
def test_a_last_record_torn_behind_the_witness_is_only_a_warning(
    folder: Folder, witnessed: int, write_journal: WriteJournal
) -> None:
    """It was never answered; the server cuts it off, and then all is well."""
    folder.witness(witnessed)
    block = folder.block.read_bytes()
    for size in range(record_ends(block)[-2] + 1, len(block)):
        folder.block.write_bytes(block[:size])
        assert ranges(folder.check()) == [(False, 8, None)], size
    write_journal(folder.store, PARTITION, [], then="kill")
    assert folder.check() == []


def test_a_torn_last_record_is_refused_when_there_is_no_witness_to_ask(folder: Folder) -> None:
    folder.block.write_bytes(folder.block.read_bytes()[:-3])
    findings = ranges(folder.check())
    assert findings == [(True, 8, None), (False, None, None)]


def test_a_missing_witness_is_only_a_warning(folder: Folder) -> None:
    assert ranges(folder.check()) == [(False, None, None)]


def test_damage_in_the_middle_is_refused_even_behind_the_witness(folder: Folder) -> None:
    folder.witness(1)
    block = bytearray(folder.block.read_bytes())
    block[record_ends(bytes(block))[1] + 40] ^= 8
    folder.block.write_bytes(block)
    assert ranges(folder.check()) == [(True, 4, 6)]


def test_two_damages_are_two_findings(folder: Folder) -> None:
    folder.witness(5)
    block = bytearray(folder.block.read_bytes())
    ends = record_ends(bytes(block))
    block[ends[0] + 40] ^= 8
    block = block[: ends[-2]]
    folder.block.write_bytes(block)
    assert ranges(folder.check()) == [(True, 2, 3), (True, 8, 9)]


def test_a_journal_that_is_gone_is_refused(folder: Folder) -> None:
    folder.witness(5)
    shutil.rmtree(folder.journal)
    assert ranges(folder.check()) == [(True, 1, 9)]


def test_a_first_record_that_is_gone_is_refused(folder: Folder) -> None:
    folder.witness(5)
    block = folder.block.read_bytes()
    folder.block.write_bytes(block[record_ends(block)[0] :])
    assert ranges(folder.check()) == [(True, 1, 1)]


def test_settings_that_the_server_would_not_read_are_refused(folder: Folder) -> None:
    """It would skip the stream, and an empty journal would be made in its place."""
    folder.witness(5)
    (folder.journal / "meta.inf").unlink()
    assert ranges(folder.check()) == [(True, 1, None)]


def test_files_of_another_form_are_refused(folder: Folder) -> None:
    folder.witness(5)
    (folder.journal / "meta.key").write_bytes(b"key")
    assert ranges(folder.check()) == [(True, 1, 9)]


def test_two_folders_of_one_journal_are_refused(folder: Folder) -> None:
    folder.witness(5)
    other = folder.store / "jetstream" / "OTHER" / "streams" / folder.journal.name
    shutil.copytree(folder.journal, other)
    assert ranges(folder.check()) == [(True, 1, None)]


@pytest.mark.parametrize("kept", range(5))
def test_a_clean_stop_notes_the_end_even_without_a_witness(
    tmp_path: Path, write_journal: WriteJournal, kept: int
) -> None:
    folder = Folder(tmp_path)
    write_journal(folder.store, PARTITION, JOURNAL.frames, then="stop")
    block = folder.block.read_bytes()
    folder.block.write_bytes(block[: [0, *record_ends(block)][kept]])
    refused = [finding for finding in folder.check() if finding.refuses]
    first = JOURNAL.tips[kept - 1].sequence + 1 if kept else 1
    assert ranges(refused) == [(True, first, None)]


def test_a_damaged_note_of_the_server_is_only_a_warning(
    tmp_path: Path, write_journal: WriteJournal
) -> None:
    folder = Folder(tmp_path)
    write_journal(folder.store, PARTITION, JOURNAL.frames, then="stop")
    folder.witness(5)
    assert folder.check() == []
    note = folder.journal / "msgs" / "index.db"
    note.write_bytes(note.read_bytes()[:-1])
    assert ranges(folder.check()) == [(False, None, None)]


def test_a_damaged_witness_is_refused(folder: Folder) -> None:
    folder.witness(5)
    path = witness_path(folder.root, PARTITION, "reader")
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert ranges(folder.check()) == [(True, None, None)]


def test_the_sentences_say_partition_sequences_reason_and_what_to_do(folder: Folder) -> None:
    folder.witness(5)
    block = bytearray(folder.block.read_bytes())
    begin = record_ends(bytes(block))[1]
    block[begin + 40] ^= 8
    folder.block.write_bytes(block)
    text = render(folder.check())
    assert f"Partition {PARTITION}, damaged: sequences 4 to 6 are in doubt." in text
    assert f"1.blk: byte {begin} of" in text
    assert "does not match its checksum (stream sequence 3)" in text
    assert "Nothing has been changed and nothing was started." in text
    assert "Restore each of these folders" in text
    assert str(folder.journal) in text


def test_warnings_alone_ask_for_nothing(folder: Folder) -> None:
    text = render(folder.check())
    assert "warning" in text
    assert "What to do" not in text
    assert read_witness(witness_path(folder.root, PARTITION, "reader")) is None
