"""Two-phase commit: lock both accounts and vote, then commit both or abort both.

    PREPARING first ─ yes ─▶ PREPARING second ─ yes ─▶ COMMITTING credit ─▶ debit ─▶ FINISHED
        └ no, or out of time     └ no, or out of time
                 └────────────────────┴─▶ ABORTING (both) ─▶ FINISHED

The two accounts are locked in the order of their ids, never at the same time, so two transfers
can't wait for each other's lock. A side that voted yes keeps its lock until it is told. The payee's
side commits first: when the client is answered, the payee has the money.
"""

from enum import Enum
from typing import Final

from contracts.coordination import Step
from writer.core.coordination.lifecycle import Lifecycle, Move, SideState, Way


class Phase(Enum):
    """Of one transfer by 2PC. What a longer name ends with is what is still awaited."""

    PREPARING_DEBIT_FIRST = "preparing_debit_first"
    PREPARING_CREDIT_SECOND = "preparing_credit_second"
    PREPARING_CREDIT_FIRST = "preparing_credit_first"
    PREPARING_DEBIT_SECOND = "preparing_debit_second"
    COMMITTING_CREDIT = "committing_credit"
    COMMITTING_DEBIT = "committing_debit"
    ABORTING = "aborting"
    ABORTING_DEBIT = "aborting_debit"
    ABORTING_CREDIT = "aborting_credit"
    FINISHED = "finished"


def _first(payer_id: str, payee_id: str) -> Phase:
    if payer_id < payee_id:
        return Phase.PREPARING_DEBIT_FIRST
    return Phase.PREPARING_CREDIT_FIRST


TWO_PHASE_COMMIT: Final = Way(
    start=Move(SideState.STARTED),
    sides={
        (SideState.STARTED, Step.PREPARE_DEBIT): Move(SideState.LOCKED, may_be_refused=True),
        (SideState.STARTED, Step.ABORT_DEBIT): Move(SideState.UNDONE),
        (SideState.LOCKED, Step.COMMIT_DEBIT): Move(SideState.DONE, posted=-1),
        (SideState.LOCKED, Step.ABORT_DEBIT): Move(SideState.UNDONE),
        (SideState.ABSENT, Step.PREPARE_CREDIT): Move(
            SideState.LOCKED, may_be_refused=True, receives=True
        ),
        (SideState.ABSENT, Step.ABORT_CREDIT): Move(SideState.UNDONE),
        (SideState.LOCKED, Step.COMMIT_CREDIT): Move(SideState.DONE, posted=+1),
        (SideState.LOCKED, Step.ABORT_CREDIT): Move(SideState.UNDONE),
    },
    lifecycle=Lifecycle(
        first=_first,
        awaits={
            Phase.PREPARING_DEBIT_FIRST: (Step.PREPARE_DEBIT,),
            Phase.PREPARING_CREDIT_SECOND: (Step.PREPARE_CREDIT,),
            Phase.PREPARING_CREDIT_FIRST: (Step.PREPARE_CREDIT,),
            Phase.PREPARING_DEBIT_SECOND: (Step.PREPARE_DEBIT,),
            Phase.COMMITTING_CREDIT: (Step.COMMIT_CREDIT,),
            Phase.COMMITTING_DEBIT: (Step.COMMIT_DEBIT,),
            Phase.ABORTING: (Step.ABORT_DEBIT, Step.ABORT_CREDIT),
            Phase.ABORTING_DEBIT: (Step.ABORT_DEBIT,),
            Phase.ABORTING_CREDIT: (Step.ABORT_CREDIT,),
        },
        transitions={
            (Phase.PREPARING_DEBIT_FIRST, Step.PREPARE_DEBIT, True): Phase.PREPARING_CREDIT_SECOND,
            (Phase.PREPARING_DEBIT_FIRST, Step.PREPARE_DEBIT, False): Phase.ABORTING,
            (Phase.PREPARING_CREDIT_SECOND, Step.PREPARE_CREDIT, True): Phase.COMMITTING_CREDIT,
            (Phase.PREPARING_CREDIT_SECOND, Step.PREPARE_CREDIT, False): Phase.ABORTING,
            (Phase.PREPARING_CREDIT_FIRST, Step.PREPARE_CREDIT, True): Phase.PREPARING_DEBIT_SECOND,
            (Phase.PREPARING_CREDIT_FIRST, Step.PREPARE_CREDIT, False): Phase.ABORTING,
            (Phase.PREPARING_DEBIT_SECOND, Step.PREPARE_DEBIT, True): Phase.COMMITTING_CREDIT,
            (Phase.PREPARING_DEBIT_SECOND, Step.PREPARE_DEBIT, False): Phase.ABORTING,
            (Phase.COMMITTING_CREDIT, Step.COMMIT_CREDIT, True): Phase.COMMITTING_DEBIT,
            (Phase.COMMITTING_DEBIT, Step.COMMIT_DEBIT, True): Phase.FINISHED,
            (Phase.ABORTING, Step.ABORT_DEBIT, True): Phase.ABORTING_CREDIT,
            (Phase.ABORTING, Step.ABORT_CREDIT, True): Phase.ABORTING_DEBIT,
            (Phase.ABORTING_DEBIT, Step.ABORT_DEBIT, True): Phase.FINISHED,
            (Phase.ABORTING_CREDIT, Step.ABORT_CREDIT, True): Phase.FINISHED,
        },
        timeouts={
            Phase.PREPARING_DEBIT_FIRST: Phase.ABORTING,
            Phase.PREPARING_CREDIT_SECOND: Phase.ABORTING,
            Phase.PREPARING_CREDIT_FIRST: Phase.ABORTING,
            Phase.PREPARING_DEBIT_SECOND: Phase.ABORTING,
        },
        finished=Phase.FINISHED,
    ),
)
