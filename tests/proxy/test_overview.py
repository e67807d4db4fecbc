"""Who answers for which partition, and when the wallet counts as ready."""

from __future__ import annotations

from contracts.status import ReaderPartition, ReaderStatus, WriterPartition, WriterStatus
from proxy.core.overview import Overview, missing_parts, partition_overviews


def led(partition: int, epoch: int) -> WriterPartition:
    return WriterPartition(partition=partition, epoch=epoch, sequence=9, in_flight=0, accounts=2)


def followed(partition: int) -> ReaderPartition:
    return ReaderPartition(
        partition=partition, sequence=8, stored_sequence=7, lag_frames=1, accounts=2
    )


def overview(writers: list[WriterStatus], readers: list[ReaderStatus]) -> Overview:
    return {
        "is_connected": True,
        "held_requests": 0,
        "partitions": partition_overviews(2, writers, readers),
    }


def test_of_two_writers_of_a_partition_the_later_epoch_leads() -> None:
    writers = [WriterStatus("old", [led(0, 3)]), WriterStatus("new", [led(0, 4)])]
    for order in (writers, writers[::-1]):
        writer = partition_overviews(2, order, [])[0]["writer"]
        assert writer is not None
        assert writer["id"] == "new"


def test_every_reader_of_a_partition_is_shown() -> None:
    readers = [ReaderStatus("one", [followed(0), followed(1)]), ReaderStatus("two", [followed(1)])]
    shown = partition_overviews(2, [], readers)
    ids = [[reader["id"] for reader in part["readers"]] for part in shown]
    assert ids == [["one"], ["one", "two"]]


def test_the_wallet_is_ready_with_a_writer_and_a_reader_for_every_partition() -> None:
    writers = [WriterStatus("w", [led(0, 1), led(1, 1)])]
    readers = [ReaderStatus("r", [followed(0), followed(1)])]
    assert missing_parts(overview(writers, readers)) == []


def test_every_missing_part_is_named() -> None:
    found = overview([WriterStatus("w", [led(1, 1)])], [ReaderStatus("r", [followed(0)])])
    assert [(part["field"], part["code"]) for part in missing_parts(found)] == [
        ("partition.0", "no_writer"),
        ("partition.1", "no_reader"),
    ]


def test_without_a_connection_nothing_else_is_claimed() -> None:
    found = overview([], [])
    found["is_connected"] = False
    assert [part["code"] for part in missing_parts(found)] == ["not_connected"]
