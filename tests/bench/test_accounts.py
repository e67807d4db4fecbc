"""The accounts of a load, and the partitions that the load generator puts them in."""

from pathlib import Path

import pytest

from bench.accounts import account_ids, by_partition, write_accounts
from contracts.partitioning import SlotMap


@pytest.mark.parametrize("partitions", [1, 4, 7])
def test_the_load_and_the_wallet_agree_on_every_partition(partitions: int) -> None:
    ids = account_ids(500)
    groups = by_partition(ids, partitions)
    slots = SlotMap.even(partitions)
    assert sorted(account_id for group in groups for account_id in group) == ids
    for partition, group in enumerate(groups):
        assert {slots.partition_of(account_id) for account_id in group} == {partition}


def test_account_ids_differ_and_are_of_one_length() -> None:
    ids = account_ids(1_000)
    assert len(set(ids)) == 1_000
    assert len({len(account_id) for account_id in ids}) == 1


def test_the_file_for_wrk_has_a_line_per_partition(tmp_path: Path) -> None:
    path = tmp_path / "accounts.txt"
    write_accounts(path, [["a", "b"], ["c"]])
    assert path.read_text() == "a b\nc\n"
