"""Amounts go from text to minor units and back by digits alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.limits import AMOUNT_MINOR_MAX
from contracts.money import DECIMALS, AmountProblem, format_amount, parse_amount


@pytest.mark.parametrize(
    ("text", "currency", "expected"),
    [
        ("10.50", "USD", 1050),
        ("10.5", "USD", 1050),
        ("10", "USD", 1000),
        ("0", "USD", 0),
        ("0.01", "USD", 1),
        ("1000", "KRW", 1000),
        ("1.234", "BHD", 1234),
        ("92233720368547758.07", "USD", AMOUNT_MINOR_MAX),
        ("92233720368547758.08", "USD", AmountProblem.RANGE),
        ("9223372036854775807", "JPY", AMOUNT_MINOR_MAX),
        ("9223372036854775808", "JPY", AmountProblem.RANGE),
        ("9" * 33, "JPY", AmountProblem.FORM),
        ("10.505", "USD", AmountProblem.DECIMALS),
        ("10.500", "USD", AmountProblem.DECIMALS),
        ("1.0", "KRW", AmountProblem.DECIMALS),
        ("", "USD", AmountProblem.FORM),
        ("-1", "USD", AmountProblem.FORM),
        ("+1", "USD", AmountProblem.FORM),
        ("1e3", "USD", AmountProblem.FORM),
        ("1_000", "USD", AmountProblem.FORM),
        ("1,000", "USD", AmountProblem.FORM),
        ("\uff11\uff12\uff13", "USD", AmountProblem.FORM),
        ("\u0661", "USD", AmountProblem.FORM),
        (" 1", "USD", AmountProblem.FORM),
        ("1\n", "USD", AmountProblem.FORM),
        ("1.", "USD", AmountProblem.FORM),
        (".5", "USD", AmountProblem.FORM),
        ("007", "USD", AmountProblem.FORM),
        ("NaN", "USD", AmountProblem.FORM),
        ("Infinity", "USD", AmountProblem.FORM),
        ("0x10", "USD", AmountProblem.FORM),
    ],
)
def test_a_text_is_an_amount_or_says_why_not(
    text: str, currency: str, expected: int | AmountProblem
) -> None:
    assert parse_amount(text, currency) == expected


@given(st.integers(min_value=0, max_value=AMOUNT_MINOR_MAX), st.sampled_from(sorted(DECIMALS)))
def test_what_is_written_reads_as_the_same_amount(minor: int, currency: str) -> None:
    assert parse_amount(format_amount(minor, currency), currency) == minor


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [(-5, "USD", "-0.05"), (-1050, "USD", "-10.50"), (-7, "JPY", "-7"), (0, "BHD", "0.000")],
)
def test_balances_below_zero_keep_their_decimals(minor: int, currency: str, text: str) -> None:
    assert format_amount(minor, currency) == text
