"""The check before a start tells damage from what writers and other wallets rightly wrote."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from broker.journal_check import check_journals, render
from broker.store_files import stream_folders
from broker.witness import Witness, witness_path
from contracts.chain import Chained, MadeByAnotherVersion, follow
from contracts.events import AccountOpened
from contracts.parties import COORDINATOR, parties
from contracts.subjects import journal_stream
from tests.broker.checked_journal import (
    HEADERS,
    JOURNAL,
    PARTITION,
    Folder,
    WriteJournal,
    frame_after,
    journal_of,
    record_ends,
)

pytestmark = pytest.mark.server


def test_a_journal_that_went_another_way_than_witnessed_is_refused(
    folder: Folder, write_journal: WriteJournal
) -> None:
    """A server started by hand cut a damaged file; a writer went on from there."""
    folder.witness(5)
    block = bytearray(folder.block.read_bytes())
    block[record_ends(bytes(block))[3] + 40] ^= 8
    folder.block.write_bytes(block)
    tip, other = JOURNAL.tips[3], []
    for _ in range(4):
        other.append(frame_after(tip, [AccountOpened("other", "USD", 0)]))
        step = follow(tip, other[-1])
        assert isinstance(step, Chained)
        tip = step.tip
    write_journal(folder.store, PARTITION, other, then="stop")
    (finding,) = folder.check()
    assert (finding.refuses, finding.first_sequence, finding.last_sequence) == (True, 8, None)
    assert "is not the one that was witnessed" in finding.seen


def test_a_deposed_writers_late_frame_is_no_damage(
    folder: Folder, write_journal: WriteJournal
) -> None:
    folder.witness(5)
    late = frame_after(JOURNAL.tips[2], [AccountOpened("late", "EUR", 0)])
    good = frame_after(JOURNAL.tips[-1], [AccountOpened("good", "EUR", 0)])
    write_journal(folder.store, PARTITION, [late, b"not a frame", good], then="kill")
    assert folder.check() == []


def test_a_journal_of_another_version_is_named_and_not_called_damaged(
    folder: Folder, write_journal: WriteJournal
) -> None:
    body = msgspec.msgpack.decode(frame_after(JOURNAL.tips[-1], [AccountOpened("a", "EUR", 0)])[1:])
    body[5][0][0] = 99  # the tag of an event that does not exist
    unknown = b"\x01" + msgspec.msgpack.encode(body)
    write_journal(folder.store, PARTITION, [unknown], then="kill")
    with pytest.raises(MadeByAnotherVersion, match=f"Partition {PARTITION}: .* does not know"):
        folder.check()


def test_a_journal_of_another_partition_is_refused(
    folder: Folder, write_journal: WriteJournal
) -> None:
    """The chain begins with the partition's own genesis, so a swapped journal never chains."""
    folder.witness(5)
    shutil.rmtree(folder.store)
    frames = journal_of([1, 2, 3, 1, 2], partition=0).frames
    write_journal(folder.store, PARTITION, frames, then="kill")
    findings = folder.check()
    assert [finding.refuses for finding in findings] == [True]


def test_only_the_damaged_partition_is_named(tmp_path: Path, write_journal: WriteJournal) -> None:
    store = tmp_path / "nats"
    for partition in range(3):
        journal = journal_of([1, 2, 3], partition)
        write_journal(store, partition, journal.frames, headers=HEADERS, then="kill")
        witness = Witness(witness_path(tmp_path, partition, "writer"))
        witness.record(journal.tips[-1].sequence, journal.tips[-1].hash, 3)
        witness.close()
    assert check_journals(store, tmp_path, range(3)) == []
    (folder,) = stream_folders(store, journal_stream(1))
    block = folder / "msgs" / "1.blk"
    block.write_bytes(block.read_bytes()[:-1])
    (finding,) = check_journals(store, tmp_path, range(3))
    assert (finding.party, finding.first_sequence, finding.last_sequence) == (1, 4, 6)


def test_the_coordinators_journal_is_checked_too(
    tmp_path: Path, write_journal: WriteJournal
) -> None:
    store, journal = tmp_path / "nats", journal_of([1, 2, 3], COORDINATOR)
    write_journal(store, COORDINATOR, journal.frames, headers=HEADERS, then="kill")
    witness = Witness(witness_path(tmp_path, COORDINATOR, "writer"))
    witness.record(journal.tips[-1].sequence, journal.tips[-1].hash, 3)
    witness.close()
    assert check_journals(store, tmp_path, parties(2)) == []
    (folder,) = stream_folders(store, journal_stream(COORDINATOR))
    block = folder / "msgs" / "1.blk"
    block.write_bytes(block.read_bytes()[:-1])
    (finding,) = check_journals(store, tmp_path, parties(2))
    assert (finding.party, finding.first_sequence, finding.last_sequence) == (COORDINATOR, 4, 6)
    assert "Coordinator, damaged: sequences 4 to 6 are in doubt." in render([finding])


def test_a_server_killed_under_load_is_clean(tmp_path: Path, write_journal: WriteJournal) -> None:
    folder, journal = Folder(tmp_path), journal_of([1] * 400)
    for begin in range(0, 400, 100):
        sure, flood = journal.frames[begin : begin + 20], journal.frames[begin + 20 : begin + 100]
        write_journal(folder.store, PARTITION, sure, in_flight=flood, then="kill")
        witness = Witness(witness_path(folder.root, PARTITION, "writer"))
        tip = journal.tips[19]
        if witness.newest is None:
            witness.record(tip.sequence, tip.hash, 20)
        witness.close()
        assert folder.check() == []
