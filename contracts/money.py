"""Amounts: decimal strings at the API, whole minor units everywhere inside.

Neither float nor Decimal occurs: text goes to int and back by digits alone.
"""

import re
from enum import Enum
from typing import Final

from contracts.limits import AMOUNT_MINOR_MAX, AMOUNT_TEXT_LENGTH_MAX

AMOUNT_PATTERN: Final = r"^(0|[1-9][0-9]*)(\.[0-9]+)?$"

_AMOUNT: Final = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?", re.ASCII)

_CODES_BY_DECIMALS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN"
        " BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD"
        " FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW"
        " KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR"
        " MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG"
        " SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD"
        " USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

DECIMALS: Final[dict[str, int]] = {
    code: decimals for decimals, codes in _CODES_BY_DECIMALS.items() for code in codes.split()
}
"""Decimals of each currency (ISO 4217: number of minor unit digits)."""


class AmountProblem(Enum):
    """Why a text is not an amount of a currency; the value is the sentence for the client."""

    FORM = 'must be a decimal string such as "10.50": digits, optionally a point and digits'
    DECIMALS = "has more decimals than the currency"
    RANGE = f"must be at most {AMOUNT_MINOR_MAX} minor units"


def parse_amount(text: str, currency: str) -> int | AmountProblem:
    """Minor units (0 … 2^63 - 1) of a decimal text, or what is wrong with it.

    The currency must be a key of `DECIMALS`. Fewer decimals than the currency has are fine
    ("10.5" USD is 1050); more are refused even when they are zeros.
    """
    match = _AMOUNT.fullmatch(text) if len(text) <= AMOUNT_TEXT_LENGTH_MAX else None
    if match is None:
        return AmountProblem.FORM
    whole, fraction = match[1], match[2] or ""
    decimals = DECIMALS[currency]
    if len(fraction) > decimals:
        return AmountProblem.DECIMALS
    minor = int(whole + fraction.ljust(decimals, "0"))
    return minor if minor <= AMOUNT_MINOR_MAX else AmountProblem.RANGE


def format_amount(minor: int, currency: str) -> str:
    """Write minor units with exactly the currency's decimals: -5 USD is "-0.05"."""
    decimals = DECIMALS[currency]
    if decimals == 0:
        return str(minor)
    digits = str(abs(minor)).rjust(decimals + 1, "0")
    sign = "-" if minor < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"
