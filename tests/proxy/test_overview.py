"""Who answers for which partition, and when the wallet counts as ready."""

from __future__ import annotations

from contracts.parties import COORDINATOR
from contracts.status import (
    ReaderPartition,
    ReaderStatus,
    WriterCoordinator,
    WriterPartition,
    WriterStatus,
)
from proxy.core.overview import (
    Overview,
    coordinator_overviews,
    missing_parts,
    partition_overviews,
)

SLOTS = [8_192, 8_192]


def led(partition: int, epoch: int, unfinished: int = 0, oldest_ms: int = 0) -> WriterPartition:
    return WriterPartition(
        partition=partition,
        epoch=epoch,
        sequence=9,
        in_flight=0,
        accounts=2,
        unfinished=unfinished,
        oldest_started_at_ms=oldest_ms,
    )


def run(epoch: int = 1, unfinished: int = 0, oldest_ms: int = 0) -> WriterCoordinator:
    return WriterCoordinator("c0", epoch, 5, 0, unfinished, oldest_ms)


def writer(
    name: str, partitions: list[WriterPartition], coordinators: list[WriterCoordinator]
) -> WriterStatus:
    return WriterStatus(name, partitions, coordinators)


def followed(partition: int) -> ReaderPartition:
    return ReaderPartition(
        partition=partition, sequence=8, stored_sequence=7, lag_frames=1, accounts=2
    )


def overview(writers: list[WriterStatus], readers: list[ReaderStatus]) -> Overview:
    return {
        "is_connected": True,
        "held_requests": 0,
        "partitions": partition_overviews(SLOTS, writers, readers),
        "coordinators": coordinator_overviews(writers),
    }


def test_of_two_writers_of_a_partition_the_later_epoch_leads() -> None:
    writers = [writer("old", [led(0, 3, 8, 1)], [run(3)]), writer("new", [led(0, 4)], [run(4)])]
    for order in (writers, writers[::-1]):
        shown = partition_overviews(SLOTS, order, [])[0]
        assert shown["writer"] is not None
        assert shown["writer"]["id"] == "new"
        assert (shown["unfinished"], shown["oldest_unfinished_at"]) == (0, None)
        [coordinator] = coordinator_overviews(order)
        assert (coordinator["writer"], coordinator["epoch"]) == ("new", 4)


def test_unfinished_transfers_are_counted_where_they_started() -> None:
    writers = [writer("w", [led(1, 1, unfinished=3, oldest_ms=1_000)], [run(1, 2, 2_000)])]
    found = overview(writers, [])
    counted = [(part["unfinished"], part["oldest_unfinished_at"]) for part in found["partitions"]]
    assert counted == [(None, None), (3, "1970-01-01T00:00:01.000Z")]
    [coordinator] = found["coordinators"]
    assert coordinator["unfinished"] == 2
    assert coordinator["oldest_unfinished_at"] == "1970-01-01T00:00:02.000Z"


def test_a_partition_has_its_slots_whoever_leads_it() -> None:
    shown = partition_overviews([10_000, 6_384], [], [])
    assert [(part["slots"], part["writer"]) for part in shown] == [(10_000, None), (6_384, None)]


def test_every_reader_of_a_partition_is_shown() -> None:
    readers = [ReaderStatus("one", [followed(0), followed(1)]), ReaderStatus("two", [followed(1)])]
    shown = partition_overviews(SLOTS, [], readers)
    ids = [[reader["id"] for reader in part["readers"]] for part in shown]
    assert ids == [["one"], ["one", "two"]]


def test_who_stands_by_is_shown_where_it_does() -> None:
    standby = WriterStatus("b", [], [], standing_by=[0, COORDINATOR])
    found = overview([writer("a", [led(0, 1), led(1, 1)], [run()]), standby], [])
    assert [part["standbys"] for part in found["partitions"]] == [["b"], []]
    assert [each["standbys"] for each in found["coordinators"]] == [["b"]]


def test_the_wallet_is_ready_with_a_writer_and_a_reader_for_every_partition() -> None:
    writers = [writer("w", [led(0, 1), led(1, 1)], [run()])]
    readers = [ReaderStatus("r", [followed(0), followed(1)])]
    assert missing_parts(overview(writers, readers)) == []


def test_every_missing_part_is_named() -> None:
    found = overview([writer("w", [led(1, 1)], [])], [ReaderStatus("r", [followed(0)])])
    assert [(part["field"], part["code"]) for part in missing_parts(found)] == [
        ("partition.0", "no_writer"),
        ("partition.1", "no_reader"),
    ]


def test_without_a_connection_nothing_else_is_claimed() -> None:
    found = overview([], [])
    found["is_connected"] = False
    assert [part["code"] for part in missing_parts(found)] == ["not_connected"]
