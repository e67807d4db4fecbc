"""What a GET asks for: path and query parameters to queries, or a problem naming every bad one."""

from typing import Annotated, Final
from urllib.parse import unquote

from msgspec import UNSET, Meta, Struct, UnsetType

from contracts.limits import PAGE_ENTRIES_DEFAULT
from contracts.queries import AccountQuery, EntriesQuery, TransferQuery, UnfinishedQuery
from proxy.core.fields import (
    RULES,
    Fault,
    Identifier,
    Instant,
    MinSequence,
    PageLimit,
    Sequence,
    examine,
    fault,
)
from proxy.core.page_tokens import decode_page_token
from proxy.core.problems import INVALID_REQUEST, Problem

Pairs = list[tuple[str, str]]
"""Names and values as they came, in order, repeats included."""

_Account = Annotated[Identifier, Meta(examples=["ann"])]
_Demanded = Annotated[
    MinSequence, Meta(description="Answer no earlier than this sequence: reads your own write.")
]


class NoParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """A call that takes none."""


class ConsoleParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which file of the console."""

    file: Annotated[str, Meta(description="Its name.", examples=["main.js"])]


class OpeningParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which account is to be opened."""

    account_id: _Account


class AccountParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which account, and its state when."""

    account_id: _Account
    at: Annotated[Instant, Meta(description="The state at this past moment.")] | UnsetType = UNSET
    sequence: (
        Annotated[Sequence, Meta(description="The state after this sequence.")] | UnsetType
    ) = UNSET
    min_sequence: _Demanded = 0


class EntriesParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of which statement."""

    account_id: _Account
    limit: Annotated[PageLimit, Meta(description="Entries per page.")] = PAGE_ENTRIES_DEFAULT
    page_token: (
        Annotated[str, Meta(description="`next_page_token` of the page before.")] | UnsetType
    ) = UNSET
    min_sequence: _Demanded = 0


class TransferParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which transfer: its payer and its transaction id."""

    account_id: Annotated[Identifier, Meta(examples=["issuer"])]
    transaction_id: Annotated[Identifier, Meta(examples=["2031-0001"])]


LAST_EVENT_ID: Final = "Last-Event-ID"


class EventsParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which account is watched, and from where on."""

    account_id: _Account
    from_sequence: (
        Annotated[
            MinSequence,
            Meta(description="Begin with what changed behind this sequence."),
        ]
        | UnsetType
    ) = UNSET


class Watched(Struct, frozen=True):
    """An account to watch; from_sequence None: from its present state on."""

    account_id: str
    from_sequence: int | None


class UnfinishedParameters(Struct, frozen=True, forbid_unknown_fields=True):
    """How many of the unfinished transfers."""

    limit: Annotated[PageLimit, Meta(description="The oldest so many.")] = PAGE_ENTRIES_DEFAULT


def split_query(query: str) -> list[tuple[str, str]]:
    """Names and values of a raw query string, in order, percent-decoded.

    A `+` is itself (RFC 3986), so that an instant's offset can be written as it is. Bytes that
    are not UTF-8 become U+FFFD, which no rule takes.
    """
    pairs = (part.partition("=") for part in query.split("&") if part)
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


def parse_no_parameters(query: Pairs) -> Problem | None:
    """A problem when there are any."""
    _, problems = examine(NoParameters, query)
    return Problem(INVALID_REQUEST, errors=problems) if problems else None


def parse_account_query(path: Pairs, query: Pairs) -> AccountQuery | Problem:
    """One account, now or at one past moment."""
    values, problems = examine(AccountParameters, path + query)
    if "at" in values and "sequence" in values:
        problems.append(fault("conflicting_fields").of("sequence"))
    if problems:
        return Problem(INVALID_REQUEST, errors=problems)
    return AccountQuery(
        account_id=values["account_id"],
        at_ms=values.get("at"),
        at_sequence=values.get("sequence"),
        min_sequence=values.get("min_sequence", 0),
    )


def parse_entries_query(path: Pairs, query: Pairs) -> EntriesQuery | Problem:
    """A page of one account's statement."""
    values, problems = examine(EntriesParameters, path + query)
    before_sequence = None
    if "page_token" in values and "account_id" in values:
        before_sequence = decode_page_token(values["account_id"], values["page_token"])
        if before_sequence is None:
            problems.append(fault("invalid_page_token").of("page_token"))
    if problems:
        return Problem(INVALID_REQUEST, errors=problems)
    return EntriesQuery(
        account_id=values["account_id"],
        limit=values.get("limit", PAGE_ENTRIES_DEFAULT),
        before_sequence=before_sequence,
        min_sequence=values.get("min_sequence", 0),
    )


def parse_transfer_query(path: Pairs, query: Pairs, *, wait_ms: int) -> TransferQuery | Problem:
    """One transfer, waited for."""
    values, problems = examine(TransferParameters, path + query)
    if problems:
        return Problem(INVALID_REQUEST, errors=problems)
    return TransferQuery(
        from_account_id=values["account_id"],
        transaction_id=values["transaction_id"],
        wait_ms=wait_ms,
    )


def parse_events_query(path: Pairs, query: Pairs, last_event_ids: list[str]) -> Watched | Problem:
    """One account to watch. The header of a client that comes back outranks its address."""
    values, problems = examine(EventsParameters, path + query)
    from_sequence = values.get("from_sequence")
    for text in last_event_ids[-1:]:
        found = RULES["from_sequence"](text)
        if isinstance(found, Fault):
            problems.append(found.of(LAST_EVENT_ID))
        else:
            assert isinstance(found, int)
            from_sequence = found
    if problems:
        return Problem(INVALID_REQUEST, errors=problems)
    return Watched(values["account_id"], from_sequence)


def parse_unfinished_query(query: Pairs) -> UnfinishedQuery | Problem:
    """The oldest unfinished transfers."""
    values, problems = examine(UnfinishedParameters, query)
    if problems:
        return Problem(INVALID_REQUEST, errors=problems)
    return UnfinishedQuery(limit=values.get("limit", PAGE_ENTRIES_DEFAULT))
