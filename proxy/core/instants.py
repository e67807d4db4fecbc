"""Moments as text: RFC 3339 to Unix milliseconds and back, by arithmetic alone.

The calendar arithmetic is the proleptic Gregorian calendar counted from 0000-03-01, so that a
leap day is the last day of its year.
"""

import re
from functools import lru_cache
from typing import Final

INSTANT_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)
"""For schemas; `parse_instant` also checks that there is such a day and time."""

_INSTANT: Final = re.compile(
    r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d{1,9}))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)

_DAYS_PER_ERA: Final = 146_097
"""Days of 400 years."""

_EPOCH_DAY: Final = 719_468
"""Days from 0000-03-01 to 1970-01-01."""


def parse_instant(text: str) -> int | None:
    """Unix ms of an RFC 3339 date and time, digits beyond the millisecond cut; None if it is none.

    A leap second (":60") is the first moment of the next minute.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, offset_hour, offset_minute = match.group(7, 8, 9, 10)
    days = _days_to(year, month, day)
    if _civil(days) != (year, month, day):
        return None  # 31 April
    offset_s = (int(offset_hour or 0) * 60 + int(offset_minute or 0)) * 60
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    seconds += offset_s if sign == "-" else -offset_s
    return seconds * 1_000 + int((fraction or "").ljust(3, "0")[:3])


def format_instant(at_ms: int) -> str:
    """Write Unix ms of the years 0 … 9999 as "2031-02-03T04:05:06.789Z"."""
    seconds, ms = divmod(at_ms, 1_000)
    return f"{_second_text(seconds)}.{ms:03d}Z"


@lru_cache(maxsize=64)  # answers of one moment share their second
def _second_text(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    year, month, day = _civil(days)
    hour, minute, second = rest // 3_600, rest // 60 % 60, rest % 60
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


def _days_to(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date."""
    march_month = (month + 9) % 12
    march_year = year - march_month // 10
    day_of_year = (153 * march_month + 2) // 5 + day - 1
    leap_days = march_year // 4 - march_year // 100 + march_year // 400
    return march_year * 365 + leap_days + day_of_year - _EPOCH_DAY


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a count of days from 1970-01-01."""
    era, day_of_era = divmod(days + _EPOCH_DAY, _DAYS_PER_ERA)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = (march_month + 2) % 12 + 1
    return era * 400 + year_of_era + march_month // 10, month, day
