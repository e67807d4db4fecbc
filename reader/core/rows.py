"""What the projection hands to the read store and finds there again: plain rows.

The rows that are made for every event are plain tuples; the NamedTuples beside them give their
fields in order, for those who read them one at a time.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from contracts.chain import Tip

BEFORE_ANY_TIME: Final = -1
"""Unix ms of the newest event where there is none yet."""


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


class StepKind(IntEnum):
    """What a step is on its side of a transfer between partitions. Stored: never renumber."""

    START = 0
    """The payer's side began."""
    DEBIT = 1
    """The payer's side went on."""
    OUTCOME = 2
    """The payer's side ended: this is the transfer's outcome."""
    CREDIT = 3
    """The payee's side took or refused a step."""


NO_ACCOUNT: Final = -1
"""Instead of the number of a payee who was never opened."""


class StepRow(NamedTuple):
    """What one event did on one side of a transfer between partitions.

    It is an entry of the side's account if moved_minor is not 0.
    """

    sequence: int
    at_ms: int
    kind: int
    step: int
    """contracts.coordination.Step; 0 for a start."""
    reason: int
    """contracts.rejections.Rejection; 0 if there is none."""
    coordination: int
    """0 on the payee's side, which is not told."""
    account: int
    """The number of the side's own account, or NO_ACCOUNT."""
    unopened_id: str
    """The id of the side's own account if it was not open then, otherwise empty."""
    counterparty_id: str
    """The account of the other side; it lives in another partition, so it has no number here."""
    transaction_id: str
    amount_minor: int
    moved_minor: int
    """Signed change of the account's posted balance: the amount, its negative, or 0."""
    balance_minor: int
    """Posted balance of the account after the event."""
    previous_entry: int
    """Sequence of the account's entry before this one; 0 if there is none or this is none."""
    previous_step: int
    """Sequence of the payer's side's row before this one; 0 at its start and for the payee's."""

    @property
    def is_outcome(self) -> bool:
        """Whether it ended the payer's side."""
        return self.kind == StepKind.OUTCOME

    def previous(self, _account: int) -> int:
        """The account's entry before this one, 0 if this is its first."""
        return self.previous_entry

    def balance_of(self, _account: int) -> int:
        """The account's posted balance in minor units after this step."""
        return self.balance_minor


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

EntryRow = TransferRow | StepRow
"""What an account's statement consists of."""

OutcomeRow = TransferRow | RejectionRow | StepRow
"""What answers a transfer; of the steps those of kind OUTCOME."""

RecordedRow = TransferRow | RejectionRow | StepRow


class NotAtHand(Exception):
    """A stored row can't be looked up just now; nothing is known of it."""


Name = tuple[str, str]
"""(payer's account id, transaction id)"""


class UnfinishedRow(NamedTuple):
    """A transfer to another partition that is started and has no outcome as of the cursor."""

    start: StepRow
    newest: StepRow
    """The newest step of the payer's side; the start itself if there is none."""


@dataclass(slots=True)
class Group:
    """What some frames in a row add to the read store; written whole or not at all."""

    cursor: Cursor | None = None
    """After the last of the frames; None while the group is empty."""
    tips: list[Tip] = field(default_factory=list)
    """After each of the frames: the places where another group may begin or end."""
    transfers: list[TransferFields] = field(default_factory=list)
    steps: list[StepRow] = field(default_factory=list)
    rejections: list[RejectionRow] = field(default_factory=list)
    accounts: list[AccountRow] = field(default_factory=list)
    moments: list[tuple[int, int]] = field(default_factory=list)
    """(first_sequence, at_ms): from that sequence on, events have that time."""
    marks: list[tuple[int, int]] = field(default_factory=list)
    """(account, sequence) of every MARK_DISTANCE-th entry of an account."""
    names: dict[Name, int] = field(default_factory=dict)
    """Sequence of the row that a name got as its outcome."""
    credits: dict[Name, list[int]] = field(default_factory=dict)
    """Sequences of the payee's side of a name, rising."""
    held: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Per account (sequence, held_minor), rising: what it holds from that sequence on."""
    unfinished: dict[int, int] = field(default_factory=dict)
    """By the sequence of a transfer's start that of its newest step; 0 once it has its outcome."""

    @property
    def row_count(self) -> int:
        """Rows by which the backlog is bounded."""
        steps, rejections = len(self.steps), len(self.rejections)
        return len(self.transfers) + steps + rejections + len(self.accounts)
