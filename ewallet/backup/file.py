r"""The backup file: one file, written and read front to back, that says itself what it is.

    ewallet backup 1\n      and the format's version
    record …                 4 bytes length, 1 byte kind, body
    32 bytes                 BLAKE2b-256 of everything before

The first record is the header and the last one the end, both JSON, so that an operator can read
them; all others are journal frames as they were stored, each behind 2 bytes with its party, in an
order in which every frame stands behind what it follows from. Numbers are big-endian.
"""

import struct
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec
from msgspec import Struct

from contracts.chain import Tip
from contracts.limits import FRAME_BYTES_MAX, SLOT_COUNT
from contracts.partitioning import NotASlotMap, SlotMap

VERSION: Final = 1
SEAL_BYTES: Final = 32

_TITLE: Final = b"ewallet backup "
_TITLE_BYTES_MAX: Final = len(_TITLE) + 8
_RECORD: Final = struct.Struct(">IB")
_PARTY: Final = struct.Struct(">H")
_HEADER, _FRAME, _END = 1, 2, 3
_RECORD_BYTES_MAX: Final = FRAME_BYTES_MAX + 128 * SLOT_COUNT
_READ_BYTES: Final = 1_024 * 1_024

T = TypeVar("T")


class NotABackup(Exception):  # a kind of file, not a kind of failure
    """The file is no whole backup that this program reads; the message says why."""


class Header(Struct, frozen=True, forbid_unknown_fields=True):
    """What the backup is of."""

    begun_at: str
    """RFC 3339, by the clock of the machine that took it: for people."""
    partitions: int
    slot_map: str
    """As the wallet stores it."""


class Reached(Struct, frozen=True, forbid_unknown_fields=True):
    """How far one journal is in the backup."""

    sequence: int
    hash: str
    epoch: int
    frames: int

    @classmethod
    def of(cls, tip: Tip, frames: int) -> "Reached":
        """The place of a tip, so many frames behind the beginning."""
        return cls(tip.sequence, tip.hash.hex(), tip.epoch, frames)


class End(Struct, frozen=True, forbid_unknown_fields=True):
    """What the backup holds, by the names of the parties."""

    journals: dict[str, Reached]
    unfinished: int
    """Transfers between partitions that were under way; they go on after a restore."""


class BackupWriter:
    """Writes a backup to a file that is open for binary writing."""

    def __init__(self, file: BinaryIO, header: Header) -> None:
        self._file = file
        self._seal = blake2b(digest_size=SEAL_BYTES)
        self.byte_count = 0
        self._write(b"%b%d\n" % (_TITLE, VERSION))
        self._record(_HEADER, msgspec.json.encode(header))

    def add(self, party: int, data: bytes) -> None:
        """The next frame of a party's journal."""
        self._record(_FRAME, _PARTY.pack(party) + data)

    def end(self, end: End) -> None:
        """Nothing follows; the seal makes the backup whole."""
        self._record(_END, msgspec.json.encode(end))
        self._file.write(self._seal.digest())
        self.byte_count += SEAL_BYTES

    def _record(self, kind: int, body: bytes) -> None:
        self._write(_RECORD.pack(len(body), kind))
        self._write(body)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._seal.update(data)
        self.byte_count += len(data)


class Backup:
    """A backup file whose seal was found right: so it is whole, and as it was written."""

    def __init__(self, path: Path) -> None:
        """Read the file once. Raise NotABackup, OSError."""
        self._path = path
        with path.open("rb") as file:
            _check_title(file.read(_TITLE_BYTES_MAX))
        self.seal = _checked_seal(path)
        first = next(self._records(), None)
        if first is None or first[0] != _HEADER:
            raise NotABackup("it has no header")
        self.header = _decoded(first[1], Header)
        self.slots = _slots(self.header)

    def frames(self) -> Iterator[tuple[int, bytes] | End]:
        """Yield (party, frame's bytes) in order, and the end at last. Raise NotABackup."""
        records = self._records()
        next(records)
        is_over = False
        for kind, body in records:
            if is_over:
                raise NotABackup("something follows its end")
            if kind == _FRAME and len(body) > _PARTY.size:
                yield _PARTY.unpack_from(body)[0], body[_PARTY.size :]
            elif kind == _END:
                is_over = True
                yield _decoded(body, End)
            else:
                raise NotABackup(f"it has a record of the unknown kind {kind}")
        if not is_over:
            raise NotABackup("it has no end")

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """Yield (kind, body). The file is sealed, so what is wrong here was written so."""
        with self._path.open("rb") as file:
            title = file.readline(_TITLE_BYTES_MAX)
            seal = blake2b(title, digest_size=SEAL_BYTES)
            left = self._path.stat().st_size - SEAL_BYTES - len(title)
            while left >= _RECORD.size:
                start = file.read(_RECORD.size)
                size, kind = _RECORD.unpack(start)
                left -= _RECORD.size + size
                if left < 0 or size > _RECORD_BYTES_MAX:
                    raise NotABackup("a record reaches beyond its end")
                body = file.read(size)
                seal.update(start)
                seal.update(body)
                yield kind, body
        if left or seal.digest() != self.seal:
            raise NotABackup("it was changed while it was read")


def _check_title(first: bytes) -> None:
    title, _, _ = first.partition(b"\n")
    version = title.removeprefix(_TITLE)
    if not title.startswith(_TITLE) or not version.isdigit():
        raise NotABackup("it is no backup of a wallet")
    if int(version) != VERSION:
        raise NotABackup(
            f"it has the format version {int(version)}, and this program reads {VERSION}: use the"
            " version of ewallet that made it"
        )


def _checked_seal(path: Path) -> bytes:
    """The seal, after everything before it was found as it was written."""
    seal = blake2b(digest_size=SEAL_BYTES)
    left = path.stat().st_size - SEAL_BYTES
    with path.open("rb") as file:
        while left > 0:
            data = file.read(min(left, _READ_BYTES))
            if not data:
                break
            seal.update(data)
            left -= len(data)
        found = file.read(SEAL_BYTES)
    if left or found != seal.digest():
        raise NotABackup("its checksum does not match its content: it is damaged or cut off")
    return found


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise NotABackup(f"its {kind.__name__.lower()} can't be read: {error}") from error


def _slots(header: Header) -> SlotMap:
    try:
        slots = SlotMap.decode(header.slot_map.encode())
    except NotASlotMap as error:
        raise NotABackup(f"its slot map can't be read: {error}") from error
    if slots.partition_count != header.partitions:
        raise NotABackup("its slot map is of another number of partitions")
    return slots
