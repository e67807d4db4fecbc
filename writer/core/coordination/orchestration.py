"""Saga by orchestration: the coordinator asks for one step after the other.

DEBITING ─ taken ─▶ CREDITING ─┬─ taken ───▶ COMPLETING ─▶ FINISHED
    └ refused ─▶ FINISHED      └─ refused ─▶ REFUNDING ──▶ FINISHED
"""

from enum import Enum
from typing import Final

from contracts.coordination import Step
from writer.core.coordination import saga
from writer.core.coordination.lifecycle import Lifecycle, Move, SideState, Way


class Phase(Enum):
    """Of one orchestrated transfer."""

    DEBITING = "debiting"
    CREDITING = "crediting"
    COMPLETING = "completing"
    REFUNDING = "refunding"
    FINISHED = "finished"


ORCHESTRATION: Final = Way(
    start=Move(SideState.STARTED),
    sides={(SideState.STARTED, Step.DEBIT): saga.TAKE_FROM_PAYER, **saga.SIDES},
    lifecycle=Lifecycle(
        first=lambda _payer, _payee: Phase.DEBITING,
        awaits={
            Phase.DEBITING: (Step.DEBIT,),
            Phase.CREDITING: (Step.CREDIT,),
            Phase.COMPLETING: (Step.COMPLETE,),
            Phase.REFUNDING: (Step.REFUND,),
        },
        transitions={
            (Phase.DEBITING, Step.DEBIT, True): Phase.CREDITING,
            (Phase.DEBITING, Step.DEBIT, False): Phase.FINISHED,
            (Phase.CREDITING, Step.CREDIT, True): Phase.COMPLETING,
            (Phase.CREDITING, Step.CREDIT, False): Phase.REFUNDING,
            (Phase.COMPLETING, Step.COMPLETE, True): Phase.FINISHED,
            (Phase.REFUNDING, Step.REFUND, True): Phase.FINISHED,
        },
        timeouts={},  # a saga does not give up: once debited, only an answer tells what to do
        finished=Phase.FINISHED,
    ),
)
