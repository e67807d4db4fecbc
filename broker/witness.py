"""What was durable, remembered outside the broker's store.

A server that finds its files damaged cuts them and starts as if nothing had been there. The
witness of a journal names the newest frame that was durable, so that a journal that ends
earlier, or goes another way, is noticed before anything is written behind it.

A witness file has two slots of 80 bytes, written in turn, each with its own checksum: a torn
write leaves the other slot, which is one frame older. A record costs one `pwrite` and no fsync:
it survives the death of every process. After a power cut it may be older, never wrong.
"""

from __future__ import annotations

import fcntl
import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from contracts.frames import HASH_BYTES
from contracts.parties import party_name

_MAGIC: Final = b"witness\x01"
_BODY: Final = struct.Struct(f"<8sqq{HASH_BYTES}s")  # magic, sequence, stream sequence, hash
_CHECKSUM_BYTES: Final = 24
_SLOT_BYTES: Final = _BODY.size + _CHECKSUM_BYTES
_SLOTS: Final = 2
_BLANK: Final = bytes(_SLOT_BYTES)
_SUFFIX: Final = ".witness"


class Witnessed(NamedTuple):
    """A frame that was durable."""

    sequence: int
    """Sequence of its last event."""
    hash: bytes
    stream_sequence: int


class WitnessDamaged(Exception):
    """No slot of the file can be trusted; the message names the file."""


class WitnessInUse(Exception):
    """Another process keeps the file."""


class WitnessContradicted(Exception):
    """A journal tells another story than the witness: another hash at a witnessed sequence."""


def witness_path(data_dir: Path, party: int, keeper: str) -> Path:
    """Where one process (keeper: "writer", "reader") keeps its witness of a party's journal."""
    return data_dir / "witness" / f"{party_name(party)}-{keeper}{_SUFFIX}"


def witness_paths(data_dir: Path, party: int) -> list[Path]:
    """The witness files that exist for a party's journal, of all keepers."""
    return sorted((data_dir / "witness").glob(f"{party_name(party)}-*{_SUFFIX}"))


def read_witness(path: Path) -> Witnessed | None:
    """The newest frame witnessed, None if there was none yet. Raise WitnessDamaged."""
    if not path.exists():
        return None
    slots = _slots(path)
    witnessed = [_unpacked(slot) for slot in slots]
    known = [witness for witness in witnessed if witness is not None]
    if known:
        return max(known)
    if any(slot != _BLANK for slot in slots):
        raise WitnessDamaged(f"the witness file {path} is damaged")
    return None


class Witness:
    """Keeps one witness file; it never goes back. One process at a time may keep a file."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make an empty one.

        Raise WitnessDamaged if it can't be trusted, WitnessInUse if another process keeps it.
        """
        if not path.exists():
            _create(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.newest = read_witness(path)
        except BlockingIOError as error:
            os.close(self._fd)
            raise WitnessInUse(
                f"{path} is kept by another process: run one writer and one reader on a data folder"
            ) from error
        except WitnessDamaged:
            os.close(self._fd)
            raise
        # The next write goes where the newest witness is not.
        newest_at = [_unpacked(slot) for slot in _slots(path)].index(self.newest)
        self._slot = 1 - newest_at

    def record(self, sequence: int, frame_hash: bytes, stream_sequence: int) -> None:
        """Remember a durable frame: its last event's sequence, its hash, its place in the stream.

        A frame at or before the newest one (a journal read again) is not written. Raise
        WitnessContradicted if it is the newest by sequence and another by hash.
        """
        newest = self.newest
        if newest is not None and sequence <= newest.sequence:
            if sequence == newest.sequence and frame_hash != newest.hash:
                raise WitnessContradicted(
                    f"the journal has another frame at sequence {sequence} than was witnessed"
                )
            return
        self.newest = Witnessed(sequence, frame_hash, stream_sequence)
        os.pwrite(self._fd, _packed(self.newest), self._slot * _SLOT_BYTES)
        self._slot = 1 - self._slot

    def sync(self) -> None:
        """Make what was recorded survive a power cut too."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Sync and close; the object is of no use afterwards."""
        self.sync()
        os.close(self._fd)


def _slots(path: Path) -> list[bytes]:
    data = path.read_bytes()
    if len(data) != _SLOTS * _SLOT_BYTES:
        raise WitnessDamaged(f"the witness file {path} is damaged: it has {len(data)} bytes")
    return [data[at : at + _SLOT_BYTES] for at in range(0, len(data), _SLOT_BYTES)]


def _packed(witness: Witnessed) -> bytes:
    body = _BODY.pack(_MAGIC, witness.sequence, witness.stream_sequence, witness.hash)
    return body + blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _unpacked(slot: bytes) -> Witnessed | None:
    """The frame in a slot, None if it is blank or does not match its checksum."""
    magic, sequence, stream_sequence, frame_hash = _BODY.unpack_from(slot)
    witness = Witnessed(sequence, frame_hash, stream_sequence)
    return witness if magic == _MAGIC and _packed(witness) == slot else None


def _create(path: Path) -> None:
    """Put two blank slots on disk, whole or not at all, so that the file is never short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    with unfinished.open("wb") as file:
        file.write(_BLANK * _SLOTS)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
