"""Why a command was refused: expected outcomes, recorded in the journal as values.

The numbers stand in journals for ever: never renumber, only add. Their order is the precedence
of one partition's checks: of several reasons that it knows, the smallest number is given. Between
partitions the first that refuses says why.
"""

from enum import IntEnum
from typing import Final


class Rejection(IntEnum):
    """A refusal of an account opening or a transfer."""

    WRONG_PARTITION = 10
    """The command reached a writer that does not own the account: a routing mistake."""
    IDEMPOTENCY_CONFLICT = 20
    """The transaction id was used by this payer for a transfer with other content."""
    ACCOUNT_EXISTS = 30
    """The account was opened with another currency or overdraft limit."""
    SAME_ACCOUNT = 40
    """Payer and payee are one account."""
    CROSS_PARTITION_NOT_SUPPORTED = 50
    """Payer and payee live in different partitions. No longer given; old journals hold it."""
    FROM_ACCOUNT_NOT_FOUND = 60
    TO_ACCOUNT_NOT_FOUND = 70
    CURRENCY_MISMATCH = 80
    """The transfer's currency is not that of both accounts."""
    INSUFFICIENT_FUNDS = 90
    """The amount is more than posted - held + overdraft limit of the payer."""
    BALANCE_LIMIT_EXCEEDED = 100
    """The payee's posted balance, or what is set aside on either account, would exceed 2^63 - 1
    minor units."""
    HOLD_EXPIRED = 110
    """The payer's hold was not captured in time and is released."""
    COORDINATION_TIMED_OUT = 120
    """A side did not answer in time, so both gave up."""
    CANCELLED = 130
    """The side was told to give up before it was asked. Only the coordinator hears this."""


NOT_REMEMBERED: Final = frozenset(
    {
        Rejection.WRONG_PARTITION,
        Rejection.IDEMPOTENCY_CONFLICT,
        Rejection.CROSS_PARTITION_NOT_SUPPORTED,
    }
)
"""Refusals that do not use up the transaction id: the id keeps its first answer or stays free."""
