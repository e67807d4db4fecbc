"""Request bodies: bytes to commands, or a problem that names every bad field at once.

`parse_transfer` is on the wallet's one hot path, so it first tries a quick way that takes valid
bodies only; whatever that does not take goes the exact way, which also says why not.
"""

import json
from typing import Annotated, Any, Final, NoReturn

import msgspec
from msgspec import Meta, Struct

from contracts.commands import OpenAccount, Transfer
from contracts.coordination import Coordination
from contracts.identifiers import is_identifier
from contracts.money import DECIMALS, AmountProblem, parse_amount
from proxy.core.coordinations import COORDINATION_HEADER
from proxy.core.fields import (
    Amount,
    Currency,
    Fault,
    FieldProblem,
    Identifier,
    PositiveAmount,
    examine,
    fault,
)
from proxy.core.parameters import NoParameters, OpeningParameters, Pairs
from proxy.core.problems import INVALID_REQUEST, NOT_JSON, Problem


class TransferForm(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /wallet/transfer`. The payer and the transaction id name it for ever."""

    from_account_id: Annotated[Identifier, Meta(examples=["issuer"])]
    to_account_id: Annotated[Identifier, Meta(examples=["ann"])]
    amount: PositiveAmount
    currency: Currency
    transaction_id: Annotated[Identifier, Meta(examples=["2031-0001"])]


class AccountForm(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `PUT /wallet/accounts/{account_id}`."""

    currency: Currency
    overdraft_limit: Annotated[
        Amount, Meta(description="How far below zero the balance may go; a decimal string.")
    ] = "0"


_TRANSFERS: Final = msgspec.json.Decoder(TransferForm)

_TRANSFER_MEMBERS: Final = len(TransferForm.__struct_fields__)

_ZERO: Final = fault("amount_not_positive")

_AMOUNT_FAULTS: Final = {
    AmountProblem.FORM: fault("invalid_amount"),
    AmountProblem.DECIMALS: fault("too_many_decimals"),
    AmountProblem.RANGE: fault("amount_too_large"),
}

_MOST_DECIMALS: Final = max(DECIMALS, key=lambda code: DECIMALS[code])
"""A currency that judges an amount's form alone, when the request's own is not known."""


def parse_transfer(
    query: Pairs, body: bytes, coordination: Coordination | Fault
) -> Transfer | Problem:
    """The command in a body, or everything that is wrong with it, the query and the choice."""
    command = None
    if not query and isinstance(coordination, Coordination):
        command = _transfer_quickly(body, coordination)
    return command or _transfer_exactly(query, body, coordination)


def _transfer_quickly(body: bytes, coordination: Coordination) -> Transfer | None:
    """The command in a body that is surely valid; None when it is not or may not be."""
    try:
        form = _TRANSFERS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # msgspec lets a later duplicate of a key win. All keys are known and no valid value has a
    # colon in it, so a body with as many colons as fields has no key twice.
    if body.count(b":") != _TRANSFER_MEMBERS or form.currency not in DECIMALS:
        return None
    amount_minor = parse_amount(form.amount, form.currency)
    if (
        isinstance(amount_minor, AmountProblem)
        or amount_minor == 0
        or not is_identifier(form.from_account_id)
        or not is_identifier(form.to_account_id)
        or not is_identifier(form.transaction_id)
    ):
        return None
    return Transfer(
        form.from_account_id,
        form.to_account_id,
        amount_minor,
        form.currency,
        form.transaction_id,
        coordination,
    )


def _transfer_exactly(
    query: Pairs, body: bytes, coordination: Coordination | Fault
) -> Transfer | Problem:
    members = _members(body)
    if isinstance(members, Problem):
        return members
    _, stray = examine(NoParameters, query)
    values, problems = examine(TransferForm, members)
    problems = stray + problems
    amount_minor = _amount(values, "amount", problems)
    if amount_minor == 0:
        problems.append(_ZERO.of("amount"))
    if isinstance(coordination, Fault):
        problems.append(coordination.of(COORDINATION_HEADER))
    if problems or isinstance(coordination, Fault):
        return Problem(INVALID_REQUEST, errors=problems)
    return Transfer(
        from_account_id=values["from_account_id"],
        to_account_id=values["to_account_id"],
        amount_minor=amount_minor,
        currency=values["currency"],
        transaction_id=values["transaction_id"],
        coordination=coordination,
    )


def parse_account(path: Pairs, query: Pairs, body: bytes) -> OpenAccount | Problem:
    """The command in an address and a body, or everything that is wrong with the three."""
    members = _members(body)
    if isinstance(members, Problem):
        return members
    names, path_problems = examine(OpeningParameters, path + query)
    values, problems = examine(AccountForm, members)
    values.setdefault("overdraft_limit", "0")
    limit_minor = _amount(values, "overdraft_limit", problems)
    if path_problems or problems:
        return Problem(INVALID_REQUEST, errors=path_problems + problems)
    return OpenAccount(
        account_id=names["account_id"],
        currency=values["currency"],
        overdraft_limit_minor=limit_minor,
    )


def _amount(values: dict[str, Any], field: str, problems: list[FieldProblem]) -> int:
    """Minor units of a field; adds to the problems (and gives -1) when there are none to have."""
    if field not in values:
        return -1
    currency = values.get("currency")
    minor = parse_amount(values[field], currency or _MOST_DECIMALS)
    if isinstance(minor, int):
        return minor
    if currency is not None or minor is AmountProblem.FORM:
        problems.append(_AMOUNT_FAULTS[minor].of(field))
    return -1


def _members(body: bytes) -> list[tuple[str, object]] | Problem:
    """All members of a JSON object in order, duplicates included."""
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_Object, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        return Problem(NOT_JSON, f"The body is not UTF-8 at byte {error.start}.")
    except json.JSONDecodeError as error:
        return Problem(NOT_JSON, f"The body is not JSON at character {error.pos}: {error.msg}.")
    except (ValueError, RecursionError) as error:
        return Problem(NOT_JSON, f"The body is not JSON: {error}.")
    return value if isinstance(value, _Object) else Problem(NOT_JSON)


class _Object(list[tuple[str, object]]):
    """A JSON object's members; a JSON array becomes a plain list."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
