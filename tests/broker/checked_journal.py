"""A journal of real frames, and the folder in which a real nats-server wrote it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.journal_check import Finding, check_journals
from broker.store_files import stream_folders
from broker.witness import Witness, witness_path
from contracts.chain import Chained, Tip, follow, genesis
from contracts.events import AccountOpened, EpochOpened, Event
from contracts.frames import EVENT_FRAME, EventFrame, Source
from contracts.subjects import journal_stream

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


def ranges(findings: list[Finding]) -> list[tuple[bool, int | None, int | None]]:
    assert all(finding.party == PARTITION for finding in findings)
    return [(f.refuses, f.first_sequence, f.last_sequence) for f in findings]


def record_ends(block: bytes) -> list[int]:
    ends, at = [], 0
    while at < len(block):
        at += int.from_bytes(block[at : at + 4], "little") & 0x7FFFFFFF
        ends.append(at)
    return ends
