"""What clients of a simulated wallet want: transfers that meet each other as often as possible.

Few accounts in every partition, so that they are hot, cycle and run dry; names that are used again
with the same and with other content; accounts that do not exist or hold another currency; amounts
at the limits. All four ways are asked for.
"""

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Final

from contracts.commands import Command, OpenAccount, Transfer
from contracts.coordination import Coordination
from contracts.limits import AMOUNT_MINOR_MAX
from contracts.partitioning import SlotMap

_WAYS: Final = tuple(way for way in Coordination if way is not Coordination.NONE)
_CURRENCIES: Final = ("USD", "KRW")


class Workload:
    """The commands of one run, in the order in which clients take them."""

    def __init__(self, chance: Random, slots: SlotMap, *, transfers: int) -> None:
        self._chance = chance
        self._left = transfers
        self._numbers = count(1)
        self._ids = dict[tuple[int, str], str]()
        for partition in range(slots.partition_count):
            for kind in ("issuer", "a", "b", "c", "other", "full", "rich", "nobody"):
                self._ids[partition, kind] = _id_in(slots, partition, kind)
        self._partitions = range(slots.partition_count)
        self._cross_share = chance.choice((0.3, 0.7, 1.0))
        self._ways = chance.choice((_WAYS, _WAYS, *((way,) for way in _WAYS)))
        self._sent: list[Transfer] = []

    def openings(self) -> list[OpenAccount]:
        """The accounts that there shall be; some payers and payees are not among them."""
        opened = []
        for (_, kind), account_id in self._ids.items():
            if kind != "nobody":
                currency = "KRW" if kind == "other" else "USD"
                limit = {"issuer": 10_000, "full": AMOUNT_MINOR_MAX}.get(kind, 0)
                opened.append(OpenAccount(account_id, currency, limit))
        return opened

    def take(self) -> Iterator[Command]:
        """What one more client wants, command by command; all clients share what there is."""
        while self._left > 0:
            self._left -= 1
            yield self._next()

    def _next(self) -> Command:
        chance = self._chance
        if self._sent and chance.random() < 0.12:
            return chance.choice(self._sent[-20:])
        if self._sent and chance.random() < 0.05:
            return self._conflicting(chance.choice(self._sent[-20:]))
        if chance.random() < 0.03:
            return chance.choice(self.openings())
        transfer = self._transfer()
        self._sent.append(transfer)
        return transfer

    def _conflicting(self, first: Transfer) -> Transfer:
        """The same name with other content, or only another way, which is no conflict."""
        amount, way = first.amount_minor, self._chance.choice(_WAYS)
        if self._chance.random() < 0.7:
            amount = amount % 1_000 + 1
        return Transfer(
            first.from_account_id,
            first.to_account_id,
            amount,
            first.currency,
            first.transaction_id,
            way,
        )

    def _transfer(self) -> Transfer:
        chance = self._chance
        payer_at = chance.choice(self._partitions)
        payee_at = (
            chance.choice(self._partitions) if chance.random() < self._cross_share else payer_at
        )
        payer = self._ids[payer_at, chance.choice(("issuer", "issuer", "a", "a", "b"))]
        payee = self._ids[payee_at, chance.choice(("a", "a", "b", "b", "issuer"))]
        if payer == payee and chance.random() < 0.9:
            payee = self._ids[payee_at, "c"]
        amount = chance.choice((1, 7, 10, 40, 100, 250))
        kind = chance.random()
        if kind < 0.02:
            payer = self._ids[payer_at, "nobody"]
        elif kind < 0.05:
            payee = self._ids[payee_at, "nobody"]
        elif kind < 0.08:
            payee = self._ids[payee_at, "other"]
        elif kind < 0.12:
            payer, payee = self._ids[payer_at, "full"], self._ids[payee_at, "rich"]
            amount = chance.choice((AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX - 1, AMOUNT_MINOR_MAX // 2))
        elif kind < 0.14:
            payee = self._ids[payee_at, "rich"]
        currency = "KRW" if chance.random() < 0.02 else "USD"
        way = chance.choice(self._ways)
        return Transfer(payer, payee, amount, currency, f"t{next(self._numbers)}", way)


def _id_in(slots: SlotMap, partition: int, kind: str) -> str:
    """The first id of a kind that lives in a partition."""
    return next(
        account_id
        for number in count()
        if slots.partition_of(account_id := f"{kind}{number}") == partition
    )
