"""Who answers for which partition just now, and what is missing before the wallet can work."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

from msgspec import Meta

from contracts.status import ReaderStatus, WriterStatus
from proxy.core.fields import FieldProblem


class LeadingWriter(TypedDict):
    """The writer that leads a partition."""

    id: str
    epoch: int
    sequence: Annotated[int, Meta(description="Of the last durable event.")]
    in_flight: Annotated[int, Meta(description="Frames appended and not acknowledged yet.")]
    accounts: int


class FollowingReader(TypedDict):
    """A reader that follows a partition."""

    id: str
    sequence: Annotated[int, Meta(description="Of the last event projected and pushed.")]
    stored_sequence: Annotated[int, Meta(description="Of the last event in the read store.")]
    lag_frames: Annotated[int, Meta(description="Frames received and not projected yet.")]
    accounts: int


class PartitionOverview(TypedDict):
    """One partition: its writer (null without one) and its readers."""

    partition: int
    writer: LeadingWriter | None
    readers: list[FollowingReader]


class Overview(TypedDict):
    """The wallet as one proxy process sees it."""

    is_connected: Annotated[bool, Meta(description="This proxy process to its broker.")]
    held_requests: Annotated[int, Meta(description="Of this proxy process.")]
    partitions: list[PartitionOverview]


class Healthy(TypedDict):
    """The process lives, or the wallet is ready."""

    status: str


def partition_overviews(
    partition_count: int, writers: Sequence[WriterStatus], readers: Sequence[ReaderStatus]
) -> list[PartitionOverview]:
    """Everyone's partitions, by partition. Of two writers that both claim one, the later epoch."""
    found: list[PartitionOverview] = [
        {"partition": partition, "writer": None, "readers": []}
        for partition in range(partition_count)
    ]
    for writer in writers:
        for led in writer.partitions:
            known = found[led.partition]["writer"]
            if known is None or known["epoch"] < led.epoch:
                found[led.partition]["writer"] = {
                    "id": writer.id,
                    "epoch": led.epoch,
                    "sequence": led.sequence,
                    "in_flight": led.in_flight,
                    "accounts": led.accounts,
                }
    for reader in readers:
        for followed in reader.partitions:
            found[followed.partition]["readers"].append(
                {
                    "id": reader.id,
                    "sequence": followed.sequence,
                    "stored_sequence": followed.stored_sequence,
                    "lag_frames": followed.lag_frames,
                    "accounts": followed.accounts,
                }
            )
    return found


def missing_parts(overview: Overview) -> list[FieldProblem]:
    """What keeps the wallet from working; empty when it is ready."""
    if not overview["is_connected"]:
        detail = "This proxy has no connection to its broker."
        return [{"field": "broker", "code": "not_connected", "detail": detail}]
    missing: list[FieldProblem] = []
    for part in overview["partitions"]:
        name = f"partition.{part['partition']}"
        if part["writer"] is None:
            missing.append({"field": name, "code": "no_writer", "detail": "It has no writer."})
        if not part["readers"]:
            missing.append({"field": name, "code": "no_reader", "detail": "It has no reader."})
    return missing
