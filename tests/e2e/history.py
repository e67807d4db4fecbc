"""What clients of one wallet asked for and were told, on one clock. Pure: instants go in.

A client knows when it asked and when it was told, so the moment at which the wallet did it lies
between the two. What was never told may have been done at any moment after it was asked for.
"""

from dataclasses import dataclass, field
from typing import Final

NEVER: Final = float("inf")


@dataclass(frozen=True)
class Interval:
    """From asking to the last repeat's answer; seconds of one monotonic clock."""

    asked_s: float
    told_s: float = NEVER

    @property
    def length_s(self) -> float:
        """How long whoever asked waited."""
        return self.told_s - self.asked_s


@dataclass(frozen=True)
class Told:
    """A transfer's outcome as its client was told it."""

    is_accepted: bool
    partition: int = -1
    """Of the payer; with the sequence unknown (-1) until a refusal's record was read."""
    sequence: int = -1
    balance_minor: int = 0
    """Of the payer just after it; of accepted ones only."""
    reason: str = ""


@dataclass
class Transfer:
    """One transfer, however often it was sent."""

    payer: str
    payee: str
    transaction_id: str
    amount_minor: int
    at: Interval
    told: Told | None = None
    """None: the client gave up, or still waits."""

    @property
    def name(self) -> tuple[str, str]:
        """Payer and transaction id."""
        return self.payer, self.transaction_id


@dataclass(frozen=True)
class Read:
    """An account as it was shown."""

    account: str
    at: Interval
    partition: int
    sequence: int
    balance_minor: int
    demanded: int | None = None
    """The `min_sequence` that was asked for. None: the read may be as old as its reader."""


@dataclass(frozen=True)
class Line:
    """An entry of a statement; the amount is negative when the account paid."""

    sequence: int
    transaction_id: str
    amount_minor: int
    balance_minor: int


@dataclass(frozen=True)
class Statement:
    """All entries of an account, oldest first."""

    partition: int
    overdraft_minor: int
    lines: list[Line]


@dataclass
class History:
    """Of all clients. The statements were read when everything had come to rest."""

    transfers: dict[tuple[str, str], Transfer] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    statements: dict[str, Statement] = field(default_factory=dict)
    """Of every account that a transfer names."""
