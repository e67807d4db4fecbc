"""The JSON messages of `/wallet/subscribe`, as `/asyncapi.json` describes them.

Fields that are not named here are ignored, so an older client understands a newer wallet.
"""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from ewallet.documents import Problem


class AccountStands(Struct, frozen=True, tag_field="type", tag="state"):
    """How an account stands. Amounts are decimal strings, here and below."""

    account_id: str
    currency: str
    balance: str
    held: str
    available: str
    overdraft_limit: str
    partition: int
    sequence: int
    at: str
    conflated: bool
    """Changes before it were left out: they were too many."""


class AccountChanged(Struct, frozen=True, tag_field="type", tag="change"):
    """What one event did to an account, and how it stands just after."""

    account_id: str
    currency: str
    balance: str
    held: str
    available: str
    partition: int
    sequence: int
    at: str
    transaction_id: str
    direction: Literal["debit", "credit", "hold", "release"]
    """`debit` and `credit` change the balance, `hold` and `release` only what is held."""
    amount: str
    conflated: bool
    """Changes before it were left out: this program, or its connection, was too slow."""


class Unsubscribed(Struct, frozen=True, tag_field="type", tag="unsubscribed"):
    """These accounts bring no more messages."""

    accounts: list[str]


class Pong(Struct, frozen=True, tag_field="type", tag="pong"):
    """The answer to a ping of the protocol's own. This client sees those of WebSocket itself."""


class LiveError(Problem, frozen=True, tag_field="type", tag="error"):
    """Something was refused: one account, or without it a whole message."""

    account_id: str | None = None


News = AccountStands | AccountChanged

LiveMessage = News | Unsubscribed | Pong | LiveError

LIVE_MESSAGE: Final[msgspec.json.Decoder[LiveMessage]] = msgspec.json.Decoder(LiveMessage)
