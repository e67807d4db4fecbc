"""Which accounts a transfer of the load is between: evenly chosen or hot, near or far."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from bench.accounts import by_partition
from bench.settings import BenchError

PARTITIONS = 4
ZIPF_EXPONENT = 1.0
DISTRIBUTIONS = ("uniform", "hot")


def weights(distribution: str, number: int) -> list[float]:
    """Return each account's weight, the heaviest first.

    Hot is Zipf's law with exponent 1: the second account is chosen half as often as the first,
    the third a third as often. Of 10,000 accounts the first is one side of 19 % of all transfers.
    """
    if distribution == "uniform":
        return [1.0] * number
    return [rank**-ZIPF_EXPONENT for rank in range(1, number + 1)]


@dataclass(frozen=True)
class Choice:
    """Accounts, the partition of each, and the sums of the weights up to and with each."""

    ids: Sequence[str]
    partitions: Sequence[int]
    sums: Sequence[float]

    def pick(self, chance: random.Random) -> int:
        """Return an account's number, from 0, chosen by weight."""
        (number,) = chance.choices(range(len(self.ids)), cum_weights=self.sums)
        return number

    def pair(self, chance: random.Random, *, crosses: bool) -> tuple[int, int]:
        """Return a payer and another account, whose partition differs or not as wanted."""
        payer = payee = self.pick(chance)
        while payee == payer or (self.partitions[payee] != self.partitions[payer]) != crosses:
            payee = self.pick(chance)
        return payer, payee

    def write(self, path: Path) -> None:
        """Write the file that `coordination.lua` reads."""
        rows = zip(self.ids, self.partitions, self.sums, strict=True)
        path.write_text(
            "".join(f"{name} {partition} {total!r}\n" for name, partition, total in rows)
        )


def choice_of(distribution: str, ids: list[str]) -> Choice:
    """Return the choice between accounts; BenchError when a partition has less than two of them.

    Names say nothing about slots, so the hottest accounts are spread over partitions by chance.
    """
    groups = by_partition(ids, PARTITIONS)
    if min(map(len, groups)) < 2:
        raise BenchError(f"{len(ids)} accounts are too few: each partition needs two")
    partition_of = {name: number for number, group in enumerate(groups) for name in group}
    return Choice(
        ids=ids,
        partitions=[partition_of[name] for name in ids],
        sums=list(accumulate(weights(distribution, len(ids)))),
    )
