"""Try, confirm, cancel: both sides set the amount aside, then both take it or neither.

    TRYING (both) ─ both taken ─▶ CONFIRMING_DEBIT ─▶ CONFIRMING_CREDIT ─▶ COMPLETING ─▶ FINISHED
        └ refused, or out of time ─▶ CANCELLING (both) ─▶ FINISHED
                                         ▲
                 CONFIRMING_DEBIT refused: the hold had expired

The payer's hold expires on its own. So the capture of the hold is the point of no return and comes
first: room set aside at the payee costs nobody anything and never expires, so its confirmation
can't fail. The transfer is complete, and its client answered, when the payee has the money.
"""

from enum import Enum
from typing import Final

from contracts.coordination import Step
from writer.core.coordination.lifecycle import Lifecycle, Move, SideState, Way


class Phase(Enum):
    """Of one transfer by TCC. What a longer name ends with is what is still awaited."""

    TRYING = "trying"
    TRYING_DEBIT = "trying_debit"
    TRYING_CREDIT = "trying_credit"
    CONFIRMING_DEBIT = "confirming_debit"
    CONFIRMING_CREDIT = "confirming_credit"
    COMPLETING = "completing"
    CANCELLING = "cancelling"
    CANCELLING_DEBIT = "cancelling_debit"
    CANCELLING_CREDIT = "cancelling_credit"
    FINISHED = "finished"


TCC: Final = Way(
    start=Move(SideState.STARTED),
    sides={
        (SideState.STARTED, Step.TRY_DEBIT): Move(SideState.HELD, held=+1, may_be_refused=True),
        (SideState.STARTED, Step.CANCEL_DEBIT): Move(SideState.UNDONE),
        (SideState.HELD, Step.CONFIRM_DEBIT): Move(SideState.CAPTURED, posted=-1, held=-1),
        (SideState.CAPTURED, Step.COMPLETE): Move(SideState.DONE),
        (SideState.HELD, Step.CANCEL_DEBIT): Move(SideState.UNDONE, held=-1),
        (SideState.HELD, Step.EXPIRE_DEBIT): Move(SideState.UNDONE, held=-1),
        (SideState.ABSENT, Step.TRY_CREDIT): Move(
            SideState.RESERVED, incoming=+1, may_be_refused=True, receives=True
        ),
        (SideState.ABSENT, Step.CANCEL_CREDIT): Move(SideState.UNDONE),
        (SideState.RESERVED, Step.CONFIRM_CREDIT): Move(SideState.DONE, posted=+1, incoming=-1),
        (SideState.RESERVED, Step.CANCEL_CREDIT): Move(SideState.UNDONE, incoming=-1),
    },
    lifecycle=Lifecycle(
        first=lambda _payer, _payee: Phase.TRYING,
        awaits={
            Phase.TRYING: (Step.TRY_DEBIT, Step.TRY_CREDIT),
            Phase.TRYING_DEBIT: (Step.TRY_DEBIT,),
            Phase.TRYING_CREDIT: (Step.TRY_CREDIT,),
            Phase.CONFIRMING_DEBIT: (Step.CONFIRM_DEBIT,),
            Phase.CONFIRMING_CREDIT: (Step.CONFIRM_CREDIT,),
            Phase.COMPLETING: (Step.COMPLETE,),
            Phase.CANCELLING: (Step.CANCEL_DEBIT, Step.CANCEL_CREDIT),
            Phase.CANCELLING_DEBIT: (Step.CANCEL_DEBIT,),
            Phase.CANCELLING_CREDIT: (Step.CANCEL_CREDIT,),
        },
        transitions={
            (Phase.TRYING, Step.TRY_DEBIT, True): Phase.TRYING_CREDIT,
            (Phase.TRYING, Step.TRY_CREDIT, True): Phase.TRYING_DEBIT,
            (Phase.TRYING, Step.TRY_DEBIT, False): Phase.CANCELLING,
            (Phase.TRYING, Step.TRY_CREDIT, False): Phase.CANCELLING,
            (Phase.TRYING_DEBIT, Step.TRY_DEBIT, True): Phase.CONFIRMING_DEBIT,
            (Phase.TRYING_DEBIT, Step.TRY_DEBIT, False): Phase.CANCELLING,
            (Phase.TRYING_CREDIT, Step.TRY_CREDIT, True): Phase.CONFIRMING_DEBIT,
            (Phase.TRYING_CREDIT, Step.TRY_CREDIT, False): Phase.CANCELLING,
            (Phase.CONFIRMING_DEBIT, Step.CONFIRM_DEBIT, True): Phase.CONFIRMING_CREDIT,
            (Phase.CONFIRMING_DEBIT, Step.CONFIRM_DEBIT, False): Phase.CANCELLING,
            (Phase.CONFIRMING_CREDIT, Step.CONFIRM_CREDIT, True): Phase.COMPLETING,
            (Phase.COMPLETING, Step.COMPLETE, True): Phase.FINISHED,
            (Phase.CANCELLING, Step.CANCEL_DEBIT, True): Phase.CANCELLING_CREDIT,
            (Phase.CANCELLING, Step.CANCEL_CREDIT, True): Phase.CANCELLING_DEBIT,
            (Phase.CANCELLING_DEBIT, Step.CANCEL_DEBIT, True): Phase.FINISHED,
            (Phase.CANCELLING_CREDIT, Step.CANCEL_CREDIT, True): Phase.FINISHED,
        },
        timeouts={
            Phase.TRYING: Phase.CANCELLING,
            Phase.TRYING_DEBIT: Phase.CANCELLING,
            Phase.TRYING_CREDIT: Phase.CANCELLING,
        },
        finished=Phase.FINISHED,
    ),
)
