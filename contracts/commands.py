"""Commands: requests to change something, imperative. Amounts are minor units.

Bounds of amounts and lengths are part of the types: a frame with a command outside them does not
decode, so no rule about money ever meets one. The alphabet of ids is checked at the edge only.
"""

from typing import Annotated

from msgspec import Meta, Struct

from contracts.coordination import Coordination
from contracts.limits import AMOUNT_MINOR_MAX, ID_LENGTH_MAX

Id = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]
Currency = Annotated[str, Meta(min_length=3, max_length=3)]
Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MINOR_MAX)]
Limit = Annotated[int, Meta(ge=0, le=AMOUNT_MINOR_MAX)]


class OpenAccount(Struct, frozen=True, array_like=True, tag=1):
    """Open an account in one currency. Its id is its idempotency key."""

    account_id: Id
    currency: Currency
    overdraft_limit_minor: Limit
    """How far below zero the posted balance may go."""

    @property
    def routing_account_id(self) -> str:
        """The account whose partition decides this command."""
        return self.account_id


class Transfer(Struct, frozen=True, array_like=True, tag=2):
    """Move an amount. (from_account_id, transaction_id) names the transfer for ever."""

    from_account_id: Id
    to_account_id: Id
    amount_minor: Amount
    currency: Currency
    transaction_id: Id
    coordination: Coordination = Coordination.CHOREOGRAPHY
    """The way, if its accounts live in different partitions; not a part of its content."""

    @property
    def routing_account_id(self) -> str:
        """The account whose partition decides this command: the payer."""
        return self.from_account_id


Command = OpenAccount | Transfer
