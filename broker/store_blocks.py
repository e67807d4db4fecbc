"""One block of a nats-server stream: which of its bytes are intact records.

Format as of nats-server 2.15 (server/filestore.go, writeMsgRecordLocked). A block is records
end to end, little-endian:

    length 4 (bit 31: has headers) | stream sequence 8 (bit 63: erased, bit 62: tombstone) |
    timestamp 8 | subject length 2 | subject | [headers length 4 | headers] | payload |
    HighwayHash-64 of sequence, timestamp, subject, headers and payload 8

The checksum leaves the three lengths out. They are covered here: a journal has one subject, so
the subject and its length are known; headers end where their first empty line ends; and any
other record length moves the bytes that the checksum is computed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.highway_hash import highway_hash_64

CHECKSUM_BYTES: Final = 8

_HEAD: Final = np.dtype(
    {
        "names": ["length", "sequence", "at_ns", "subject_length"],
        "formats": ["<u4", "<u8", "<i8", "<u2"],
        "offsets": [0, 4, 12, 20],
        "itemsize": 22,
    }
)
_HEAD_BYTES: Final = 22
_LENGTH_BYTES: Final = 4
_RECORD_BYTES_MIN: Final = _HEAD_BYTES + CHECKSUM_BYTES
_HAS_HEADERS: Final = 1 << 31
_DELETION: Final = 1 << 63 | 1 << 62  # erased in place, or noted as gone (a tombstone)
_COMPRESSED: Final = b"cmp"
_HEADERS_END: Final = b"\r\n\r\n"


class Record(NamedTuple):
    """One stored message of the stream."""

    stream_sequence: int
    at_ns: int
    headers: bytes
    """As on the wire, with the empty line that ends them; empty if there are none."""
    payload: bytes


class Entry(NamedTuple):
    """One intact record of a block; record is None where the server noted a deletion."""

    length: int
    stream_sequence: int
    record: Record | None


class Block:
    """The bytes of one block."""

    def __init__(self, data: bytes, key: bytes, subject: bytes) -> None:
        self.size = len(data)
        self._data = data
        self._key = key
        self._subject = subject
        # Room for windows that begin near the end.
        padding = bytes(_HEAD_BYTES + len(subject) + 4)
        self._padded = np.frombuffer(data + padding, dtype=np.uint8)

    def intact_run(self, at: int) -> Iterator[Entry]:
        """Records from byte `at` on, up to the first that is broken or the block's end."""
        offsets = self._offsets(at)
        heads = _windows(self._padded, _HEAD)[offsets]
        intact = self._intact(offsets, heads)
        count = len(intact) if intact.all() else int(intact.argmin())
        columns = (heads[name][:count].tolist() for name in ("length", "sequence", "at_ns"))
        for offset, length, sequence, at_ns in zip(offsets[:count].tolist(), *columns, strict=True):
            entry = self._entry(offset, length, sequence, at_ns)
            if entry is None:
                return
            yield entry

    def why_broken(self, at: int) -> str:
        """Say what is wrong with the record at byte `at`."""
        if self._data.startswith(_COMPRESSED):
            return "the block is compressed, which this check does not read"
        offsets = self._offsets(at)
        if not len(offsets):
            return "no whole record begins here"
        if not self._checksums_match(offsets[:1], _windows(self._padded, _HEAD)[offsets[:1]])[0]:
            return "the record does not match its checksum"
        return "the record's lengths or its subject are not those of a journal"

    def is_torn_write(self, at: int, expected: int) -> bool:
        """Whether everything from byte `at` on may be one unfinished write of one record."""
        rest = self._data[at:]
        if rest.count(0) == len(rest):  # room was made, nothing was written
            return True
        if not expected.to_bytes(8, "little").startswith(rest[4:12]):
            return False
        length = int.from_bytes(rest[:4], "little") & ~_HAS_HEADERS
        return len(rest) <= _LENGTH_BYTES or length >= len(rest)

    def next_intact(self, at: int) -> int:
        """The first byte from `at` on where an intact record begins, or the block's size."""
        mark = struct.pack("<H", len(self._subject)) + self._subject
        distance = _HEAD_BYTES - 2
        found = self._data.find(mark, at + distance)
        while found >= 0:
            candidate = self._offsets(found - distance, limit=1)
            if len(candidate):
                heads = _windows(self._padded, _HEAD)[candidate]
                if self._intact(candidate, heads)[0]:
                    return found - distance
            found = self._data.find(mark, found + 1)
        return self.size

    def _offsets(self, at: int, limit: int | None = None) -> NDArray[np.int64]:
        """Where whole records begin from byte `at` on, if every length is true."""
        offsets: list[int] = []
        length_at = struct.Struct("<I").unpack_from
        while at + _RECORD_BYTES_MIN <= self.size and len(offsets) != limit:
            length = length_at(self._data, at)[0] & ~_HAS_HEADERS
            if length < _RECORD_BYTES_MIN or at + length > self.size:
                break
            offsets.append(at)
            at += length
        return np.array(offsets, dtype=np.int64)

    def _intact(self, offsets: NDArray[np.int64], heads: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of the records are whole: a message with the subject, or a deletion's note."""
        subject = np.frombuffer(self._subject, dtype=np.uint8)
        windows = _windows(self._padded, np.dtype(f"V{len(subject)}"))
        found = windows[offsets + _HEAD_BYTES].view(np.uint8).reshape(-1, len(subject))
        is_deletion = (heads["sequence"] & np.uint64(_DELETION)) != 0
        has_subject = (heads["subject_length"] == len(subject)) & (found == subject).all(axis=1)
        is_bare = (heads["subject_length"] == 0) & (heads["length"] < _HAS_HEADERS)
        known: NDArray[np.bool_] = np.where(is_deletion, is_bare, has_subject)
        return known & self._checksums_match(offsets, heads)

    def _checksums_match(
        self, offsets: NDArray[np.int64], heads: NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Compare the stored checksums with the computed ones.

        What is hashed has holes on disk (the lengths of the subject and of the headers), so
        sequence, timestamp and subject move up against the rest, in a copy.
        """
        lengths = (heads["length"] & np.uint32(_HAS_HEADERS - 1)).astype(np.int64)
        with_headers = offsets[heads["length"] >= _HAS_HEADERS]
        moved = self._padded.copy()
        names = _windows(moved, np.dtype(f"V{len(self._subject)}"))
        names[with_headers + _HEAD_BYTES + 4] = names[with_headers + _HEAD_BYTES]
        shift = np.where(heads["length"] >= _HAS_HEADERS, 4 + 2, 2)
        stamps = _windows(moved, np.dtype("V16"))
        stamps[offsets + 4 + shift] = stamps[offsets + 4]
        starts = offsets + 4 + shift
        ends = offsets + lengths - CHECKSUM_BYTES
        stored = _windows(self._padded, np.dtype("<u8"))[ends]
        matches: NDArray[np.bool_] = (
            highway_hash_64(self._key, moved, starts, ends - starts) == stored
        )
        return matches

    def _entry(self, offset: int, length: int, sequence: int, at_ns: int) -> Entry | None:
        """Cut an intact record into its parts; None if its headers don't end where they say."""
        has_headers, length = length & _HAS_HEADERS, length & ~_HAS_HEADERS
        if sequence & _DELETION:
            return Entry(length, sequence & ~_DELETION, None)
        begin = offset + _HEAD_BYTES + len(self._subject)
        end = offset + length - CHECKSUM_BYTES
        headers = b""
        if has_headers:
            size = int.from_bytes(self._data[begin : begin + 4], "little")
            begin += 4
            first_empty_line = self._data.find(_HEADERS_END, begin, end)
            if first_empty_line < 0 or first_empty_line + len(_HEADERS_END) != begin + size:
                return None
            headers = self._data[begin : begin + size]
        payload = self._data[begin + len(headers) : end]
        return Entry(length, sequence, Record(sequence, at_ns, headers, payload))


def _windows(buffer: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A view with one (unaligned) item of `dtype` beginning at every byte of the buffer."""
    count = len(buffer) - dtype.itemsize + 1
    return np.ndarray(count, dtype=dtype, buffer=buffer, strides=(1,))
