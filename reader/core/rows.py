"""What the projection hands to the read store and finds there again: plain rows.

The rows that are made for every event are plain tuples; the NamedTuples beside them give their
fields in order, for those who read them one at a time.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from contracts.chain import Tip


class Cursor(NamedTuple):
    """How far a journal is projected: its tip, and where that frame stands in the stream."""

    tip: Tip
    stream_sequence: int
    """0 before the first frame."""


class TransferRow(NamedTuple):
    """A completed transfer. Accounts are numbered; 0 as a previous sequence means none."""

    sequence: int
    at_ms: int
    payer: int
    payee: int
    transaction_id: str
    amount_minor: int
    payer_balance_minor: int
    payee_balance_minor: int
    payer_previous: int
    """Sequence of the payer's entry before this one: a statement is read by following these."""
    payee_previous: int

    def previous(self, account: int) -> int:
        """The account's entry before this one, 0 if this is its first."""
        return self.payer_previous if account == self.payer else self.payee_previous

    def balance_of(self, account: int) -> int:
        """The account's posted balance in minor units after this transfer."""
        return self.payer_balance_minor if account == self.payer else self.payee_balance_minor


class RejectionRow(NamedTuple):
    """A refused transfer that uses up its transaction id. Its accounts need not exist."""

    sequence: int
    at_ms: int
    payer_id: str
    payee_id: str
    transaction_id: str
    amount_minor: int
    currency: str
    reason: int
    balance_minor: int
    """Posted balance of the payer, 0 for an unknown account."""


class AccountRow(NamedTuple):
    """An account as of a sequence."""

    number: int
    """Accounts of a partition are numbered from 0 in the order of their opening."""
    account_id: str
    currency: str
    overdraft_limit_minor: int
    opened_sequence: int
    opened_at_ms: int
    posted_minor: int = 0
    newest_sequence: int = 0
    """Of the account's newest entry, 0 if it has none."""
    entry_count: int = 0


TransferFields = tuple[int, int, int, int, str, int, int, int, int, int]
"""A TransferRow as it is made: plain, because one is made for every transfer."""

RecordedRow = TransferRow | RejectionRow

Name = tuple[str, str]
"""(payer's account id, transaction id)"""


@dataclass(slots=True)
class Group:
    """What some frames in a row add to the read store; written whole or not at all."""

    cursor: Cursor | None = None
    """After the last of the frames; None while the group is empty."""
    transfers: list[TransferFields] = field(default_factory=list)
    rejections: list[RejectionRow] = field(default_factory=list)
    accounts: list[AccountRow] = field(default_factory=list)
    moments: list[tuple[int, int]] = field(default_factory=list)
    """(first_sequence, at_ms): from that sequence on, events have that time."""
    marks: list[tuple[int, int]] = field(default_factory=list)
    """(account, sequence) of every MARK_DISTANCE-th entry of an account."""
    names: dict[Name, int] = field(default_factory=dict)
    """Sequence of the transfer or rejection that a name got as its outcome."""

    @property
    def row_count(self) -> int:
        """Rows by which the backlog is bounded."""
        return len(self.transfers) + len(self.rejections) + len(self.accounts)
