"""What may happen to a transfer between partitions, told again for the auditor.

Written from the description of the four ways and not from the writer's tables, so that a mistake
there is not repeated here. A side's state is a word; an event that has no entry must not happen.
"""

from typing import Final

from msgspec import Struct

from contracts.coordination import Coordination, Step

_C = Coordination


class Effect(Struct, frozen=True):
    """What a step does: the state after it, and the columns in units of the amount."""

    to: str
    posted: int = 0
    held: int = 0
    incoming: int = 0


FIRST_STATES: Final = {
    _C.CHOREOGRAPHY: Effect("debited", posted=-1, incoming=1),
    _C.ORCHESTRATION: Effect("started"),
    _C.TCC: Effect("started"),
    _C.TWO_PHASE_COMMIT: Effect("started"),
}
"""The payer's side when the transfer starts."""

FIRST_STEPS: Final = {
    Step.DEBIT: _C.ORCHESTRATION,
    Step.TRY_DEBIT: _C.TCC,
    Step.TRY_CREDIT: _C.TCC,
    Step.PREPARE_DEBIT: _C.TWO_PHASE_COMMIT,
    Step.PREPARE_CREDIT: _C.TWO_PHASE_COMMIT,
}
"""Steps that look at an account, and their way; a credit does too, in both sagas."""

PAYER: Final[dict[tuple[str, Step], Effect]] = {
    ("started", Step.DEBIT): Effect("debited", posted=-1, incoming=1),
    ("debited", Step.COMPLETE): Effect("paid", incoming=-1),
    ("debited", Step.REFUND): Effect("kept", posted=1, incoming=-1),
    ("started", Step.TRY_DEBIT): Effect("held", held=1),
    ("held", Step.CONFIRM_DEBIT): Effect("captured", posted=-1, held=-1),
    ("captured", Step.COMPLETE): Effect("paid"),
    ("held", Step.CANCEL_DEBIT): Effect("kept", held=-1),
    ("held", Step.EXPIRE_DEBIT): Effect("kept", held=-1),
    ("started", Step.CANCEL_DEBIT): Effect("kept"),
    ("started", Step.PREPARE_DEBIT): Effect("locked"),
    ("locked", Step.COMMIT_DEBIT): Effect("paid", posted=-1),
    ("locked", Step.ABORT_DEBIT): Effect("kept"),
    ("started", Step.ABORT_DEBIT): Effect("kept"),
}

PAYEE: Final[dict[tuple[str, Step], Effect]] = {
    ("absent", Step.CREDIT): Effect("credited", posted=1),
    ("absent", Step.TRY_CREDIT): Effect("reserved", incoming=1),
    ("reserved", Step.CONFIRM_CREDIT): Effect("credited", posted=1, incoming=-1),
    ("reserved", Step.CANCEL_CREDIT): Effect("refused", incoming=-1),
    ("absent", Step.CANCEL_CREDIT): Effect("refused"),
    ("absent", Step.PREPARE_CREDIT): Effect("locked"),
    ("locked", Step.COMMIT_CREDIT): Effect("credited", posted=1),
    ("locked", Step.ABORT_CREDIT): Effect("refused"),
    ("absent", Step.ABORT_CREDIT): Effect("refused"),
}

CANCELS: Final = frozenset(
    {Step.CANCEL_DEBIT, Step.CANCEL_CREDIT, Step.ABORT_DEBIT, Step.ABORT_CREDIT}
)
CONFIRMS: Final = frozenset(
    {Step.CONFIRM_DEBIT, Step.CONFIRM_CREDIT, Step.COMMIT_DEBIT, Step.COMMIT_CREDIT}
)

MONEY_HAS_LEFT: Final = frozenset({"debited", "captured", "paid"})
"""States of the payer's side in which the amount is not on its account."""

ENDED: Final = frozenset({"paid", "kept", "credited", "refused"})
"""States that a side never leaves."""

_SAGAS: Final = frozenset({_C.CHOREOGRAPHY, _C.ORCHESTRATION})
_STEPS_OF_ONE_WAY: Final = {
    _C.ORCHESTRATION: (Step.DEBIT,),
    _C.TCC: (
        Step.TRY_DEBIT,
        Step.TRY_CREDIT,
        Step.CONFIRM_DEBIT,
        Step.CONFIRM_CREDIT,
        Step.CANCEL_DEBIT,
        Step.CANCEL_CREDIT,
        Step.EXPIRE_DEBIT,
    ),
    _C.TWO_PHASE_COMMIT: (
        Step.PREPARE_DEBIT,
        Step.PREPARE_CREDIT,
        Step.COMMIT_DEBIT,
        Step.COMMIT_CREDIT,
        Step.ABORT_DEBIT,
        Step.ABORT_CREDIT,
    ),
}

WAYS_OF_STEP: Final[dict[Step, frozenset[Coordination]]] = {
    Step.CREDIT: _SAGAS,
    Step.COMPLETE: _SAGAS | {_C.TCC},
    Step.REFUND: _SAGAS,
    **{step: frozenset({way}) for way, steps in _STEPS_OF_ONE_WAY.items() for step in steps},
}
