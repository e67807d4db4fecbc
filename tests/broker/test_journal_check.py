"""No damage of a stopped server's journal passes the check before a start, and nothing else does.

The journals are real frames, written by a real nats-server.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pytest

from broker.journal_check import Finding, check_journals, render
from broker.store_files import stream_folders
from broker.witness import Witness, read_witness, witness_path
from contracts.chain import Chained, MadeByAnotherVersion, Tip, follow, genesis
from contracts.events import AccountOpened, EpochOpened, Event
from contracts.frames import EVENT_FRAME, EventFrame, Source
from contracts.parties import COORDINATOR, parties
from contracts.subjects import journal_stream

pytestmark = pytest.mark.server

WriteJournal = Callable[..., None]
PARTITION: Final = 2
HEADERS: Final = {"Trace": "x"}


@dataclass(frozen=True)
class Journal:
    """Frames in order and the tip after each."""

    frames: list[bytes]
    tips: list[Tip]


def frame_after(tip: Tip, events: Sequence[Event], *, proxy_id: str = "p") -> bytes:
    opens = isinstance(events[0], EpochOpened)
    return EVENT_FRAME.encode(
        EventFrame(
            epoch=tip.epoch + opens,
            first_sequence=tip.sequence + 1,
            prev_hash=tip.hash,
            command_sequence=tip.sequence,
            sources=[Source(proxy_id, tip.sequence, tip.at_ms + 1, len(events))],
            events=list(events),
        )
    )


def journal_of(sizes: Sequence[int], partition: int = PARTITION) -> Journal:
    """A journal whose frames have these numbers of events; the first one opens the epoch."""
    tip, journal = genesis(partition), Journal([], [])
    for size in sizes:
        events: list[Event] = [
            AccountOpened(f"account-{tip.sequence + n}", "EUR", 0) for n in range(size)
        ]
        if not journal.frames:
            events[0] = EpochOpened("w", b"k")
        data = frame_after(tip, events)
        step = follow(tip, data)
        assert isinstance(step, Chained)
        tip = step.tip
        journal.frames.append(data)
        journal.tips.append(tip)
    return journal


JOURNAL: Final = journal_of([1, 2, 3, 1, 2])  # events 1 | 2-3 | 4-6 | 7 | 8-9


@dataclass(frozen=True)
class Folder:
    """One wallet's data: the server's store and the witnesses."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "nats"

    @property
    def journal(self) -> Path:
        (folder,) = stream_folders(self.store, journal_stream(PARTITION))
        return folder

    @property
    def block(self) -> Path:
        return self.journal / "msgs" / "1.blk"

    def check(self) -> list[Finding]:
        """Check; and see that the check changed nothing."""
        before = self.contents()
        findings = check_journals(self.store, self.root, [PARTITION])
        assert self.contents() == before
        return findings

    def contents(self) -> dict[str, tuple[int, bytes]]:
        files = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    def witness(self, frame: int, keeper: str = "reader") -> None:
        """Remember the frame of that number (from 1) of JOURNAL; 0 makes an empty witness."""
        witness = Witness(witness_path(self.root, PARTITION, keeper))
        if frame:
            tip = JOURNAL.tips[frame - 1]
            witness.record(tip.sequence, tip.hash, frame)
        witness.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, write_journal: WriteJournal) -> Path:
    """JOURNAL in a store whose server was killed: no index.db helps the check."""
    root = tmp_path_factory.mktemp("written")
    write_journal(root / "nats", PARTITION, JOURNAL.frames, then="kill")
    return root


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Folder:
    """A copy of the store, to be damaged; without a witness."""
    return Folder(Path(shutil.copytree(written, tmp_path / "data")))


def ranges(findings: list[Finding]) -> list[tuple[bool, int | None, int | None]]:
    assert all(finding.party == PARTITION for finding in findings)
    return [(f.refuses, f.first_sequence, f.last_sequence) for f in findings]


def record_ends(block: bytes) -> list[int]:
    ends, at = [], 0
    while at < len(block):
        at += int.from_bytes(block[at : at + 4], "little") & 0x7FFFFFFF
        ends.append(at)
    return ends


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
