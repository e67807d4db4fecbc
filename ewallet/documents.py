"""The JSON documents of the HTTP API, as far as the command line reads them.

Fields that it does not show are ignored, so an older command line reads a newer wallet.
"""

from typing import Literal

from msgspec import Struct, field


class AccountOpened(Struct, frozen=True):
    """An account exists. Amounts are decimal strings, here and below."""

    account_id: str
    currency: str
    overdraft_limit: str
    partition: int
    sequence: int


class Account(Struct, frozen=True):
    """One account at a sequence of its partition."""

    account_id: str
    currency: str
    balance: str
    held: str
    available: str
    partition: int
    sequence: int
    as_of: str


class Transfer(Struct, frozen=True):
    """One transfer that was done."""

    transaction_id: str
    from_account_id: str
    to_account_id: str
    amount: str
    currency: str
    balance: str
    coordination: str
    """How it was made all-or-nothing; "none" within one partition."""
    partition: int
    sequence: int
    completed_at: str


class TransferStep(Struct, frozen=True):
    """What one side of a transfer between partitions recorded."""

    name: str
    partition: int
    sequence: int
    at: str
    code: str | None = None
    """Why it was refused, or why it undid the transfer."""


class RecordedTransfer(Struct, frozen=True):
    """What became of a transfer; some fields come with some outcomes only."""

    status: Literal["completed", "rejected", "pending"]
    transaction_id: str
    from_account_id: str
    to_account_id: str
    amount: str
    currency: str
    coordination: str
    partition: int
    sequence: int
    steps: list[TransferStep]
    balance: str | None = None
    code: str | None = None
    completed_at: str | None = None
    rejected_at: str | None = None
    started_at: str | None = None

    @property
    def at(self) -> str | None:
        """When it was decided; while it is under way, when it was started."""
        return self.completed_at or self.rejected_at or self.started_at


class UnfinishedTransfer(Struct, frozen=True):
    """A transfer that was started and has no outcome yet."""

    transaction_id: str
    from_account_id: str
    to_account_id: str
    amount: str
    currency: str
    coordination: str
    partition: int
    started_at: str
    age_ms: int
    last_step: str


class UnfinishedTransfers(Struct, frozen=True):
    """The oldest unfinished transfers, and how many there are in all."""

    count: int
    transfers: list[UnfinishedTransfer]


class Entry(Struct, frozen=True):
    """One line of a statement."""

    sequence: int
    at: str
    transaction_id: str
    counterparty_id: str
    direction: Literal["debit", "credit"]
    amount: str
    balance: str

    @property
    def signed_amount(self) -> str:
        """The amount as it changed the balance: negative when the account paid."""
        return f"-{self.amount}" if self.direction == "debit" else self.amount


class Entries(Struct, frozen=True):
    """A page of a statement, newest first; the token asks for the next page."""

    account_id: str
    currency: str
    entries: list[Entry]
    next_page_token: str | None


class LeadingWriter(Struct, frozen=True):
    """The writer that leads a partition."""

    id: str
    epoch: int
    sequence: int
    in_flight: int
    accounts: int


class FollowingReader(Struct, frozen=True):
    """One reader that follows a partition."""

    id: str
    sequence: int
    stored_sequence: int
    lag_frames: int


class PartitionStatus(Struct, frozen=True):
    """Who leads and who follows one partition."""

    partition: int
    slots: int
    writer: LeadingWriter | None
    standbys: list[str]
    unfinished: int | None
    """Transfers started there that have no outcome; None without a writer."""
    oldest_unfinished_at: str | None
    readers: list[FollowingReader]


class CoordinatorStatus(Struct, frozen=True):
    """A coordinator of transfers between partitions, and the writer that runs it."""

    name: str
    writer: str
    standbys: list[str]
    epoch: int
    sequence: int
    in_flight: int
    unfinished: int
    oldest_unfinished_at: str | None


class Status(Struct, frozen=True):
    """The wallet as the answering proxy sees it."""

    is_connected: bool
    held_requests: int
    partitions: list[PartitionStatus]
    coordinators: list[CoordinatorStatus]


class FieldProblem(Struct, frozen=True):
    """What is wrong with one field of a request."""

    field: str = ""
    detail: str = ""


class Problem(Struct, frozen=True):
    """RFC 9457: why a request was refused. `code` is stable, the texts are for people."""

    title: str = ""
    detail: str = ""
    code: str = ""
    errors: list[FieldProblem] = field(default_factory=list)

    def sentence(self) -> str:
        """Return one line for a terminal."""
        text = self.detail or self.title or "The wallet refused the request"
        for error in self.errors:
            text += f"; {error.field} {error.detail}"
        return f"{text} ({self.code})" if self.code else text
