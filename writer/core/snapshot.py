"""Snapshots: what a party's journal up to its tip adds up to, as blocks of bytes and back.

    head: version, party, tip, its place in the journal's stream, place in the queue
    blocks of the rules' state, in an order of their own
    seal: BLAKE2b-256 over the lengths and bytes of all blocks before

A snapshot can always be made anew from the journal. So whatever is wrong with one, it is not used:
a bit, a byte or a block more, less or changed breaks the seal, and another version's is unreadable.
"""

import sys
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from contracts.chain import Tip
from contracts.frames import HASH_BYTES
from contracts.parties import party_title
from writer.core.blocks import Blocks, Unreadable
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


def check_seal(blocks: Sequence[bytes]) -> None:
    """Raise Damaged unless the blocks are those that were made, every bit of them."""
    seal = Seal()
    for block in blocks:
        seal.add(block)
    seal.check()


def head_of(blocks: Sequence[bytes], party: int) -> Head:
    """What sealed blocks are of. Raise Damaged if they are not for this party and version."""
    first = blocks[0]
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


def thaw(machine: Machine[R], head: Head, blocks: Sequence[bytes]) -> Iterator[None]:
    """Give a fresh machine the state of sealed blocks; a turn for others between its steps.

    Raise Damaged if this version can't read them: the machine is of no use then.
    """
    rest = Blocks(blocks[1:-1])
    del blocks  # who keeps none either gets each one's memory back for what becomes of the next
    try:
        yield from machine.rules.thaw(rest)
        rest.end()
    except Unreadable as error:
        raise Damaged(f"it can't be read: {error}") from error
    machine.tip = Tip(*head.tip)
    machine.position = Position(*head.position)
