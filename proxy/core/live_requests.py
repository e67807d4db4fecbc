"""What who watches accounts says: messages to operations, or a problem."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from contracts.identifiers import is_identifier
from proxy.core.fields import SEQUENCE_MAX, Identifier, fault, printable
from proxy.core.problems import INVALID_REQUEST, NOT_JSON, Problem

MESSAGE_ACCOUNTS_MAX: Final = 200
"""Accounts in one message; a connection may send any number of messages."""

MESSAGE_BYTES_MAX: Final = 32 * 1_024
"""The largest valid one has under 32,000: two names of 64 bytes and a number per account."""

Accounts = Annotated[list[Identifier], Meta(min_length=1, max_length=MESSAGE_ACCOUNTS_MAX)]


class Subscribe(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="subscribe"):
    """Watch accounts. One that is watched already begins anew."""

    accounts: Accounts
    from_sequence: Annotated[
        dict[str, Annotated[int, Meta(ge=0, le=SEQUENCE_MAX)]],
        Meta(
            description=(
                "By account the last sequence that was seen: what changed behind it comes first."
                " Without, an account begins with its present state."
            )
        ),
    ] = {}


class Unsubscribe(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="unsubscribe"
):
    """Watch accounts no more."""

    accounts: Accounts


class Ping(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="ping"):
    """Ask for a `pong`: a page in a browser can't see the pings of WebSocket itself."""


Operation = Subscribe | Unsubscribe | Ping

_OPERATIONS: Final[msgspec.json.Decoder[Operation]] = msgspec.json.Decoder(Operation)

assert MESSAGE_ACCOUNTS_MAX * (2 * (64 + 4) + 20) + 128 <= MESSAGE_BYTES_MAX


def parse_operation(text: str) -> Operation | Problem:
    """What a message asks for."""
    try:
        operation = _OPERATIONS.decode(text)
    except msgspec.ValidationError as error:
        return Problem(INVALID_REQUEST, f"The message is not valid: {error}.")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Problem(NOT_JSON, f"The message is not a JSON object: {error}.")
    if isinstance(operation, Ping):
        return operation
    errors = [
        fault("invalid_identifier").of("accounts")
        for account_id in operation.accounts
        if not is_identifier(account_id)
    ][:1]
    if isinstance(operation, Subscribe):
        strange = operation.from_sequence.keys() - set(operation.accounts)
        errors += [
            fault("unknown_field").of(f"from_sequence.{printable(each)}") for each in strange
        ]
    return Problem(INVALID_REQUEST, errors=errors) if errors else operation
