"""Frames: the unit of IO. Many commands, events or results in one NATS message.

Bytes on the wire: one version byte, then MessagePack of the struct as an array. Bytes meet types
in this file only.
"""

from hashlib import blake2b
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from msgspec import Meta, Struct

from contracts.changes import ChangeFrame, Listen
from contracts.commands import Command, Id
from contracts.events import Event
from contracts.limits import COMMAND_FRAME_COMMANDS_MAX, FRAME_BYTES_MAX, STEP_FRAME_STEPS_MAX
from contracts.results import Result
from contracts.steps import StepMessage

HASH_BYTES: Final = 32

_VERSION: Final = b"\x01"


class Undecodable(Exception):  # a kind of bytes, not a kind of failure
    """The bytes are not a frame of the expected kind and version."""


class CommandFrame(Struct, frozen=True, array_like=True):
    """Commands of one proxy, its sender, numbered first_number, and so on."""

    sender_id: Id
    first_number: Annotated[int, Meta(ge=1, le=2**53)]
    """Numbers are given once per sender id, so (sender_id, first_number) names a frame."""
    commands: Annotated[list[Command], Meta(min_length=1, max_length=COMMAND_FRAME_COMMANDS_MAX)]


class StepFrame(Struct, frozen=True, array_like=True):
    """Steps from one writer to one party."""

    sender_id: Id
    first_number: Annotated[int, Meta(ge=1, le=2**53)]
    """Numbers are given once per sender id, so (sender_id, first_number) names a frame."""
    steps: Annotated[list[StepMessage], Meta(min_length=1, max_length=STEP_FRAME_STEPS_MAX)]


class Source(Struct, frozen=True, array_like=True):
    """Where the next `count` events of an event frame come from: commands or steps in a row.

    An event of a proxy's command frame answers the request of its place: first_number and so on.
    A count of 0 only names the last frame that was taken from the queue.
    """

    sender_id: str
    """A proxy or a writer; empty for what nobody asked for (EpochOpened, an expired hold)."""
    first_number: int
    at_ms: int
    """When it happened: the broker's timestamp of the queued frame, made monotonic; Unix ms."""
    count: int


class EventFrame(Struct, frozen=True, array_like=True):
    """Events of one partition, chained to the frame before."""

    epoch: int
    first_sequence: int
    """Sequence of the first event; the others follow without a gap."""
    prev_hash: bytes
    command_sequence: int
    """Sequence in the queue of the last frame that was taken from it, 0 before the first. The last
    source names that frame, unless its sender id is empty."""
    sources: list[Source]
    """In order; their counts add up to the number of events."""
    events: list[Event]


class ResultFrame(Struct, frozen=True, array_like=True):
    """Outcomes for one proxy, of any partitions."""

    results: list[Result]
    journaled_at_us: int = 0
    """When the broker stored the newest of the event frames that they come from, by its clock; Unix
    us. It stamps a frame before it writes and fsyncs it. 0 from a reader of an older version."""
    pushed_at_us: int = 0
    """When the reader sent this frame, by its clock; Unix us."""


_T = TypeVar("_T")


class _Codec(Generic[_T]):
    def __init__(self, kind: type[_T]) -> None:
        self._kind = kind
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)

    def encode(self, frame: _T) -> bytes:
        """Bytes of at most FRAME_BYTES_MAX: senders cut their groups by the limits."""
        data = _VERSION + self._encoder.encode(frame)
        assert len(data) <= FRAME_BYTES_MAX, f"{self._kind.__name__} of {len(data)} bytes"
        return data

    def decode(self, data: bytes) -> _T:
        """Raise Undecodable unless the bytes are a frame of this kind and version."""
        if data[:1] != _VERSION:
            raise Undecodable(f"{self._kind.__name__}: version byte {data[:1]!r}")
        try:
            return self._decoder.decode(memoryview(data)[1:])
        except msgspec.DecodeError as error:
            raise Undecodable(f"{self._kind.__name__}: {error}") from error


COMMAND_FRAME: Final = _Codec(CommandFrame)
STEP_FRAME: Final = _Codec(StepFrame)
EVENT_FRAME: Final = _Codec(EventFrame)
RESULT_FRAME: Final = _Codec(ResultFrame)
CHANGE_FRAME: Final = _Codec(ChangeFrame)
LISTEN: Final = _Codec(Listen)


class _Outline(Struct, frozen=True, array_like=True):
    """What any version's event frame begins with."""

    epoch: int
    first_sequence: int
    prev_hash: bytes


_OUTLINE: Final = msgspec.msgpack.Decoder(_Outline)


def named_predecessor(data: bytes) -> bytes | None:
    """The hash that an event frame names, whatever its events are; None for other bytes."""
    try:
        return _OUTLINE.decode(memoryview(data)[1:]).prev_hash
    except msgspec.DecodeError:
        return None


def frame_hash(data: bytes) -> bytes:
    """The hash by which the next event frame names this one: BLAKE2b-256 of its bytes."""
    return blake2b(data, digest_size=HASH_BYTES).digest()
