"""Bodies of requests: which are taken, which are refused, and which fields are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.commands import OpenAccount, Transfer
from contracts.coordination import Coordination
from proxy.core.fields import fault
from proxy.core.forms import parse_account, parse_transfer
from proxy.core.parameters import Pairs
from proxy.core.problems import Problem

VALID = {
    "from_account_id": "ann",
    "to_account_id": "bob",
    "amount": "10.50",
    "currency": "USD",
    "transaction_id": "t-1",
}
COMMAND = Transfer("ann", "bob", 1050, "USD", "t-1")
LARGEST = "92233720368547758.07"


def body(**changes: Any) -> bytes:
    return json.dumps(VALID | changes).encode()


def without(field: str) -> bytes:
    return json.dumps({name: value for name, value in VALID.items() if name != field}).encode()


def parse(query: Pairs, data: bytes) -> Transfer | Problem:
    return parse_transfer(query, data, Coordination.CHOREOGRAPHY)


def refused(data: bytes) -> Problem:
    problem = parse([], data)
    assert isinstance(problem, Problem), problem
    return problem


def faults(problem: Problem) -> list[tuple[str, str]]:
    return [(error["field"], error["code"]) for error in problem.errors]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("amount", 10, "wrong_type"),
        ("amount", 10.5, "wrong_type"),
        ("amount", True, "wrong_type"),
        ("amount", None, "wrong_type"),
        ("amount", ["1"], "wrong_type"),
        ("amount", {"a": "1"}, "wrong_type"),
        ("amount", "1e3", "invalid_amount"),
        ("amount", "-1", "invalid_amount"),
        ("amount", "+1", "invalid_amount"),
        ("amount", "\uff11\uff12\uff13", "invalid_amount"),  # full-width digits
        ("amount", "1_000", "invalid_amount"),
        ("amount", "1,000", "invalid_amount"),
        ("amount", " 1", "invalid_amount"),
        ("amount", "1\n", "invalid_amount"),
        ("amount", "", "invalid_amount"),
        ("amount", ".5", "invalid_amount"),
        ("amount", "5.", "invalid_amount"),
        ("amount", "01", "invalid_amount"),
        ("amount", "NaN", "invalid_amount"),
        ("amount", "Infinity", "invalid_amount"),
        ("amount", "0x10", "invalid_amount"),
        ("amount", "1" * 33, "invalid_amount"),
        ("amount", "0", "amount_not_positive"),
        ("amount", "0.00", "amount_not_positive"),
        ("amount", "10.501", "too_many_decimals"),
        ("amount", "10.500", "too_many_decimals"),
        ("amount", "92233720368547758.08", "amount_too_large"),
        ("amount", "99999999999999999999", "amount_too_large"),
        ("currency", "usd", "unknown_currency"),
        ("currency", "US", "unknown_currency"),
        ("currency", "XXX", "unknown_currency"),
        ("currency", "USD\n", "unknown_currency"),
        ("currency", "", "unknown_currency"),
        ("currency", 840, "wrong_type"),
        ("from_account_id", "a.b", "invalid_identifier"),
        ("from_account_id", "a b", "invalid_identifier"),
        ("from_account_id", "a*", "invalid_identifier"),
        ("from_account_id", ">", "invalid_identifier"),
        ("from_account_id", "", "invalid_identifier"),
        ("from_account_id", "a" * 65, "invalid_identifier"),
        ("from_account_id", "ann\n", "invalid_identifier"),
        ("from_account_id", "a" * 64 + "\n", "invalid_identifier"),
        ("from_account_id", "a\u0000", "invalid_identifier"),
        ("from_account_id", "\u00e4nn", "invalid_identifier"),
        ("from_account_id", "a:b", "invalid_identifier"),
        ("from_account_id", 7, "wrong_type"),
        ("to_account_id", "../bob", "invalid_identifier"),
        ("to_account_id", "b" * 65, "invalid_identifier"),
        ("transaction_id", "t 1", "invalid_identifier"),
        ("transaction_id", "t" * 65, "invalid_identifier"),
        ("transaction_id", "t-1\n", "invalid_identifier"),
        ("transaction_id", None, "wrong_type"),
        ("memo", "hello", "unknown_field"),
        ("Amount", "1", "unknown_field"),
    ],
)
def test_a_bad_field_is_named(field: str, value: object, code: str) -> None:
    problem = refused(body(**{field: value}))
    assert problem.kind.code == "invalid_request"
    assert faults(problem) == [(field, code)]


@pytest.mark.parametrize("field", sorted(VALID))
def test_a_missing_field_is_named(field: str) -> None:
    assert faults(refused(without(field))) == [(field, "missing_field")]


@pytest.mark.parametrize("field", sorted(VALID))
@pytest.mark.parametrize("value", ["same", "other"])
def test_a_duplicate_key_is_refused_even_with_the_same_value(field: str, value: str) -> None:
    again = VALID[field] if value == "same" else "9"
    data = body()[:-1] + f', "{field}": "{again}"}}'.encode()
    assert (field, "duplicate_field") in faults(refused(data))


def test_a_duplicate_key_spelt_with_an_escape_is_refused() -> None:
    data = body()[:-1] + rb', "amoun\u0074": "9"}'
    assert faults(refused(data)) == [("amount", "duplicate_field")]


def test_a_duplicate_key_cannot_hide_behind_a_missing_one() -> None:
    data = without("currency")[:-1] + b', "amount": "9"}'
    assert sorted(faults(refused(data))) == [
        ("amount", "duplicate_field"),
        ("currency", "missing_field"),
    ]


def test_all_bad_fields_are_named_at_once() -> None:
    data = json.dumps(
        {"from_account_id": "a.b", "to_account_id": 1, "amount": "-1", "extra": 1, "currency": "?"}
    ).encode()
    assert sorted(faults(refused(data))) == [
        ("amount", "invalid_amount"),
        ("currency", "unknown_currency"),
        ("extra", "unknown_field"),
        ("from_account_id", "invalid_identifier"),
        ("to_account_id", "wrong_type"),
        ("transaction_id", "missing_field"),
    ]


def test_a_strange_field_name_is_named_harmlessly() -> None:
    problem = refused(body(**{"\ud800\n" + "x" * 200: 1}))
    [(name, code)] = faults(problem)
    assert code == "unknown_field"
    assert name.startswith(r"\ud800")
    assert len(name) == 64
    assert name.isascii()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"nope",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"{}{}",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1,}',
        b'{"amount": "1\n"}',
        b'{"amount": "\xff"}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"[" * 4_000,
        b'{"a":' * 800,
        b"[" + body() + b"]",
    ],
)
def test_what_is_not_a_json_object_in_utf8_is_refused_as_such(data: bytes) -> None:
    assert refused(data).kind.code == "not_json"


@pytest.mark.parametrize(
    ("changes", "amount_minor"),
    [
        ({}, 1050),
        ({"amount": "0.01"}, 1),
        ({"amount": "10.5"}, 1050),
        ({"amount": "10"}, 1000),
        ({"amount": LARGEST}, 2**63 - 1),
        ({"amount": "9223372036854775807", "currency": "KRW"}, 2**63 - 1),
        ({"amount": "1", "currency": "JPY"}, 1),
        ({"amount": "0.001", "currency": "KWD"}, 1),
        ({"amount": "922337203685477.5807", "currency": "CLF"}, 2**63 - 1),
    ],
)
def test_an_amount_up_to_its_bounds_is_taken(changes: dict[str, str], amount_minor: int) -> None:
    command = parse([], body(**changes))
    assert isinstance(command, Transfer)
    assert command.amount_minor == amount_minor


@pytest.mark.parametrize("name", ["a", "Z", "0", "_", "-", "--", "a" * 64, "A_b-9"])
def test_an_identifier_up_to_its_bounds_is_taken(name: str) -> None:
    command = parse([], body(from_account_id=name, transaction_id=name))
    assert command == Transfer(name, "bob", 1050, "USD", name)


@pytest.mark.parametrize(
    "data",
    [
        body(),
        json.dumps(dict(reversed(VALID.items())), indent=4).encode(),
        body().replace(b"ann", rb"\u0061nn"),
        body().replace(b'"amount"', rb'"\u0061mount"'),
        b"\r\n\t " + body() + b"\n",
    ],
)
def test_one_request_may_be_written_in_many_ways(data: bytes) -> None:
    assert parse([], data) == COMMAND


def test_the_choice_of_coordination_goes_into_the_command() -> None:
    for data in (body(), body().replace(b"ann", rb"\u0061nn"), body().replace(b":", b" : ")):
        command = parse_transfer([], data, Coordination.TCC)
        assert isinstance(command, Transfer)
        assert command.coordination is Coordination.TCC


def test_a_bad_choice_is_named_beside_the_bad_fields() -> None:
    choice = fault("unknown_coordination")
    bad = ("Wallet-Coordination", "unknown_coordination")
    problem = parse_transfer([], body(), choice)
    assert isinstance(problem, Problem)
    assert faults(problem) == [bad]
    problem = parse_transfer([], body(amount="0"), choice)
    assert isinstance(problem, Problem)
    assert faults(problem) == [("amount", "amount_not_positive"), bad]


def test_a_query_on_a_transfer_is_refused() -> None:
    problem = parse([("dry_run", "1")], body())
    assert isinstance(problem, Problem)
    assert faults(problem) == [("dry_run", "unknown_field")]


@pytest.mark.parametrize(
    ("form", "limit_minor"),
    [
        ({"currency": "USD"}, 0),
        ({"currency": "USD", "overdraft_limit": "0"}, 0),
        ({"currency": "USD", "overdraft_limit": "0.00"}, 0),
        ({"currency": "USD", "overdraft_limit": LARGEST}, 2**63 - 1),
        ({"currency": "KRW", "overdraft_limit": "5"}, 5),
    ],
)
def test_an_account_is_opened_with_an_overdraft_of_zero_unless_told(
    form: dict[str, str], limit_minor: int
) -> None:
    command = parse_account([("account_id", "ann")], [], json.dumps(form).encode())
    assert command == OpenAccount("ann", form["currency"], limit_minor)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{}", [("currency", "missing_field")]),
        (b'{"currency":"USD","currency":"EUR"}', [("currency", "duplicate_field")]),
        (b'{"currency":"USD","overdraft_limit":"-1"}', [("overdraft_limit", "invalid_amount")]),
        (b'{"currency":"USD","overdraft_limit":0}', [("overdraft_limit", "wrong_type")]),
        (b'{"currency":"USD","overdraft_limit":null}', [("overdraft_limit", "wrong_type")]),
        (b'{"currency":"JPY","overdraft_limit":"0.1"}', [("overdraft_limit", "too_many_decimals")]),
        (b'{"currency":"XXX","overdraft_limit":"0.1"}', [("currency", "unknown_currency")]),
        (b'{"currency":"USD","account_id":"ann"}', [("account_id", "unknown_field")]),
    ],
)
def test_a_bad_opening_is_refused(data: bytes, expected: list[tuple[str, str]]) -> None:
    problem = parse_account([("account_id", "ann")], [], data)
    assert isinstance(problem, Problem)
    assert faults(problem) == expected


def test_an_opening_names_bad_fields_of_address_and_body_together() -> None:
    problem = parse_account([("account_id", "a.b")], [("x", "1")], b'{"currency":1}')
    assert isinstance(problem, Problem)
    assert faults(problem) == [
        ("account_id", "invalid_identifier"),
        ("x", "unknown_field"),
        ("currency", "wrong_type"),
    ]


NAMES = st.sampled_from([*VALID, "amount", "memo", "a:b", ""])
VALUES = st.sampled_from([*VALID.values(), "0", "1e3", "a:b", "9", "EUR", "ann\n", "\u00e9"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=7), st.sampled_from([True, False]))
def test_a_body_is_taken_exactly_when_each_field_comes_once_and_is_valid(
    members: list[tuple[str, str]],
    escaped: bool,  # noqa: FBT001 # hypothesis passes it by name
) -> None:
    """An independent rule: as many members as fields, and all of them valid."""
    base = [member for member in VALID.items() if member[0] not in dict(members)]
    pairs = base + members
    text = ",".join(
        f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=escaped)}" for name, value in pairs
    )
    parsed = parse([], f"{{{text}}}".encode())
    given_once = len(pairs) == len(VALID) and set(dict(pairs)) == set(VALID)
    assert isinstance(parsed, Transfer) == (given_once and _is_valid(dict(pairs)))


def _is_valid(form: dict[str, str]) -> bool:
    letters = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    names = (form["from_account_id"], form["to_account_id"], form["transaction_id"])
    return (
        all(name and set(name) <= letters for name in names)
        and form["currency"] in {"USD", "EUR"}
        and form["amount"] in {"10.50", "9"}
    )
