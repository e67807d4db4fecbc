"""The terms in which a way of coordination is written down: sides, moves, phases.

A transfer between partitions has two sides, the payer's and the payee's, each in the state of its
own partition. A step moves one side from a state to another and does to the account what its Move
says. Who asks for which step when is the business of the driver: the payer's partition itself
(`asks` and `reactions`) or the coordinator (`Lifecycle`).
"""

from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from typing import Final

from msgspec import Struct

from contracts.coordination import Step


class SideState(IntEnum):
    """How far one side of a transfer is."""

    ABSENT = 0
    """The payee's side before its first step."""
    STARTED = 1
    """The payer's side before its first step: the name is taken, nothing has moved."""
    DEBITED = 2
    """The amount has left the payer, and may still come back."""
    HELD = 3
    """The amount is set aside on the payer's account."""
    RESERVED = 4
    """Room for the amount is set aside on the payee's account."""
    LOCKED = 5
    """The account is locked and the vote was yes."""
    CAPTURED = 6
    """The amount has left the payer for good and will reach the payee."""
    DONE = 7
    """The side has done its part for good."""
    UNDONE = 8
    """The side gave up: nothing moved here, or it was moved back."""


FINAL: Final = frozenset({SideState.DONE, SideState.UNDONE})


class Move(Struct, frozen=True):
    """What a step does: the state after it, and changes of the account in units of the amount."""

    to: SideState
    posted: int = 0
    held: int = 0
    incoming: int = 0
    """Room kept free below the largest balance."""
    may_be_refused: bool = False
    """The side checks its account first; no other step is ever refused."""
    receives: bool = False
    """The check is for room, not for funds."""


Sides = Mapping[tuple[SideState, Step], Move]


class Lifecycle(Struct, frozen=True):
    """What the coordinator does about one transfer, as tables over the way's phases."""

    first: Callable[[str, str], Enum]
    """The phase to begin with, given the payer's and the payee's account id."""
    awaits: Mapping[Enum, tuple[Step, ...]]
    """The steps whose answers a phase waits for; they are asked for on entering it."""
    transitions: Mapping[tuple[Enum, Step, bool], Enum]
    """From (phase, answered step, whether it was taken). An answer that has no entry is late."""
    timeouts: Mapping[Enum, Enum]
    """Where a phase goes when PARTY_ANSWER_TICKS_MAX ticks brought no answer."""
    finished: Enum


class Way(Struct, frozen=True):
    """One way of coordination."""

    start: Move
    """What the start does to the payer's side."""
    sides: Sides
    asks: Mapping[SideState, Step] = {}
    """What the payer's partition asks of the payee's while its own side is in a state."""
    reactions: Mapping[tuple[Step, bool], Step] = {}
    """The payer's own step after the answer (asked step, whether it was taken)."""
    lifecycle: Lifecycle | None = None
    """None: the payer's partition drives."""
