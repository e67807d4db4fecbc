"""The sides of both sagas: the amount leaves the payer, then reaches the payee or comes back.

While it is in flight, room for it is kept on the payer's account, so that a refund always fits.
"""

from typing import Final

from contracts.coordination import Step
from writer.core.coordination.lifecycle import Move, Sides, SideState

TAKE_FROM_PAYER: Final = Move(SideState.DEBITED, posted=-1, incoming=+1, may_be_refused=True)

SIDES: Final[Sides] = {
    (SideState.DEBITED, Step.COMPLETE): Move(SideState.DONE, incoming=-1),
    (SideState.DEBITED, Step.REFUND): Move(SideState.UNDONE, posted=+1, incoming=-1),
    (SideState.ABSENT, Step.CREDIT): Move(
        SideState.DONE, posted=+1, may_be_refused=True, receives=True
    ),
}
