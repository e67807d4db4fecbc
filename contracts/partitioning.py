"""Which partition an account lives in: hash slots, and the map that deals them to partitions.

Source: Redis Cluster specification, "Key distribution model" (CRC16-CCITT, XMODEM variant).
"""

from array import array
from binascii import crc_hqx
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from contracts.limits import PARTITION_COUNT_MAX, SLOT_COUNT


def slot_of(account_id: str) -> int:
    """The hash slot (0 … 16,383) of an account id. `crc_hqx` is the XMODEM CRC16."""
    return crc_hqx(account_id.encode(), 0) % SLOT_COUNT


class NotASlotMap(Exception):  # a kind of bytes, not a kind of failure
    """The bytes do not give every slot to exactly one partition; the message says where."""


_Slot = Annotated[int, Meta(ge=0, lt=SLOT_COUNT)]


class _Range(Struct, frozen=True, forbid_unknown_fields=True):
    """Slots in a row, both ends included."""

    first_slot: _Slot
    last_slot: _Slot
    partition: Annotated[int, Meta(ge=0, lt=PARTITION_COUNT_MAX)]


class _Document(Struct, frozen=True, forbid_unknown_fields=True):
    """A slot map as it is stored."""

    partition_count: Annotated[int, Meta(ge=1, le=PARTITION_COUNT_MAX)]
    ranges: list[_Range]


_DECODER: Final = msgspec.json.Decoder(_Document)


class SlotMap:
    """Who has which slot. Immutable; equal to another one that says the same."""

    __slots__ = ("_owners", "_partition_count")

    def __init__(self, owners: Sequence[int], partition_count: int) -> None:
        """owners[slot] is the slot's partition, 0 … partition_count - 1."""
        assert 1 <= partition_count <= PARTITION_COUNT_MAX, partition_count
        assert len(owners) == SLOT_COUNT, len(owners)
        assert 0 <= min(owners) <= max(owners) < partition_count
        self._owners = array("H", owners)
        self._partition_count = partition_count

    @classmethod
    def even(cls, partition_count: int) -> "SlotMap":
        """Contiguous ranges whose lengths differ by one slot at most."""
        owners: list[int] = []
        for partition in range(partition_count):
            end = -(-(partition + 1) * SLOT_COUNT // partition_count)  # rounded up
            owners += [partition] * (end - len(owners))
        return cls(owners, partition_count)

    @classmethod
    def decode(cls, data: bytes) -> "SlotMap":
        """What `encode` made. Raise NotASlotMap."""
        try:
            document = _DECODER.decode(data)
        except msgspec.DecodeError as error:
            raise NotASlotMap(f"it is no slot map: {error}") from error
        owners: list[int] = []
        for dealt in document.ranges:
            _check_range(dealt, len(owners), document.partition_count)
            owners += [dealt.partition] * (dealt.last_slot - dealt.first_slot + 1)
        if len(owners) < SLOT_COUNT:
            raise NotASlotMap(f"slots {len(owners)} to {SLOT_COUNT - 1} have no partition")
        return cls(owners, document.partition_count)

    def encode(self) -> bytes:
        """Readable JSON, a line per contiguous range, in the order of the slots."""
        ranges, first = [], 0
        for partition, slots in groupby(self._owners):
            last = first + len(list(slots)) - 1
            ranges.append(_Range(first, last, partition))
            first = last + 1
        lines = b",\n  ".join(map(msgspec.json.encode, ranges))
        return b'{"partition_count": %d, "ranges": [\n  %b\n]}\n' % (self._partition_count, lines)

    @property
    def partition_count(self) -> int:
        """Partitions of the wallet; one may have no slot."""
        return self._partition_count

    def partition_of(self, account_id: str) -> int:
        """The partition (0 … partition_count - 1) whose writer owns the account."""
        return self._owners[slot_of(account_id)]

    def slots_of(self, partition: int) -> int:
        """How many slots a partition has."""
        return self._owners.count(partition)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SlotMap):
            return NotImplemented
        same_count = self._partition_count == other._partition_count
        return same_count and self._owners == other._owners

    def __hash__(self) -> int:
        return hash((self._partition_count, self._owners.tobytes()))

    def __repr__(self) -> str:
        return f"<SlotMap of {self._partition_count} partitions>"


def _check_range(dealt: _Range, expected_slot: int, partition_count: int) -> None:
    """Raise NotASlotMap unless the range is the next one and belongs to a partition there is."""
    first, last = dealt.first_slot, dealt.last_slot
    if last < first:
        raise NotASlotMap(f"the range of slots {first} to {last} is none")
    if first > expected_slot:
        raise NotASlotMap(f"slots {expected_slot} to {first - 1} have no partition")
    if first < expected_slot:
        raise NotASlotMap(f"slot {first} stands in two ranges, or its range is out of order")
    if dealt.partition >= partition_count:
        raise NotASlotMap(
            f"slots {first} to {last} belong to partition {dealt.partition} of {partition_count}"
        )
