"""Accounts are dealt to slots as Redis Cluster does, and slots evenly to partitions."""

import pytest

from contracts.limits import SLOT_COUNT
from contracts.partitioning import partition_of, slot_of


@pytest.mark.parametrize(
    ("account_id", "slot"),
    # 12739 is CRC16("123456789") = 0x31C3 of the Redis Cluster specification; the others are
    # answers of CLUSTER KEYSLOT quoted in its documentation.
    [("123456789", 0x31C3 % SLOT_COUNT), ("foo", 12182), ("bar", 5061), ("somekey", 11058)],
)
def test_slots_are_those_of_redis_cluster(account_id: str, slot: int) -> None:
    assert slot_of(account_id) == slot


@pytest.mark.parametrize("partition_count", [1, 2, 3, 4, 7, 1024])
def test_every_partition_gets_its_even_share_of_accounts(partition_count: int) -> None:
    counts = [0] * partition_count
    for number in range(200 * partition_count):
        counts[partition_of(f"account-{number}", partition_count)] += 1
    assert min(counts) > 100
    assert max(counts) < 300
