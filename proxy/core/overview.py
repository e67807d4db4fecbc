"""Who answers for which partition just now, and what is missing before the wallet can work."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

from msgspec import Meta

from contracts.parties import COORDINATOR
from contracts.status import ReaderStatus, WriterCoordinator, WriterPartition, WriterStatus
from proxy.core.fields import FieldProblem
from proxy.core.instants import format_instant
from proxy.core.representations import Moment

TipHash = Annotated[
    str,
    Meta(
        description=(
            "Hash of the frame of `sequence`, hexadecimal: at the same sequence writer and readers"
            " of a partition have the same one. Empty: it does not say."
        )
    ),
]


class LeadingWriter(TypedDict):
    """The writer that leads a partition."""

    id: str
    epoch: int
    sequence: Annotated[int, Meta(description="Of the last durable event.")]
    in_flight: Annotated[int, Meta(description="Frames appended and not acknowledged yet.")]
    accounts: int
    tip_hash: TipHash


class FollowingReader(TypedDict):
    """A reader that follows a partition."""

    id: str
    sequence: Annotated[int, Meta(description="Of the last event projected and pushed.")]
    stored_sequence: Annotated[int, Meta(description="Of the last event in the read store.")]
    lag_frames: Annotated[int, Meta(description="Frames received and not projected yet.")]
    accounts: int
    tip_hash: TipHash
    unchained_frames: Annotated[
        int,
        Meta(
            description=(
                "Frames that did not chain on the tip, and so did not count, since it started:"
                " those of a deposed writer, or somebody else's."
            )
        ),
    ]


Standbys = Annotated[
    list[str], Meta(description="Ids of the writers that could lead it at once instead.")
]
OldestUnfinished = Annotated[
    Moment | None, Meta(description="When the oldest unfinished transfer was started.")
]


class PartitionOverview(TypedDict):
    """One partition: its writer (null without one) and its readers."""

    partition: int
    slots: Annotated[int, Meta(description="Hash slots that it has.")]
    writer: LeadingWriter | None
    standbys: Standbys
    unfinished: Annotated[
        int | None,
        Meta(description="Transfers started here that have no outcome; null without a writer."),
    ]
    oldest_unfinished_at: OldestUnfinished
    readers: list[FollowingReader]


class CoordinatorOverview(TypedDict):
    """A coordinator of transfers between partitions."""

    name: str
    writer: Annotated[str, Meta(description="Id of the writer that runs it.")]
    standbys: Standbys
    epoch: int
    sequence: Annotated[int, Meta(description="Of the last durable event.")]
    in_flight: Annotated[int, Meta(description="Frames appended and not acknowledged yet.")]
    unfinished: Annotated[int, Meta(description="Transfers that it has in hand.")]
    oldest_unfinished_at: OldestUnfinished


class Overview(TypedDict):
    """The wallet as one proxy process sees it."""

    is_connected: Annotated[bool, Meta(description="This proxy process to its broker.")]
    held_requests: Annotated[int, Meta(description="Of this proxy process.")]
    partitions: list[PartitionOverview]
    coordinators: list[CoordinatorOverview]


class Healthy(TypedDict):
    """The process lives, or the wallet is ready."""

    status: str


def partition_overviews(
    slot_counts: Sequence[int], writers: Sequence[WriterStatus], readers: Sequence[ReaderStatus]
) -> list[PartitionOverview]:
    """Everyone's partitions, by partition; slot_counts says how many slots each has.

    Of two writers that both claim one, the later epoch.
    """
    found = [_unled(partition, slots) for partition, slots in enumerate(slot_counts)]
    for shown in found:
        shown["standbys"] = _standbys(shown["partition"], writers)
    for writer in writers:
        for led in writer.partitions:
            known = found[led.partition]["writer"]
            if known is None or known["epoch"] < led.epoch:
                _lead(found[led.partition], writer.id, led)
    for reader in readers:
        for followed in reader.partitions:
            found[followed.partition]["readers"].append(
                {
                    "id": reader.id,
                    "sequence": followed.sequence,
                    "stored_sequence": followed.stored_sequence,
                    "lag_frames": followed.lag_frames,
                    "accounts": followed.accounts,
                    "tip_hash": followed.tip_hash,
                    "unchained_frames": followed.unchained_frames,
                }
            )
    return found


def _unled(partition: int, slots: int) -> PartitionOverview:
    return {
        "partition": partition,
        "slots": slots,
        "writer": None,
        "standbys": [],
        "unfinished": None,
        "oldest_unfinished_at": None,
        "readers": [],
    }


def _lead(shown: PartitionOverview, writer_id: str, led: WriterPartition) -> None:
    shown["writer"] = {
        "id": writer_id,
        "epoch": led.epoch,
        "sequence": led.sequence,
        "in_flight": led.in_flight,
        "accounts": led.accounts,
        "tip_hash": led.tip_hash,
    }
    shown["unfinished"] = led.unfinished
    shown["oldest_unfinished_at"] = _oldest(led)


def coordinator_overviews(writers: Sequence[WriterStatus]) -> list[CoordinatorOverview]:
    """The coordinators by name. Of two writers that both claim one, the later epoch."""
    found: dict[str, CoordinatorOverview] = {}
    for writer in writers:
        for run in writer.coordinators:
            if run.name not in found or found[run.name]["epoch"] < run.epoch:
                found[run.name] = {
                    "name": run.name,
                    "writer": writer.id,
                    "standbys": _standbys(COORDINATOR, writers),
                    "epoch": run.epoch,
                    "sequence": run.sequence,
                    "in_flight": run.in_flight,
                    "unfinished": run.unfinished,
                    "oldest_unfinished_at": _oldest(run),
                }
    return [found[name] for name in sorted(found)]


def _standbys(party: int, writers: Sequence[WriterStatus]) -> list[str]:
    return sorted(writer.id for writer in writers if party in writer.standing_by)


def _oldest(party: WriterPartition | WriterCoordinator) -> str | None:
    return format_instant(party.oldest_started_at_ms) if party.unfinished else None


def missing_parts(overview: Overview) -> list[FieldProblem]:
    """What keeps the wallet from working; empty when it is ready.

    Without a coordinator most transfers work, so `/wallet/status` alone says that there is none.
    """
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
