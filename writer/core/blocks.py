"""The blocks of a snapshot: bytes that each hold a part of a state, read back in their order.

What a block holds is the business of who made it. A state is thawed while its blocks still come, so
who reads one must not rely on it: that all are as they were made is known at the end.
"""

from collections.abc import Generator
from typing import Any, Final, Generic, TypeVar

import msgspec

from contracts.limits import FRAME_BYTES_MAX

_ENCODER: Final = msgspec.msgpack.Encoder()

T = TypeVar("T")

Thaw = Generator[None, bytes, None]
"""Makes a state of blocks: each `yield` stands for the next one, which is sent to it."""


class Unreadable(Exception):  # a kind of bytes, not a kind of failure
    """The blocks do not hold what this version keeps in a snapshot; the message says where."""


def encoded(part: Any) -> bytes:
    """A block of at most FRAME_BYTES_MAX."""
    block = _ENCODER.encode(part)
    assert len(block) <= FRAME_BYTES_MAX, f"a block of {len(block)} bytes"
    return block


class Decoder(Generic[T]):
    """Reads blocks of one kind."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)

    def read(self, block: bytes) -> T:
        """Raise Unreadable if the block holds nothing of this kind."""
        try:
            return self._decoder.decode(block)
        except msgspec.DecodeError as error:
            raise Unreadable(str(error)) from error
