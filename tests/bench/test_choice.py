"""Which accounts a load chooses."""

import random
from collections import Counter

import pytest

from bench.accounts import account_ids
from bench.choice import PARTITIONS, choice_of, weights
from bench.settings import BenchError
from contracts.partitioning import SlotMap


def test_hot_accounts_follow_zipfs_law() -> None:
    assert weights("hot", 4) == [1, 1 / 2, 1 / 3, 1 / 4]
    assert weights("uniform", 3) == [1, 1, 1]


@pytest.mark.parametrize("crosses", [True, False])
def test_a_pair_is_of_two_accounts_near_or_far_as_wanted(*, crosses: bool) -> None:
    choice, chance = choice_of("hot", account_ids(100)), random.Random(1)
    slots = SlotMap.even(PARTITIONS)
    for _ in range(500):
        payer, payee = choice.pair(chance, crosses=crosses)
        assert payer != payee
        sides = {slots.partition_of(choice.ids[number]) for number in (payer, payee)}
        assert (len(sides) == 2) == crosses


def test_the_first_account_is_picked_as_often_as_its_weight_says() -> None:
    choice, chance = choice_of("hot", account_ids(1_000)), random.Random(1)
    picked = Counter(choice.pick(chance) for _ in range(20_000))
    expected = 20_000 / sum(1 / rank for rank in range(1, 1_001))
    assert picked[0] == pytest.approx(expected, rel=0.1)
    assert picked[1] == pytest.approx(expected / 2, rel=0.1)


def test_a_partition_with_one_account_is_refused() -> None:
    """No payee could ever be found within it."""
    with pytest.raises(BenchError, match="too few"):
        choice_of("uniform", account_ids(4))
