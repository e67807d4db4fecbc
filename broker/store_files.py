"""A stopped nats-server's stream, read from its files alone: every record, every damage.

Nothing here opens a file for writing. A stream's folder (nats-server 2.15) holds `meta.inf`
with its checksum in `meta.sum`, and under `msgs/` the blocks `1.blk`, `2.blk`, … of up to 8 MiB
and the server's note of the whole, `index.db`, written at a clean stop and now and then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from broker.highway_hash import highway_hash_64
from broker.store_blocks import CHECKSUM_BYTES, Block, Entry, Record

_INDEX_MAGIC: Final = b"\x0b"
_INDEX_HEAD_BYTES: Final = 2  # magic and version
_INDEX_LAST_SEQUENCE: Final = 4  # before it: messages, bytes, first sequence, first time
_REWRITES: Final = ("msgs/*.new", "msgs/*.blk.tmp", "__msgs__", "__new_msgs__")


class DamageKind(Enum):
    """What is wrong with a range of stream sequences."""

    TORN_TAIL = auto()
    """Only the last record, its head intact: also what a power cut in a write leaves."""
    BROKEN = auto()
    """Bytes that are no record."""
    MISSING = auto()
    """Nothing where records should be."""
    DELETED = auto()
    """The server itself erased a record, or noted that it lost it."""
    REPEATED = auto()
    """A sequence that was there before."""
    NOT_JUDGED = auto()
    """Files of a form that this check does not read: it says nothing about them."""
    SETTINGS = auto()
    """The stream's own settings (`meta.inf`): the server would ignore the whole stream."""
    INDEX = auto()
    """Only the server's note `index.db`, which it makes again from the blocks."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A range of stream sequences in doubt; last is None when nobody can tell where it ends."""

    kind: DamageKind
    file: Path
    seen: str
    first: int
    last: int | None


def stream_folders(store_dir: Path, stream: str) -> list[Path]:
    """The folders of a stream under a server's store folder, one per NATS account that has it."""
    root = store_dir if store_dir.name == "jetstream" else store_dir / "jetstream"
    return sorted(path for path in root.glob(f"*/streams/{stream}") if path.is_dir())


def read_stream(folder: Path, stream: str, subject: str) -> Iterator[Record | Damage]:
    """Yield the records of a stream with one subject, and between them what is damaged.

    Records come in rising stream sequence, from 1. One block (8 MiB) is in memory at a time.
    """
    damages = [*_not_judged(folder), *settings_damage(folder, stream)]
    yield from damages
    if any(damage.kind is DamageKind.NOT_JUDGED for damage in damages):
        return
    reading = _Reading(folder)
    for index, path in block_paths(folder):
        key = sha256(f"{stream}-{index}".encode()).digest()
        yield from reading.block(path, key, subject.encode())
    yield from reading.end(stream)


def block_paths(folder: Path) -> list[tuple[int, Path]]:
    """The blocks of a stream with their numbers, in order."""
    paths = folder.glob("msgs/*.blk")
    return sorted((int(path.stem), path) for path in paths if path.stem.isdecimal())


def _not_judged(folder: Path) -> Iterator[Damage]:
    """What makes the blocks unreadable here; the wallet's own settings cause none of it."""
    for path in (*folder.glob("meta.key"), *folder.glob("msgs/*.key")):
        yield Damage(DamageKind.NOT_JUDGED, path, "the stream is encrypted", 1, None)
    for pattern in _REWRITES:
        for path in folder.glob(pattern):
            seen = "a purge or compaction of the stream was interrupted"
            yield Damage(DamageKind.NOT_JUDGED, path, seen, 1, None)


def settings_damage(folder: Path, stream: str) -> Iterator[Damage]:
    """Settings that don't match their checksum; their absence counts once there are records."""
    meta, meta_sum = folder / "meta.inf", folder / "meta.sum"
    try:
        noted, computed = meta_sum.read_bytes(), _checksum(stream, meta.read_bytes()).hex()
    except OSError as error:
        if any(path.stat().st_size for _, path in block_paths(folder)):
            seen = f"{error.strerror}, so the server would ignore the stream"
            yield Damage(DamageKind.SETTINGS, Path(error.filename), seen, 1, None)
        return
    if noted != computed.encode():
        seen = "it does not match the checksum in meta.sum, so the server would ignore the stream"
        yield Damage(DamageKind.SETTINGS, meta, seen, 1, None)


def _checksum(stream: str, data: bytes) -> bytes:
    """The checksum that the server puts on the files of a stream beside its blocks."""
    ends = np.array([0]), np.array([len(data)])
    hashed = highway_hash_64(
        sha256(stream.encode()).digest(), np.frombuffer(data, dtype=np.uint8), *ends
    )
    return hashed.astype("<u8").tobytes()


class _Reading:
    """How far a stream was read, over all its blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._expected = 1  # stream sequence of the next record
        self._broken: Damage | None = None  # bytes after which no intact record has come yet

    def block(self, path: Path, key: bytes, subject: bytes) -> Iterator[Record | Damage]:
        """Read one block, the next in order."""
        try:
            block = Block(path.read_bytes(), key, subject)
        except OSError as error:
            self._break(path, f"it cannot be read ({error.strerror})", torn=False)
            return
        at = 0
        while at < block.size:
            for entry in block.intact_run(at):
                at += entry.length
                yield from self._accept(path, entry)
            if at < block.size:
                seen = f"byte {at} of {block.size}: {block.why_broken(at)}"
                self._break(path, seen, torn=block.is_torn_write(at, self._expected))
                at = block.next_intact(at + 1)

    def end(self, stream: str) -> Iterator[Damage]:
        """After the last block: what never ended, and what the server's own note knows."""
        reached = self._expected - 1
        if self._broken is not None:
            yield self._broken
        path = self._folder / "msgs" / "index.db"
        if not path.exists():
            return
        noted = _noted_last_sequence(path.read_bytes(), stream)
        if noted is None:
            seen = "it is damaged; the server makes it again"
            yield Damage(DamageKind.INDEX, path, seen, 1, reached)
        elif noted > reached:
            seen = f"the server noted {noted} stored records here, the blocks end after {reached}"
            yield Damage(DamageKind.MISSING, path, seen, reached + 1, noted)

    def _break(self, path: Path, seen: str, *, torn: bool) -> None:
        """Remember where records stop. Damage after damage is one damage, and no torn tail."""
        if self._broken is None:
            kind, last = DamageKind.BROKEN, None
            if torn:
                kind, last = DamageKind.TORN_TAIL, self._expected
            self._broken = Damage(kind, path, seen, self._expected, last)
        else:
            self._broken = replace(self._broken, kind=DamageKind.BROKEN, last=None)

    def _accept(self, path: Path, entry: Entry) -> Iterator[Record | Damage]:
        """Take the next intact record: it ends a damage, or shows a gap, or is the next one."""
        sequence, deleted = entry.stream_sequence, entry.record is None
        if self._broken is not None:
            last = max(self._expected, sequence - 1)
            yield replace(self._broken, kind=DamageKind.BROKEN, last=last)
            self._broken = None
        elif not deleted and sequence > self._expected:
            seen = f"after stream sequence {self._expected - 1} comes {sequence}"
            yield Damage(DamageKind.MISSING, path, seen, self._expected, sequence - 1)
        if deleted:
            seen = f"the server noted that stream sequence {sequence} is gone"
            first = min(self._expected, sequence)
            yield Damage(DamageKind.DELETED, path, seen, first, sequence)
        elif sequence < self._expected:
            seen = f"stream sequence {sequence} comes a second time"
            yield Damage(DamageKind.REPEATED, path, seen, sequence, sequence)
            return
        elif entry.record is not None:
            yield entry.record
        self._expected = max(self._expected, sequence + 1)


def _noted_last_sequence(index: bytes, stream: str) -> int | None:
    """The last stream sequence in the server's `index.db`; None if the file is damaged.

    The file may be older than the blocks, never newer.
    """
    body, stored = index[:-CHECKSUM_BYTES], index[-CHECKSUM_BYTES:]
    if body[:1] != _INDEX_MAGIC or _checksum(stream, body) != stored:
        return None
    numbers = list(islice(_varints(body[_INDEX_HEAD_BYTES:]), _INDEX_LAST_SEQUENCE + 1))
    return numbers[_INDEX_LAST_SEQUENCE] if len(numbers) > _INDEX_LAST_SEQUENCE else None


def _varints(data: bytes) -> Iterator[int]:
    """Unsigned varints, seven bits to a byte, the lowest first; the last byte has bit 7 clear."""
    number, shift = 0, 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield number
            number, shift = 0, 0
