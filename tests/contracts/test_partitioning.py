"""Accounts are dealt to slots as Redis Cluster does, and slots to partitions by a map."""

import json
from collections import Counter

import pytest

from contracts.limits import PARTITION_COUNT_MAX, SLOT_COUNT
from contracts.partitioning import NotASlotMap, SlotMap, slot_of

COUNTS = [1, 2, 3, 4, 7, 64, 1_000, PARTITION_COUNT_MAX]


@pytest.mark.parametrize(
    ("key", "crc16"),
    # The first is in the Redis Cluster specification, the others in the tests of its client Jedis.
    [
        ("123456789", 0x31C3),
        ("", 0x0000),
        ("sfger132515", 0xA45C),
        ("hae9Napahngaikeethievubaibogiech", 0x58CE),
        ("AAAAAAAAAAAAAAAAAAAAAA", 0x92CD),
        ("Hello, World!", 0x4FD6),
    ],
)
def test_the_checksum_is_that_of_redis_cluster(key: str, crc16: int) -> None:
    assert slot_of(key) == crc16 % SLOT_COUNT


@pytest.mark.parametrize(
    ("key", "slot"),
    # The first two are the examples of CLUSTER KEYSLOT's documentation, where foo{hash_tag} counts
    # as hash_tag; the others are in the tests of several clients.
    [("somekey", 11058), ("hash_tag", 2515), ("foo", 12182), ("bar", 5061), ("hello", 866)],
)
def test_slots_are_those_that_redis_answers(key: str, slot: int) -> None:
    assert slot_of(key) == slot


def test_slots_are_those_of_the_table_in_redis() -> None:
    """The first keys of `src/crc16_slottable.h`, which has one for each slot in order."""
    keys = (
        "06S Qi 5L5 4Iu 4gY 460 1Y7 1LV 0QG ru 7Ok 4ji 4DE 65n 2JH I8 F9 SX 7nF 4KD "
        "4eh 6PK 2ke 1Ng 0Sv 4L 491 4hX 4Ft 5C4 2Hy 09R 021 0cX 4Xv 6mU 6Cy 42R 0Mt nF"
    )
    assert [slot_of(key) for key in keys.split()] == list(range(40))


@pytest.mark.parametrize("partition_count", COUNTS)
def test_an_even_map_deals_all_slots_in_contiguous_ranges_of_one_length(
    partition_count: int,
) -> None:
    slots = SlotMap.even(partition_count)
    assert slots.partition_count == partition_count
    shares = [slots.slots_of(partition) for partition in range(partition_count)]
    assert sum(shares) == SLOT_COUNT
    assert max(shares) - min(shares) <= 1
    assert len(json.loads(slots.encode())["ranges"]) == partition_count


@pytest.mark.parametrize("partition_count", [1, 2, 3, 4, 7, PARTITION_COUNT_MAX])
def test_every_partition_gets_its_even_share_of_accounts(partition_count: int) -> None:
    slots = SlotMap.even(partition_count)
    counts = Counter(slots.partition_of(f"account-{n}") for n in range(200 * partition_count))
    assert set(counts) == set(range(partition_count))
    assert min(counts.values()) > 100
    assert max(counts.values()) < 300


def test_an_account_lives_where_its_slot_is() -> None:
    owners = [slot % 5 for slot in range(SLOT_COUNT)]
    slots = SlotMap(owners, 6)
    for number in range(1_000):
        assert slots.partition_of(f"a-{number}") == owners[slot_of(f"a-{number}")]
    assert [slots.slots_of(partition) for partition in range(6)] == [
        3277,
        3277,
        3277,
        3277,
        3276,
        0,
    ]


@pytest.mark.parametrize("partition_count", COUNTS)
def test_a_map_is_read_back_as_it_was_written(partition_count: int) -> None:
    slots = SlotMap.even(partition_count)
    assert SlotMap.decode(slots.encode()) == slots
    assert hash(SlotMap.decode(slots.encode())) == hash(slots)


def test_maps_of_other_owners_or_more_partitions_differ() -> None:
    owners = [0] * SLOT_COUNT
    assert SlotMap(owners, 1) != SlotMap(owners, 2)
    assert SlotMap(owners, 2) != SlotMap.even(2)


def test_a_map_does_not_change_with_what_it_was_made_of() -> None:
    owners = [0] * SLOT_COUNT
    slots = SlotMap(owners, 2)
    owners[0] = 1
    assert slots.slots_of(0) == SLOT_COUNT


def test_a_stored_map_can_be_read_by_a_person() -> None:
    assert SlotMap.even(2).encode() == (
        b'{"partition_count": 2, "ranges": [\n'
        b'  {"first_slot":0,"last_slot":8191,"partition":0},\n'
        b'  {"first_slot":8192,"last_slot":16383,"partition":1}\n'
        b"]}\n"
    )


def stored(*ranges: tuple[int, int, int], partition_count: int = 2) -> bytes:
    document = {
        "partition_count": partition_count,
        "ranges": [
            {"first_slot": first, "last_slot": last, "partition": partition}
            for first, last, partition in ranges
        ],
    }
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is no slot map"),
        (b"[]", "it is no slot map"),
        (b'{"partition_count": 1}', "missing required field `ranges`"),
        (stored((0, 16_383, 0))[:-1], "it is no slot map"),
        (stored((0, 16_383, 0), partition_count=0), "partition_count"),
        (stored((0, 16_383, 0), partition_count=1_025), "partition_count"),
        (stored((0, 16_384, 0)), "last_slot"),
        (stored((-1, 16_383, 0)), "first_slot"),
        (stored(), "slots 0 to 16383 have no partition"),
        (stored((0, 16_382, 0)), "slots 16383 to 16383 have no partition"),
        (stored((1, 16_383, 0)), "slots 0 to 0 have no partition"),
        (stored((0, 99, 0), (200, 16_383, 1)), "slots 100 to 199 have no partition"),
        (stored((0, 100, 0), (100, 16_383, 1)), "slot 100 stands in two ranges"),
        (stored((8_192, 16_383, 1), (0, 8_191, 0)), "slots 0 to 8191 have no partition"),
        (stored((0, 8_191, 0), (8_192, 16_383, 1), (0, 9, 0)), "slot 0 stands in two ranges"),
        (stored((0, 8_191, 0), (8_192, 8_191, 1)), "the range of slots 8192 to 8191 is none"),
        (stored((0, 8_191, 0), (8_192, 16_383, 2)), "belong to partition 2 of 2"),
    ],
)
def test_a_map_that_does_not_deal_every_slot_once_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(NotASlotMap, match=why):
        SlotMap.decode(data)
