"""Addresses: path and query parameters, and page tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.queries import AccountQuery, EntriesQuery, TransferQuery, UnfinishedQuery
from proxy.core.page_tokens import decode_page_token, encode_page_token
from proxy.core.parameters import (
    parse_account_query,
    parse_entries_query,
    parse_no_parameters,
    parse_transfer_query,
    parse_unfinished_query,
    split_query,
)
from proxy.core.problems import Problem

ANN = [("account_id", "ann")]


def faults(problem: object) -> list[tuple[str, str]]:
    assert isinstance(problem, Problem), problem
    return [(error["field"], error["code"]) for error in problem.errors]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", AccountQuery("ann")),
        ("sequence=1", AccountQuery("ann", at_sequence=1)),
        ("sequence=9223372036854775807", AccountQuery("ann", at_sequence=2**63 - 1)),
        ("min_sequence=0", AccountQuery("ann")),
        ("min_sequence=7&sequence=9", AccountQuery("ann", at_sequence=9, min_sequence=7)),
        ("at=1970-01-01T00:00:01Z", AccountQuery("ann", at_ms=1_000)),
        ("at=1970-01-01T01:00:01+01:00", AccountQuery("ann", at_ms=1_000)),
        ("at=1970-01-01T01%3A00%3A01%2B01%3A00", AccountQuery("ann", at_ms=1_000)),
    ],
)
def test_an_account_is_asked_for_at_one_moment(query: str, expected: AccountQuery) -> None:
    assert parse_account_query(ANN, split_query(query)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sequence=0", [("sequence", "number_out_of_range")]),
        ("sequence=9223372036854775808", [("sequence", "number_out_of_range")]),
        ("sequence=" + "9" * 20, [("sequence", "invalid_number")]),
        ("sequence=", [("sequence", "invalid_number")]),
        ("sequence", [("sequence", "invalid_number")]),
        ("sequence=-1", [("sequence", "invalid_number")]),
        ("sequence=+1", [("sequence", "invalid_number")]),
        ("sequence=1_0", [("sequence", "invalid_number")]),
        ("sequence=1.0", [("sequence", "invalid_number")]),
        ("sequence=%EF%BC%91", [("sequence", "invalid_number")]),  # full-width 1
        ("sequence=%FF", [("sequence", "invalid_number")]),
        ("sequence=1%0A", [("sequence", "invalid_number")]),
        ("at=yesterday", [("at", "invalid_instant")]),
        ("at=1970-01-01T00:00:00Z&sequence=1", [("sequence", "conflicting_fields")]),
        ("sequence=1&sequence=1", [("sequence", "duplicate_field")]),
        ("foo=1&bar", [("foo", "unknown_field"), ("bar", "unknown_field")]),
        ("limit=1", [("limit", "unknown_field")]),
        ("Sequence=1", [("Sequence", "unknown_field")]),
        (
            "at=x&min_sequence=y&z",
            [("at", "invalid_instant"), ("min_sequence", "invalid_number"), ("z", "unknown_field")],
        ),
    ],
)
def test_bad_parameters_are_named(query: str, expected: list[tuple[str, str]]) -> None:
    assert faults(parse_account_query(ANN, split_query(query))) == expected


def test_a_query_cannot_replace_the_account_of_the_path() -> None:
    found = parse_account_query(ANN, split_query("account_id=bob"))
    assert faults(found) == [("account_id", "duplicate_field")]


@pytest.mark.parametrize("account_id", ["a.b", "a b", "*", "", "a" * 65, "ann\n", "a/b", "\ufffd"])
def test_a_bad_identifier_in_the_path_is_named(account_id: str) -> None:
    path = [("account_id", account_id)]
    expected = [("account_id", "invalid_identifier")]
    assert faults(parse_account_query(path, [])) == expected
    assert faults(parse_entries_query(path, [])) == expected
    path += [("transaction_id", account_id)]
    expected += [("transaction_id", "invalid_identifier")]
    assert faults(parse_transfer_query(path, [], wait_ms=0)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", EntriesQuery("ann", limit=50)),
        ("limit=1", EntriesQuery("ann", limit=1)),
        ("limit=500&min_sequence=3", EntriesQuery("ann", limit=500, min_sequence=3)),
        (
            f"page_token={encode_page_token('ann', 77)}",
            EntriesQuery("ann", limit=50, before_sequence=77),
        ),
    ],
)
def test_entries_are_asked_for_by_the_page(query: str, expected: EntriesQuery) -> None:
    assert parse_entries_query(ANN, split_query(query)) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=0", [("limit", "number_out_of_range")]),
        ("limit=501", [("limit", "number_out_of_range")]),
        ("page_token=", [("page_token", "invalid_page_token")]),
        ("page_token=77", [("page_token", "invalid_page_token")]),
        ("page_token=%C3%A9", [("page_token", "invalid_page_token")]),
        (
            f"page_token={encode_page_token('bob', 77)}",
            [("page_token", "invalid_page_token")],
        ),
        (
            f"page_token={encode_page_token('ann', 77)}%0A",
            [("page_token", "invalid_page_token")],
        ),
    ],
)
def test_a_bad_page_is_refused(query: str, expected: list[tuple[str, str]]) -> None:
    assert faults(parse_entries_query(ANN, split_query(query))) == expected


@given(st.integers(1, 2**63 - 1), st.text("abcXYZ019_-", min_size=1, max_size=64))
def test_a_page_token_keeps_its_place(sequence: int, account_id: str) -> None:
    assert decode_page_token(account_id, encode_page_token(account_id, sequence)) == sequence


@given(st.text("ABCabc012_-+/=\u00e9 ", max_size=20))
def test_a_made_up_page_token_is_no_place(text: str) -> None:
    assert decode_page_token("ann", text) is None


def test_a_transfer_is_asked_for_by_its_name() -> None:
    path = [*ANN, ("transaction_id", "t-1")]
    assert parse_transfer_query(path, [], wait_ms=5) == TransferQuery("ann", "t-1", wait_ms=5)


def test_a_call_without_parameters_takes_none() -> None:
    assert parse_no_parameters([]) is None
    assert faults(parse_no_parameters(split_query("a=1"))) == [("a", "unknown_field")]


def test_unfinished_transfers_are_asked_for_up_to_a_limit() -> None:
    assert parse_unfinished_query([]) == UnfinishedQuery(limit=50)
    assert parse_unfinished_query(split_query("limit=500")) == UnfinishedQuery(limit=500)
    expected = [("limit", "number_out_of_range")]
    assert faults(parse_unfinished_query(split_query("limit=501"))) == expected
    assert faults(parse_unfinished_query(split_query("limit=0"))) == expected
    assert faults(parse_unfinished_query(split_query("min_sequence=1"))) == [
        ("min_sequence", "unknown_field")
    ]
