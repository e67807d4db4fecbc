"""Whether a stopped nats-server's files of the snapshots would let it start again.

Measured with nats-server 2.15.1: one bit of a stored sequence flipped, and the server counts to
the sequence that it reads there before it serves anybody, for days. Journals are read whole before
each start, so they are safe from that. Of snapshots, which may have gigabytes and a checksum of
their own, only the heads of records are read here: the lengths must lead from one to the next, and
whatever does not bring the next sequence must match its own checksum.
"""

import struct
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final

from broker.store_blocks import Block
from broker.store_files import block_paths, settings_damage, stream_folders
from contracts.subjects import SNAPSHOTS_STREAM

_HEAD: Final = struct.Struct("<IQqH")  # length, sequence, timestamp, length of the subject
_RECORD_BYTES_MIN: Final = _HEAD.size + 8
_HAS_HEADERS: Final = 1 << 31
_DELETION: Final = 1 << 63 | 1 << 62
_NO_SUBJECT: Final = b"-"
_ANY: Final = -1


def damaged_snapshots(store_dir: Path) -> Iterator[tuple[Path, str]]:
    """The folders that a server must not be started on, each with what is wrong."""
    for folder in stream_folders(store_dir, SNAPSHOTS_STREAM):
        seen = _damage(folder)
        if seen:
            yield folder, seen


def _damage(folder: Path) -> str:
    for damage in settings_damage(folder, SNAPSHOTS_STREAM):
        return f"{damage.file}: {damage.seen}"
    blocks = block_paths(folder)
    expected = _ANY
    for number, path in blocks:
        with path.open("rb") as file:
            reading = _Reading(file, number, expected, is_last=(number, path) == blocks[-1])
            seen = reading.damage()
        if seen:
            return f"{path}: {seen}"
        expected = reading.expected
    return ""


class _Reading:
    """One block, read head by head."""

    def __init__(self, file: BinaryIO, number: int, expected: int, *, is_last: bool) -> None:
        self.expected = expected
        """Stream sequence of the next record, if none was purged; _ANY before the first."""
        self._file = file
        self._size = file.seek(0, 2)
        self._key = sha256(f"{SNAPSHOTS_STREAM}-{number}".encode()).digest()
        self._is_last = is_last
        self._deletions: list[bytes] = []

    def damage(self) -> str:
        """What is wrong, nothing if the server can deal with it: it cuts off a torn tail."""
        at = 0
        while at < self._size:
            length, sequence, subject_length = self._head(at)
            if length < _RECORD_BYTES_MIN or at + length > self._size:
                return "" if self._is_last else f"no whole record begins at byte {at}"
            if sequence & _DELETION:
                self._deletions.append(self._bytes(at, length))
            elif sequence != self.expected and not self._is_intact(at, length, subject_length):
                return f"the record at byte {at} does not match its checksum"
            else:
                self.expected = sequence + 1
            at += length
        noted = b"".join(self._deletions)
        if not _is_intact(noted, self._key, _NO_SUBJECT):
            return "what the server noted as deleted does not match its checksum"
        return ""

    def _head(self, at: int) -> tuple[int, int, int]:
        head = self._bytes(at, _HEAD.size)
        if len(head) < _HEAD.size:
            return 0, 0, 0
        length, sequence, _, subject_length = _HEAD.unpack(head)
        return length & ~_HAS_HEADERS, sequence, subject_length

    def _is_intact(self, at: int, length: int, subject_length: int) -> bool:
        record = self._bytes(at, length)
        subject = record[_HEAD.size : _HEAD.size + subject_length]
        return bool(subject) and _is_intact(record, self._key, subject)

    def _bytes(self, at: int, length: int) -> bytes:
        self._file.seek(at)
        return self._file.read(length)


def _is_intact(records: bytes, key: bytes, subject: bytes) -> bool:
    return sum(entry.length for entry in Block(records, key, subject).intact_run(0)) == len(records)
