"""Events: recorded facts, past tense. A journal is a sequence of these and nothing else.

Tags and field order stand in journals for ever: never reuse a tag, only append fields.
A command causes one event, accepted or not; or none if there is no room for it, and then it comes
again. Commands are decided in their order, but for those that wait until an account that they need
is unlocked: commands that don't need it pass them. A step causes one event the first time, and none
when it comes again.
"""

from msgspec import Struct

from contracts.coordination import Coordination, Step
from contracts.rejections import Rejection


class EpochOpened(Struct, frozen=True, array_like=True, tag=0):
    """A writer took over the partition; the frame around it carries the new epoch."""

    writer_id: str
    fingerprint_key: bytes
    """Key of the partition's fingerprints of transfers, chosen by chance for the first epoch and
    the same in every later one. Clients must not know it."""


class AccountOpened(Struct, frozen=True, array_like=True, tag=1):
    """An account exists from here on, with a posted balance of 0."""

    account_id: str
    currency: str
    overdraft_limit_minor: int


class AccountOpenRepeated(Struct, frozen=True, array_like=True, tag=2):
    """An opening came again with the same content: answered as the first time."""

    account_id: str
    first_sequence: int


class AccountOpenRejected(Struct, frozen=True, array_like=True, tag=3):
    """An opening was refused."""

    account_id: str
    reason: Rejection


class TransferCompleted(Struct, frozen=True, array_like=True, tag=4):
    """The amount left the payer and reached the payee, in one event."""

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str


class TransferRejected(Struct, frozen=True, array_like=True, tag=5):
    """A transfer was refused; nothing moved."""

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    reason: Rejection


class TransferRepeated(Struct, frozen=True, array_like=True, tag=6):
    """A transfer came again with the same content: answered as the first time."""

    from_account_id: str
    transaction_id: str
    first_sequence: int


# --- transfers between partitions: in the payer's journal ---


class TransferStarted(Struct, frozen=True, array_like=True, tag=7):
    """A transfer to another partition is under way and its name is taken.

    By choreography the amount has left the payer; otherwise nothing has moved yet.
    """

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    coordination: Coordination


class TransferAwaited(Struct, frozen=True, array_like=True, tag=8):
    """A transfer that is under way came again with the same content: its outcome answers both."""

    from_account_id: str
    transaction_id: str


class TransferFinished(Struct, frozen=True, array_like=True, tag=9):
    """The payer's side of a started transfer ended: this is the transfer's outcome.

    Its money moved if there is no reason, otherwise the payer has what it had.
    """

    from_account_id: str
    transaction_id: str
    step: Step
    """What ended it: a last step that was taken, or a first one that was refused."""
    reason: Rejection | None


# --- transfers between partitions: in either journal ---


class StepTaken(Struct, frozen=True, array_like=True, tag=10):
    """One side of a transfer took a step that does not end the payer's side."""

    step: Step
    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str


class StepRefused(Struct, frozen=True, array_like=True, tag=11):
    """The payee's side refused its first step, for ever; nothing moved there."""

    step: Step
    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    reason: Rejection


# --- in the coordinator's journal ---


class CoordinationBegun(Struct, frozen=True, array_like=True, tag=20):
    """The coordinator has taken a transfer in hand."""

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    coordination: Coordination


class StepAnswerRecorded(Struct, frozen=True, array_like=True, tag=21):
    """A step that the coordinator waited for was taken or refused."""

    from_account_id: str
    transaction_id: str
    step: Step
    reason: Rejection | None


class CoordinationTimedOut(Struct, frozen=True, array_like=True, tag=22):
    """Not every side answered in time: both are asked to give up."""

    from_account_id: str
    transaction_id: str


Event = (
    EpochOpened
    | AccountOpened
    | AccountOpenRepeated
    | AccountOpenRejected
    | TransferCompleted
    | TransferRejected
    | TransferRepeated
    | TransferStarted
    | TransferAwaited
    | TransferFinished
    | StepTaken
    | StepRefused
    | CoordinationBegun
    | StepAnswerRecorded
    | CoordinationTimedOut
)
