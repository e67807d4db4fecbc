"""What parties say to each other about transfers between partitions. Amounts are minor units.

They travel on subjects of their own, which only writers may publish to: a forged credit would
make money.
"""

from msgspec import Struct

from contracts.commands import Amount, Currency, Id
from contracts.coordination import Coordination, Step
from contracts.rejections import Rejection


class Coordinate(Struct, frozen=True, array_like=True, tag=1):
    """The payer's partition asks the coordinator to bring a transfer about."""

    from_account_id: Id
    to_account_id: Id
    amount_minor: Amount
    currency: Currency
    transaction_id: Id
    coordination: Coordination


class TakeStep(Struct, frozen=True, array_like=True, tag=2):
    """Take a step of a transfer, and answer whether it is taken. Any number of times."""

    step: Step
    from_account_id: Id
    to_account_id: Id
    amount_minor: Amount
    currency: Currency
    transaction_id: Id
    reply_to: int
    """The party that wants the answer."""
    reason: Rejection | None = None
    """Why the transfer is given up, in a step that undoes something."""


class StepAnswered(Struct, frozen=True, array_like=True, tag=3):
    """A step is taken, now or before, or refused for a reason."""

    step: Step
    from_account_id: Id
    transaction_id: Id
    reason: Rejection | None


class Tick(Struct, frozen=True, array_like=True, tag=4):
    """Time passes: what is due is done, what was not answered is sent again."""

    epoch: int
    """Of the reign in which it was sent; in a later one it says nothing."""


StepMessage = Coordinate | TakeStep | StepAnswered | Tick
