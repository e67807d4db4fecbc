"""Results: what a reader tells a proxy about one command."""

from msgspec import Struct

from contracts.coordination import Coordination
from contracts.rejections import Rejection


class Result(Struct, frozen=True, array_like=True):
    """The outcome of one request. Money and currency stand in the request itself."""

    request_number: int
    rejection: Rejection | None
    """None when it was done."""
    balance_minor: int
    """Posted balance of the payer (or opened account) just after the deciding event."""
    sequence: int
    """Of the deciding event: for a repeat, that of the first time."""
    at_ms: int
    """Of the deciding event, Unix ms."""
    repeated: bool
    coordination: Coordination = Coordination.NONE
    """How it was made all-or-nothing; NONE too if it was refused before that."""
