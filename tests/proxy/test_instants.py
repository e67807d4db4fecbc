"""Moments as text, against Python's own calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.instants import format_instant, parse_instant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)),  # noqa: DTZ001 # hypothesis wants naive bounds
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_a_moment_is_read_as_python_reads_it(naive: datetime, offset_minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    assert parse_instant(moment.isoformat()) == (moment - EPOCH) // timedelta(milliseconds=1)


@given(st.datetimes(min_value=datetime(1, 1, 1)))  # noqa: DTZ001 # hypothesis wants naive bounds
def test_a_moment_is_written_as_python_writes_it(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC)
    at_ms = (moment - EPOCH) // timedelta(milliseconds=1)
    written = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert format_instant(at_ms) == written
    assert parse_instant(written) == at_ms


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1970-01-01T00:00:00.0019Z", 1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2000-02-29T00:00:00Z", 951_782_400_000),
    ],
)
def test_the_forms_of_rfc_3339_are_read(text: str, at_ms: int) -> None:
    assert parse_instant(text) == at_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "0",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01 00:00:00Z",
        "1970-01-01T00:00Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00.1234567890Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:61Z",
        "1970-01-01T00:00:00+24:00",
        "1970-01-01T00:00:00+0100",
        "1970-00-01T00:00:00Z",
        "1970-13-01T00:00:00Z",
        "1970-04-31T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "+1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z\n",
        "\uff11970-01-01T00:00:00Z",
    ],
)
def test_what_is_no_moment_is_not_read(text: str) -> None:
    assert parse_instant(text) is None
