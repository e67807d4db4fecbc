"""The blocks of a snapshot: bytes that each hold a part of a state, read back in their order.

What a block holds is the business of who made it. That it is whole and the right one is known
before it is read, so what can't be read here is another version's, or a bug.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from contracts.limits import FRAME_BYTES_MAX

_ENCODER: Final = msgspec.msgpack.Encoder()

T = TypeVar("T")


class Unreadable(Exception):  # a kind of bytes, not a kind of failure
    """The blocks do not hold what this version keeps in a snapshot; the message says where."""


def encoded(part: Any) -> bytes:
    """A block of at most FRAME_BYTES_MAX."""
    block = _ENCODER.encode(part)
    assert len(block) <= FRAME_BYTES_MAX, f"a block of {len(block)} bytes"
    return block


def decoder_of(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """What `Blocks.take` takes."""
    return msgspec.msgpack.Decoder(kind)


class Blocks:
    """Blocks that are still to be read, in their order; what was read is let go."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._rest = deque(blocks)
        self._taken = 0

    def take(self, decoder: msgspec.msgpack.Decoder[T]) -> T:
        """The next one. Raise Unreadable if there is none, or none of this kind."""
        if not self._rest:
            raise Unreadable(f"block {self._taken} is missing")
        block = self._rest.popleft()
        try:
            part = decoder.decode(block)
        except msgspec.DecodeError as error:
            raise Unreadable(f"block {self._taken}: {error}") from error
        self._taken += 1
        return part

    def end(self) -> None:
        """Raise Unreadable if there are more."""
        if self._rest:
            raise Unreadable(f"block {self._taken} belongs to nothing")
