"""What clients read: the bodies of successful answers, as types and as functions that fill them.

The types give the OpenAPI document its schemas and mypy checks the functions against them, so
answers and their description cannot drift apart. Amounts are decimal strings, moments RFC 3339.
"""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from contracts.commands import OpenAccount, Transfer
from contracts.coordination import COORDINATION_NAMES
from contracts.money import format_amount
from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    EntriesAnswer,
    EntriesQuery,
)
from contracts.results import Result
from proxy.core.instants import format_instant
from proxy.core.page_tokens import encode_page_token

Text = Annotated[str, Meta(description="Decimal string with exactly the currency's decimals.")]
Moment = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC, milliseconds.",
        examples=["2031-02-03T04:05:06.789Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
Place = Annotated[int, Meta(description="Partition of the account.")]
Way = Annotated[
    str,
    Meta(
        description=(
            "How it was made all-or-nothing: `none` when one partition could do it alone."
        ),
        extra_json_schema={"enum": list(COORDINATION_NAMES.values())},
    ),
]
Number = Annotated[int, Meta(description="Sequence in the partition at which this is true.")]


class AccountOpened(TypedDict):
    """The account exists."""

    account_id: str
    currency: str
    overdraft_limit: Text
    partition: Place
    sequence: Annotated[int, Meta(description="Of the opening.")]
    opened_at: Moment


class AccountPending(TypedDict):
    """The opening was sent; its outcome is not known yet."""

    status: Literal["pending"]
    account_id: str


class TransferCompleted(TypedDict):
    """The amount moved, durably."""

    status: Literal["completed"]
    transaction_id: str
    from_account_id: str
    to_account_id: str
    amount: Text
    currency: str
    balance: Annotated[Text, Meta(description="Posted balance of the payer just after it.")]
    coordination: Way
    partition: Place
    sequence: Annotated[int, Meta(description="Of the event that decided it.")]
    completed_at: Moment


class TransferPending(TypedDict):
    """The transfer was sent; its outcome is not known yet and can be asked for at Location."""

    status: Literal["pending"]
    transaction_id: str
    from_account_id: str
    to_account_id: str
    amount: Text
    currency: str


class AccountState(TypedDict):
    """One account at one sequence of its partition."""

    account_id: str
    currency: str
    balance: Annotated[Text, Meta(description="Posted.")]
    held: Annotated[Text, Meta(description="Set aside by holds.")]
    available: Annotated[Text, Meta(description="balance - held + overdraft_limit.")]
    overdraft_limit: Text
    partition: Place
    sequence: Number
    as_of: Annotated[Moment, Meta(description="Time of that sequence's event.")]


class StatementEntry(TypedDict):
    """What one event did to the balance."""

    sequence: int
    at: Moment
    transaction_id: str
    counterparty_id: str
    direction: Literal["debit", "credit"]
    amount: Text
    balance: Annotated[Text, Meta(description="Posted balance just after it.")]


class Statement(TypedDict):
    """A page of entries, newest first."""

    account_id: str
    currency: str
    partition: Place
    sequence: Number
    entries: list[StatementEntry]
    next_page_token: Annotated[str | None, Meta(description="null on the last page.")]


def account_opened(command: OpenAccount, result: Result, partition: int) -> AccountOpened:
    """Answer an opening that was done."""
    return {
        "account_id": command.account_id,
        "currency": command.currency,
        "overdraft_limit": format_amount(command.overdraft_limit_minor, command.currency),
        "partition": partition,
        "sequence": result.sequence,
        "opened_at": format_instant(result.at_ms),
    }


def account_pending(command: OpenAccount) -> AccountPending:
    """Answer an opening whose outcome is not known in time."""
    return {"status": "pending", "account_id": command.account_id}


def transfer_completed(command: Transfer, result: Result, partition: int) -> TransferCompleted:
    """Answer a transfer that was done."""
    currency = command.currency
    return {
        "status": "completed",
        "transaction_id": command.transaction_id,
        "from_account_id": command.from_account_id,
        "to_account_id": command.to_account_id,
        "amount": format_amount(command.amount_minor, currency),
        "currency": currency,
        "balance": format_amount(result.balance_minor, currency),
        "coordination": COORDINATION_NAMES[result.coordination],
        "partition": partition,
        "sequence": result.sequence,
        "completed_at": format_instant(result.at_ms),
    }


def transfer_pending(command: Transfer) -> TransferPending:
    """Answer a transfer whose outcome is not known in time."""
    return {
        "status": "pending",
        "transaction_id": command.transaction_id,
        "from_account_id": command.from_account_id,
        "to_account_id": command.to_account_id,
        "amount": format_amount(command.amount_minor, command.currency),
        "currency": command.currency,
    }


def account_state(query: AccountQuery, answer: AccountAnswer) -> AccountState:
    """Show one account."""
    currency, limit_minor = answer.currency, answer.overdraft_limit_minor
    available_minor = answer.posted_minor - answer.held_minor + limit_minor
    return {
        "account_id": query.account_id,
        "currency": currency,
        "balance": format_amount(answer.posted_minor, currency),
        "held": format_amount(answer.held_minor, currency),
        "available": format_amount(available_minor, currency),
        "overdraft_limit": format_amount(limit_minor, currency),
        "partition": answer.partition,
        "sequence": answer.sequence,
        "as_of": format_instant(answer.at_ms),
    }


def statement(query: EntriesQuery, answer: EntriesAnswer) -> Statement:
    """Show a page of entries."""
    currency, following = answer.currency, answer.next_before_sequence
    return {
        "account_id": query.account_id,
        "currency": currency,
        "partition": answer.partition,
        "sequence": answer.sequence,
        "entries": [
            {
                "sequence": entry.sequence,
                "at": format_instant(entry.at_ms),
                "transaction_id": entry.transaction_id,
                "counterparty_id": entry.counterparty_id,
                "direction": "debit" if entry.amount_minor < 0 else "credit",
                "amount": format_amount(abs(entry.amount_minor), currency),
                "balance": format_amount(entry.balance_minor, currency),
            }
            for entry in answer.entries
        ],
        "next_page_token": (
            None if following is None else encode_page_token(query.account_id, following)
        ),
    }
