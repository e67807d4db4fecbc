"""The fields of requests: their schemas, their rules, and what can be wrong with them.

A field has one name and one meaning in every call, whether it stands in a path, a query or a
body, so that its rule stands here once.
"""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, TypedDict

from msgspec import Meta, Struct
from msgspec.structs import fields

from contracts.coordination import COORDINATION_NAMES, Coordination
from contracts.identifiers import ID_PATTERN, is_identifier
from contracts.limits import (
    AMOUNT_MINOR_MAX,
    AMOUNT_TEXT_LENGTH_MAX,
    ID_LENGTH_MAX,
    PAGE_ENTRIES_MAX,
)
from contracts.money import AMOUNT_PATTERN, DECIMALS
from proxy.core.instants import INSTANT_PATTERN, parse_instant

SEQUENCE_MAX: Final = 2**63 - 1

_POSITIVE: Final = "[1-9]"

# The rules below are stricter than a pattern can be in Python (a final newline) and dearer than
# needed in msgspec (they would run twice), so the patterns only go into the schemas.
Identifier = Annotated[
    str,
    Meta(
        description=f"ASCII letters, digits, `_` and `-`, 1 to {ID_LENGTH_MAX} of them.",
        extra_json_schema={"pattern": ID_PATTERN},
    ),
]
Currency = Annotated[
    str,
    Meta(
        description="ISO 4217 code.",
        examples=["USD"],
        extra_json_schema={"enum": sorted(DECIMALS)},
    ),
]
Amount = Annotated[
    str,
    Meta(
        description="Decimal string with at most the currency's decimals.",
        examples=["10.50"],
        extra_json_schema={"pattern": AMOUNT_PATTERN, "maxLength": AMOUNT_TEXT_LENGTH_MAX},
    ),
]
PositiveAmount = Annotated[
    str,
    Meta(
        description="Decimal string above zero with at most the currency's decimals.",
        examples=["10.50"],
        extra_json_schema={
            "maxLength": AMOUNT_TEXT_LENGTH_MAX,
            "allOf": [{"pattern": AMOUNT_PATTERN}, {"pattern": _POSITIVE}],
        },
    ),
]
Instant = Annotated[
    str,
    Meta(
        description="RFC 3339 date and time.",
        examples=["2031-02-03T04:05:06.789Z"],
        extra_json_schema={"format": "date-time", "pattern": INSTANT_PATTERN},
    ),
]
Sequence = Annotated[int, Meta(ge=1, le=SEQUENCE_MAX)]
MinSequence = Annotated[int, Meta(ge=0, le=SEQUENCE_MAX)]
PageLimit = Annotated[int, Meta(ge=1, le=PAGE_ENTRIES_MAX)]


class FieldProblem(TypedDict):
    """One thing that is wrong with one field."""

    field: str
    code: str
    detail: str


class Fault(Struct, frozen=True):
    """What a rule finds wrong with a text."""

    code: str
    detail: str

    def of(self, field: str) -> FieldProblem:
        """The fault as the client sees it."""
        return {"field": field, "code": self.code, "detail": self.detail}


COORDINATIONS: Final = {
    name: coordination
    for coordination, name in COORDINATION_NAMES.items()
    if coordination is not Coordination.NONE
}
"""Those that can be chosen, by the names that clients and settings use, in lower case."""

FIELD_FAULTS: Final = {
    "missing_field": "is required",
    "unknown_field": "is not known here",
    "duplicate_field": "is given more than once",
    "wrong_type": "must be a string",
    "invalid_identifier": f"must be 1 to {ID_LENGTH_MAX} of A-Z, a-z, 0-9, _ and -",
    "unknown_currency": "must be an ISO 4217 currency code such as USD",
    "invalid_amount": 'must be a decimal string such as "10.50"; no sign, no exponent',
    "too_many_decimals": "has more decimals than the currency",
    "amount_too_large": f"must be at most {AMOUNT_MINOR_MAX} minor units",
    "amount_not_positive": "must be above zero",
    "invalid_instant": "must be an RFC 3339 date and time such as 2031-02-03T04:05:06Z",
    "invalid_number": "must be a whole number in digits",
    "number_out_of_range": "is out of range",
    "invalid_page_token": "must be a next_page_token of this account",
    "conflicting_fields": "at and sequence exclude each other",
    "unknown_coordination": f"must be one of {', '.join(COORDINATIONS)}, and only one",
}
"""Codes of field problems with the sentence that goes with each."""


def fault(code: str) -> Fault:
    """The fault of a code, with its usual sentence."""
    return Fault(code, FIELD_FAULTS[code])


def _identifier(text: str) -> str | Fault:
    return text if is_identifier(text) else fault("invalid_identifier")


def _currency(text: str) -> str | Fault:
    return text if text in DECIMALS else fault("unknown_currency")


def _instant(text: str) -> int | Fault:
    at_ms = parse_instant(text)
    return fault("invalid_instant") if at_ms is None else at_ms


_DIGITS: Final = re.compile(r"[0-9]{1,19}")  # int() takes other digits, underscores and signs too


def _whole_number(smallest: int, largest: int) -> Callable[[str], int | Fault]:
    def rule(text: str) -> int | Fault:
        if _DIGITS.fullmatch(text) is None:
            return fault("invalid_number")
        if not smallest <= int(text) <= largest:
            return Fault("number_out_of_range", f"must be {smallest} to {largest}")
        return int(text)

    return rule


def _checked_later(text: str) -> str:
    """Its rule needs another field."""
    return text


RULES: Final[dict[str, Callable[[str], object]]] = {
    "account_id": _identifier,
    "from_account_id": _identifier,
    "to_account_id": _identifier,
    "transaction_id": _identifier,
    "currency": _currency,
    "amount": _checked_later,
    "overdraft_limit": _checked_later,
    "at": _instant,
    "sequence": _whole_number(1, SEQUENCE_MAX),
    "from_sequence": _whole_number(0, SEQUENCE_MAX),
    "min_sequence": _whole_number(0, SEQUENCE_MAX),
    "limit": _whole_number(1, PAGE_ENTRIES_MAX),
    "page_token": _checked_later,
    "file": _checked_later,
}
"""Field name → text to value, or a Fault."""


def examine(
    form: type[Struct], pairs: Iterable[tuple[str, object]]
) -> tuple[dict[str, Any], list[FieldProblem]]:
    """Hold the given names and values against a form's fields.

    Returns the values of the good fields and a problem for every bad one: duplicate, unknown,
    missing, not a text, or refused by its rule.
    """
    known = {field.name: field.required for field in fields(form)}
    values: dict[str, Any] = {}
    problems: list[FieldProblem] = []
    seen: set[str] = set()
    for name, value in pairs:
        found = _examine_one(name, value, is_known=name in known, is_repeated=name in seen)
        seen.add(name)
        if isinstance(found, Fault):
            values.pop(name, None)
            problems.append(found.of(printable(name)))
        else:
            values[name] = found
    missing = (name for name, required in known.items() if required and name not in seen)
    problems += [fault("missing_field").of(name) for name in missing]
    return values, problems


def _examine_one(name: str, value: object, *, is_known: bool, is_repeated: bool) -> object:
    if not is_known:
        return fault("unknown_field")
    if is_repeated:
        return fault("duplicate_field")
    if not isinstance(value, str):
        return fault("wrong_type")
    return RULES[name](value)


def printable(name: str) -> str:
    """A client's field name as harmless ASCII of bounded length, to be named in an answer."""
    text = name.encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= ID_LENGTH_MAX else text[: ID_LENGTH_MAX - 1] + "~"
