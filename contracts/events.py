"""Events: recorded facts, past tense. A journal is a sequence of these and nothing else.

Tags and field order stand in journals for ever: never reuse a tag, only append fields.
Every command causes exactly one event, accepted or not, in the order of the commands.
"""

from msgspec import Struct

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


Event = (
    EpochOpened
    | AccountOpened
    | AccountOpenRepeated
    | AccountOpenRejected
    | TransferCompleted
    | TransferRejected
    | TransferRepeated
)
