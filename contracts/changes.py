"""Changes: what events did to accounts, pushed by readers to the proxies that listen.

They are hints for those who watch, never the truth: what gets lost is asked for again with a
`ChangesQuery`. A proxy says for which hash slots it listens; readers push the changes of these.
"""

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

from contracts.commands import Id
from contracts.limits import CHANGE_FRAME_CHANGES_MAX, SLOT_COUNT

LISTENED_BYTES = SLOT_COUNT // 8


class Direction(IntEnum):
    """What a change did to its account."""

    DEBIT = 1
    """Posted less."""
    CREDIT = 2
    """Posted more."""
    HOLD = 3
    """Held more."""
    RELEASE = 4
    """Held less, and nothing else. A captured hold is a debit."""


class Change(Struct, frozen=True, array_like=True):
    """What one event did to one account, and how it stands just after."""

    account_id: str
    sequence: int
    """Of the event; it names the change together with the account."""
    at_ms: int
    posted_minor: int
    held_minor: int
    transaction_id: str
    amount_minor: int
    """Never negative; `direction` is its sign."""
    direction: Direction


class Listen(Struct, frozen=True, array_like=True):
    """A proxy listens, and says so again and again; who falls silent is forgotten."""

    proxy_id: Id
    version: Annotated[int, Meta(ge=1, le=2**53)]
    """Rises with every slot that is added."""
    slots: Annotated[bytes, Meta(max_length=LISTENED_BYTES)]
    """Bit n % 8 of byte n // 8 for slot n. Empty: it does not listen any more."""


class ChangeFrame(Struct, frozen=True, array_like=True):
    """The changes of the listened slots in a run of events.

    Frames of one reader continue each other: the next one's after_sequence is this one's
    tip_sequence. Several readers push the same, and cut it differently.
    """

    partition: int
    after_sequence: int
    """Nothing at or before it is in this frame."""
    tip_sequence: int
    """Every change behind after_sequence and up to here is in it."""
    versions: dict[str, int]
    """By proxy, the `Listen` whose slots it covers."""
    changes: Annotated[list[Change], Meta(max_length=CHANGE_FRAME_CHANGES_MAX)]
    """In the order of their sequences."""


def slots_to_bytes(slots: frozenset[int] | set[int]) -> bytes:
    """The slots of a `Listen`."""
    bits = bytearray(LISTENED_BYTES)
    for slot in slots:
        bits[slot >> 3] |= 1 << (slot & 7)
    return bytes(bits)
