"""Saga by choreography: each partition reacts to what the other did.

payer   start: debit ──▶ DEBITED ──┬─ credit taken ───▶ complete
                                   └─ credit refused ─▶ refund
payee   credit ─▶ DONE, or refused
"""

from typing import Final

from contracts.coordination import Step
from writer.core.coordination import saga
from writer.core.coordination.lifecycle import SideState, Way

CHOREOGRAPHY: Final = Way(
    start=saga.TAKE_FROM_PAYER,
    sides=saga.SIDES,
    asks={SideState.DEBITED: Step.CREDIT},
    reactions={(Step.CREDIT, True): Step.COMPLETE, (Step.CREDIT, False): Step.REFUND},
)
