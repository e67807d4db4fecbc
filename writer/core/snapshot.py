"""Snapshots: what a party's journal up to its tip adds up to, as blocks of bytes and back.

    head: version, party, tip, its place in the journal's stream, place in the queue
    blocks of the rules' state, in an order of their own
    seal: BLAKE2b-256 over the lengths and bytes of all blocks before

A snapshot can always be made anew from the journal. So whatever is wrong with one, it is not used:
a bit, a byte or a block more, less or changed breaks the seal, and another version's is unreadable.
"""

import sys
import traceback
from collections.abc import Generator, Iterator
from hashlib import blake2b
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from contracts.chain import Tip
from contracts.frames import HASH_BYTES
from contracts.parties import party_title
from writer.core.blocks import Unreadable
from writer.core.machine import Machine, Position
from writer.core.rules import Rules

VERSION: Final = 1
"""Of what blocks hold. A change of a part's blocks is a new version: the old ones are skipped."""

_MAGIC: Final = b"ewallet snapshot "
_LENGTH_BYTES: Final = 8

R = TypeVar("R", bound=Rules)


class Damaged(Exception):  # a kind of bytes, not a kind of failure
    """The bytes are not a snapshot as it was made; the message says what is wrong."""


class Head(Struct, frozen=True, array_like=True):
    """What a snapshot is of."""

    party: int
    byte_order: str
    """Of the numbers in columns."""
    stream_sequence: int
    """Place of the tip's frame in the journal's stream."""
    tip: tuple[int, bytes, int, int]
    """The fields of Tip."""
    position: tuple[int, str, int]
    """The fields of Position."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_HEAD: Final = msgspec.msgpack.Decoder(Head)


def freeze(machine: Machine[R], party: int, stream_sequence: int) -> Iterator[bytes]:
    """The machine's state now, as blocks that are made later: see `Rules.freeze`.

    To be called when everything that was decided is durable; stream_sequence is then the place of
    the tip's frame in the journal's stream.
    """
    tip, position = machine.tip, machine.position
    head = Head(
        party=party,
        byte_order=sys.byteorder,
        stream_sequence=stream_sequence,
        tip=(tip.sequence, tip.hash, tip.epoch, tip.at_ms),
        position=(position.sequence, position.sender_id, position.first_number),
    )
    first = _MAGIC + bytes((VERSION,)) + _ENCODER.encode(head)
    return _sealed(first, machine.rules.freeze())


class Seal:
    """The checksum over blocks, in their order. A snapshot's last block is that of all before."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=HASH_BYTES)
        self._last: bytes | None = None
        """The block that was added last, not under the seal yet: it may be the seal."""

    def add(self, block: bytes) -> None:
        """Take the next block."""
        self._close_last()
        self._last = block

    def digest(self) -> bytes:
        """The block that closes all that were added."""
        self._close_last()
        return self._hash.digest()

    def check(self) -> None:
        """Raise Damaged unless all that were added are those that were made, every bit of them."""
        if self._last != self._hash.digest():
            raise Damaged("its checksum does not match its content")

    def _close_last(self) -> None:
        if self._last is not None:
            self._hash.update(len(self._last).to_bytes(_LENGTH_BYTES, "big"))
            self._hash.update(self._last)
            self._last = None


def _sealed(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    seal = Seal()
    block: bytes | None = first
    while block is not None:
        seal.add(block)
        yield block
        block = next(blocks, None)
    yield seal.digest()


class Thawing(Generic[R]):
    """Makes a fresh machine of a snapshot's blocks while they come.

    What no whole snapshot of this version may hold is told at once. Whatever else goes wrong may be
    due to damage, so it is told at the end, when the seal is known; before, nothing may be used.
    """

    def __init__(self, machine: Machine[R], party: int) -> None:
        self._seal = Seal()
        self._steps = _thaw(machine, party)
        next(self._steps)
        self._count = 0
        self._head: Head | None = None
        """Once all is thawed."""
        self._bug = ""
        """What went wrong, unless it is damage; nothing is thawed after it. Told in words: the
        exception itself would keep what was thawed in memory, for a cycle of references."""

    def add(self, block: bytes) -> None:
        """Take the next block. Raise Damaged."""
        self._seal.add(block)
        if not self._bug:
            try:
                self._take(block)
            except Damaged:
                raise
            except Exception:  # noqa: BLE001  # told at the end, or that it is damaged
                self._bug = traceback.format_exc()
            self._count += 1

    def _take(self, block: bytes) -> None:
        if self._head is not None:
            raise Damaged(f"block {self._count} belongs to nothing")
        try:
            self._steps.send(block)
        except StopIteration as end:
            self._head = end.value
        except Unreadable as error:
            raise Damaged(f"block {self._count} can't be read: {error}") from error

    def end(self) -> Head:
        """All blocks came: what they are of. Raise Damaged."""
        self._seal.check()
        assert not self._bug, self._bug
        if self._head is None:
            raise Damaged(f"block {self._count} is missing")
        return self._head


def _thaw(machine: Machine[R], party: int) -> Generator[None, bytes, Head]:
    head = _head_of((yield), party)
    yield from machine.rules.thaw()
    yield  # the seal
    machine.tip = Tip(*head.tip)
    machine.position = Position(*head.position)
    return head


def _head_of(first: bytes, party: int) -> Head:
    """What blocks are of. Raise Damaged if they are not for this party and version."""
    if not first.startswith(_MAGIC):
        raise Damaged("it is no snapshot of a wallet")
    version = first[len(_MAGIC)]
    if version != VERSION:
        raise Damaged(f"it is of version {version}, and this program reads version {VERSION}")
    try:
        head = _HEAD.decode(memoryview(first)[len(_MAGIC) + 1 :])
    except msgspec.DecodeError as error:
        raise Damaged(f"its head can't be read: {error}") from error
    if head.party != party:
        raise Damaged(f"it is of {party_title(head.party)}")
    if head.byte_order != sys.byteorder:
        raise Damaged(f"it is from a machine of the byte order {head.byte_order}")
    return head
