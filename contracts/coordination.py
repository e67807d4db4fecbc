"""The ways in which a transfer between partitions is made all-or-nothing, and their steps.

The numbers stand in journals for ever: never renumber, only add.
"""

from enum import IntEnum
from typing import Final


class Coordination(IntEnum):
    """How a transfer was, or shall be, made all-or-nothing."""

    NONE = 0
    """One event in one partition does it all."""
    CHOREOGRAPHY = 1
    """Saga: each partition reacts to the other's event."""
    ORCHESTRATION = 2
    """Saga: the coordinator asks for debit and credit in order, and for the refund if need be."""
    TCC = 3
    """Try, confirm, cancel: both sides set the amount aside, then both or neither take it."""
    TWO_PHASE_COMMIT = 4
    """Both accounts are locked while the coordinator collects votes."""


COORDINATION_NAMES: Final = {
    Coordination.NONE: "none",
    Coordination.CHOREOGRAPHY: "choreography",
    Coordination.ORCHESTRATION: "orchestration",
    Coordination.TCC: "tcc",
    Coordination.TWO_PHASE_COMMIT: "2pc",
}
"""As clients and settings call them."""


class Step(IntEnum):
    """What one side of a transfer does."""

    DEBIT = 1
    """Take the amount from the payer; it is in flight then."""
    CREDIT = 2
    """Give the amount to the payee."""
    COMPLETE = 3
    """The payee has it: the payer's side, and with it the transfer, is done."""
    REFUND = 4
    """The payee refused: the payer gets the amount back."""
    TRY_DEBIT = 11
    """Place a hold on the payer's account."""
    TRY_CREDIT = 12
    """Set room aside on the payee's account."""
    CONFIRM_DEBIT = 13
    """Capture the hold: the point of no return."""
    CONFIRM_CREDIT = 14
    CANCEL_DEBIT = 15
    """Release the hold; without one, see to it that none is placed later."""
    CANCEL_CREDIT = 16
    EXPIRE_DEBIT = 17
    """The hold's time is over: it is released. The partition's own step, nobody asks for it."""
    PREPARE_DEBIT = 21
    """Lock the payer's account and vote."""
    PREPARE_CREDIT = 22
    COMMIT_DEBIT = 23
    COMMIT_CREDIT = 24
    ABORT_DEBIT = 25
    ABORT_CREDIT = 26


CREDIT_STEPS: Final = frozenset(step for step in Step if step.name.endswith("CREDIT"))
"""Steps of the payee's side."""
