"""Queries to a reader and their answers. Every answer says at which sequence it is true."""

from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from contracts.changes import Change
from contracts.coordination import Coordination, Step
from contracts.limits import CHANGES_QUERY_ACCOUNTS_MAX
from contracts.rejections import Rejection


class AccountQuery(Struct, frozen=True, array_like=True, tag=1):
    """One account's balance, now or at a past moment (at most one of the two)."""

    account_id: str
    at_ms: int | None = None
    """The state after the last event at or before this Unix time in ms."""
    at_sequence: int | None = None
    """The state after this sequence; answered once the reader gets there."""
    min_sequence: int = 0
    """Answer no earlier than this sequence of the partition."""


class EntriesQuery(Struct, frozen=True, array_like=True, tag=2):
    """A page of an account's statement, newest first."""

    account_id: str
    limit: int
    before_sequence: int | None = None
    """Only entries with a smaller sequence; None starts at the newest."""
    min_sequence: int = 0


class TransferQuery(Struct, frozen=True, array_like=True, tag=3):
    """One transfer by its name."""

    from_account_id: str
    transaction_id: str
    min_sequence: int = 0
    wait_ms: int = 0
    """How long to wait for the transfer to appear before it counts as missing."""


class CreditStepsQuery(Struct, frozen=True, array_like=True, tag=4):
    """What the payee's partition knows of a transfer from another partition."""

    to_account_id: str
    from_account_id: str
    transaction_id: str


class UnfinishedQuery(Struct, frozen=True, array_like=True, tag=5):
    """The transfers that a partition has started and not finished, oldest first."""

    limit: int


class Mark(Struct, frozen=True, array_like=True):
    """An account, and the sequence up to which its changes are known; None: none is wanted."""

    account_id: str
    after_sequence: int | None


class ChangesQuery(Struct, frozen=True, array_like=True, tag=6):
    """What changed on some accounts of a partition since a sequence each, and how they stand."""

    marks: Annotated[list[Mark], Meta(max_length=CHANGES_QUERY_ACCOUNTS_MAX)]
    limit: int
    """Of the changes of one account."""
    min_sequence: int = 0


Query = (
    AccountQuery | EntriesQuery | TransferQuery | CreditStepsQuery | UnfinishedQuery | ChangesQuery
)


class Missing(IntEnum):
    """What a query did not find."""

    ACCOUNT = 1
    TRANSFER = 2
    MOMENT = 3
    """The account was not open yet at that moment."""
    SEQUENCE = 4
    """The reader did not get to the demanded sequence in time."""


class NotFound(Struct, frozen=True, array_like=True, tag=1):
    """There is no such thing at `sequence` of `partition`."""

    partition: int
    sequence: int
    missing: Missing


class AccountAnswer(Struct, frozen=True, array_like=True, tag=2):
    """One account at a sequence."""

    partition: int
    sequence: int
    at_ms: int
    """Time of that sequence's event, Unix ms."""
    currency: str
    overdraft_limit_minor: int
    posted_minor: int
    held_minor: int


class Entry(Struct, frozen=True, array_like=True):
    """One line of a statement: what one event did to the posted balance."""

    sequence: int
    at_ms: int
    transaction_id: str
    counterparty_id: str
    amount_minor: int
    """Signed: negative when the account paid."""
    balance_minor: int
    """Posted balance after the event."""


class EntriesAnswer(Struct, frozen=True, array_like=True, tag=3):
    """A page of entries, newest first."""

    partition: int
    sequence: int
    currency: str
    entries: list[Entry]
    next_before_sequence: int | None
    """Ask with this as before_sequence for the next page; None on the last page."""


class StepRecord(Struct, frozen=True, array_like=True):
    """A step that one side of a transfer took or refused."""

    step: Step | None
    """None: the transfer was started (by choreography, with its debit)."""
    partition: int
    sequence: int
    at_ms: int
    reason: Rejection | None


class TransferAnswer(Struct, frozen=True, array_like=True, tag=4):
    """One transfer's recorded outcome, or how far it is."""

    partition: int
    sequence: int
    """Of the deciding event; of the start while it is unfinished."""
    at_ms: int
    to_account_id: str
    amount_minor: int
    currency: str
    rejection: Rejection | None
    balance_minor: int
    """Posted balance of the payer just after the deciding event (0 for an unknown account)."""
    coordination: Coordination
    is_finished: bool
    steps: list[StepRecord]
    """The payer's side, oldest first; empty for a transfer within one partition."""


class CreditStepsAnswer(Struct, frozen=True, array_like=True, tag=5):
    """The payee's side of a transfer, oldest first; empty if it has not heard of it."""

    partition: int
    sequence: int
    """The projection's tip, at which this is true."""
    steps: list[StepRecord]


class UnfinishedTransfer(Struct, frozen=True, array_like=True):
    """A transfer that is started and not finished."""

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    coordination: Coordination
    started_sequence: int
    started_at_ms: int
    last_step: Step | None
    """Of the payer's side; None: only started."""


class UnfinishedAnswer(Struct, frozen=True, array_like=True, tag=6):
    """The oldest unfinished transfers of a partition."""

    partition: int
    sequence: int
    at_ms: int
    """The time of the tip."""
    count: int
    """Of all that are unfinished."""
    transfers: list[UnfinishedTransfer]


class AccountChanges(Struct, frozen=True, array_like=True):
    """How an account stands, and its newest changes."""

    currency: str
    overdraft_limit_minor: int
    posted_minor: int
    held_minor: int
    complete_after: int
    """Every change behind this sequence is here. More than the one that was asked for: there were
    more changes than the limit, and none is here."""
    changes: list[Change]
    """The oldest first."""


class ChangesAnswer(Struct, frozen=True, array_like=True, tag=7):
    """The accounts of a `ChangesQuery` at one sequence, in the order of its marks."""

    partition: int
    sequence: int
    at_ms: int
    """Time of that sequence's event."""
    accounts: list[AccountChanges | None]
    """None for one that is unknown. Shorter than the marks if the rest did not fit."""
    is_up_to_date: bool = True
    """Whether what is unknown was not open when this was asked. Else the journal held more than
    this reader had read, and another one may know it."""


Answer = (
    NotFound
    | AccountAnswer
    | EntriesAnswer
    | TransferAnswer
    | CreditStepsAnswer
    | UnfinishedAnswer
    | ChangesAnswer
)

NOT_NOW: Final = b""
"""Instead of an answer: this reader can't look into its store just now. It decodes to none, so the
question is asked again; another reader may answer it."""

_ENCODER: Final = msgspec.msgpack.Encoder()
_QUERIES: Final[msgspec.msgpack.Decoder[Query]] = msgspec.msgpack.Decoder(Query)
_ANSWERS: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)


def encode_query(query: Query) -> bytes:
    """Bytes of a NATS request to `subjects.query_subject`."""
    return _ENCODER.encode(query)


def decode_query(data: bytes) -> Query:
    """Raise msgspec.DecodeError for anything else."""
    return _QUERIES.decode(data)


def encode_answer(answer: Answer) -> bytes:
    """Bytes of a reader's reply."""
    return _ENCODER.encode(answer)


def decode_answer(data: bytes) -> Answer:
    """Raise msgspec.DecodeError for anything else."""
    return _ANSWERS.decode(data)
