"""What who watches accounts reads: the messages, as types and as functions that fill them.

The types give the AsyncAPI document its schemas, as those of answers do for OpenAPI.
"""

from typing import Annotated, Final, Literal, NotRequired, TypedDict

from msgspec import Meta

from contracts.changes import Direction
from contracts.money import format_amount
from proxy.core.fields import FieldProblem
from proxy.core.instants import format_instant
from proxy.core.problems import (
    ACCOUNT_NOT_FOUND,
    BY_MISSING,
    INVALID_REQUEST,
    NO_ROOM_TO_WATCH,
    NOT_JSON,
    SEQUENCE_NOT_REACHED,
    TOO_MANY_ACCOUNTS,
    Problem,
)
from proxy.core.representations import Moment, Place, Text
from proxy.core.watch import Changed, News, Refused, Standing, Terms

_NAMES: Final = {
    Direction.DEBIT: "debit",
    Direction.CREDIT: "credit",
    Direction.HOLD: "hold",
    Direction.RELEASE: "release",
}

LIVE_KINDS: Final = (
    NOT_JSON,
    INVALID_REQUEST,
    ACCOUNT_NOT_FOUND,
    SEQUENCE_NOT_REACHED,
    TOO_MANY_ACCOUNTS,
    NO_ROOM_TO_WATCH,
)
"""What a message can be refused for."""

Way = Annotated[
    str,
    Meta(
        description=(
            "`debit` and `credit` change the balance, `hold` and `release` only what is held."
        ),
        extra_json_schema={"enum": list(_NAMES.values())},
    ),
]
Conflated = Annotated[
    bool,
    Meta(description="Changes before it were left out: this is how the account stands now."),
]
At = Annotated[
    int,
    Meta(
        description=(
            "Sequence in the account's partition. Give the last one as `from_sequence` to go on"
            " behind it."
        )
    ),
]


class AccountStands(TypedDict):
    """How an account stands: the first message of a subscription, or the last of a replay."""

    type: Literal["state"]
    account_id: str
    currency: str
    balance: Annotated[Text, Meta(description="Posted.")]
    held: Text
    available: Text
    overdraft_limit: Text
    partition: Place
    sequence: At
    at: Moment
    conflated: Conflated


class AccountChanged(TypedDict):
    """What one event did to an account, and how it stands just after."""

    type: Literal["change"]
    account_id: str
    currency: str
    balance: Annotated[Text, Meta(description="Posted.")]
    held: Text
    available: Text
    partition: Place
    sequence: At
    at: Moment
    transaction_id: str
    direction: Way
    amount: Text
    conflated: Conflated


class Unsubscribed(TypedDict):
    """These accounts bring no more messages."""

    type: Literal["unsubscribed"]
    accounts: list[str]


class Pong(TypedDict):
    """The answer to a `ping`: the connection lives."""

    type: Literal["pong"]


class LiveError(TypedDict):
    """Something was refused; the connection goes on."""

    type: Literal["error"]
    code: Annotated[
        str,
        Meta(
            description="Stable name of the kind of problem.",
            extra_json_schema={"enum": [kind.code for kind in LIVE_KINDS]},
        ),
    ]
    title: str
    detail: str
    account_id: NotRequired[
        Annotated[str, Meta(description="The account that is not watched because of it.")]
    ]
    errors: NotRequired[list[FieldProblem]]


LiveMessage = AccountStands | AccountChanged | Unsubscribed | Pong | LiveError


def live_message(news: News, *, is_conflated: bool) -> AccountStands | AccountChanged | LiveError:
    """Show news; conflated if changes before it were left out on this connection."""
    match news:
        case Standing():
            return _stands(news, is_conflated=is_conflated)
        case Changed():
            return _changed(news, is_conflated=is_conflated)
        case Refused():
            return live_error(Problem(BY_MISSING[news.missing]), news.account_id)


def live_error(problem: Problem, account_id: str | None = None) -> LiveError:
    """Show what was refused."""
    kind = problem.kind
    made: LiveError = {
        "type": "error",
        "code": kind.code,
        "title": kind.title,
        "detail": problem.detail or kind.detail,
    }
    if account_id is not None:
        made["account_id"] = account_id
    if problem.errors:
        made["errors"] = problem.errors
    return made


def unsubscribed(accounts: list[str]) -> Unsubscribed:
    """Confirm that they are no longer watched."""
    return {"type": "unsubscribed", "accounts": accounts}


def pong() -> Pong:
    """Answer a ping."""
    return {"type": "pong"}


def _stands(news: Standing, *, is_conflated: bool) -> AccountStands:
    terms = news.terms
    return {
        "type": "state",
        "account_id": terms.account_id,
        "currency": terms.currency,
        "balance": format_amount(news.posted_minor, terms.currency),
        "held": format_amount(news.held_minor, terms.currency),
        "available": _available(terms, news.posted_minor, news.held_minor),
        "overdraft_limit": format_amount(terms.overdraft_limit_minor, terms.currency),
        "partition": terms.partition,
        "sequence": news.sequence,
        "at": format_instant(news.at_ms),
        "conflated": is_conflated or news.is_conflated,
    }


def _changed(news: Changed, *, is_conflated: bool) -> AccountChanged:
    terms, change = news.terms, news.change
    return {
        "type": "change",
        "account_id": terms.account_id,
        "currency": terms.currency,
        "balance": format_amount(change.posted_minor, terms.currency),
        "held": format_amount(change.held_minor, terms.currency),
        "available": _available(terms, change.posted_minor, change.held_minor),
        "partition": terms.partition,
        "sequence": change.sequence,
        "at": format_instant(change.at_ms),
        "transaction_id": change.transaction_id,
        "direction": _NAMES[change.direction],
        "amount": format_amount(change.amount_minor, terms.currency),
        "conflated": is_conflated,
    }


def _available(terms: Terms, posted_minor: int, held_minor: int) -> str:
    return format_amount(posted_minor - held_minor + terms.overdraft_limit_minor, terms.currency)
