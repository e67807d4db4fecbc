"""What writers, readers and proxies say of themselves when asked on `subjects.status_subject`."""

from typing import Final

import msgspec
from msgspec import Struct


class WriterPartition(Struct, frozen=True):
    """One partition led by a writer."""

    partition: int
    epoch: int
    sequence: int
    """Of the last event known to be durable."""
    in_flight: int
    """Frames appended and not acknowledged yet."""
    accounts: int
    unfinished: int
    """Transfers to other partitions that were started here and have no outcome yet."""
    oldest_started_at_ms: int
    """When the oldest of them was started, Unix ms; 0 if there is none."""
    tip_hash: str = ""
    """Hash of the frame of `sequence`, hexadecimal; empty from a writer of an older version."""


class WriterCoordinator(Struct, frozen=True):
    """A coordinator run by a writer."""

    name: str
    epoch: int
    sequence: int
    in_flight: int
    unfinished: int
    oldest_started_at_ms: int


class WriterStatus(Struct, frozen=True, tag="writer"):
    """A writer process, the parties it leads and those it stands by for (others: recovering)."""

    id: str
    partitions: list[WriterPartition]
    coordinators: list[WriterCoordinator]
    standing_by: list[int] = []
    """Numbers of the parties whose journals it has read to the end: it could lead them at once."""


class ReaderPartition(Struct, frozen=True):
    """One partition followed by a reader."""

    partition: int
    sequence: int
    """Of the last event projected and pushed."""
    stored_sequence: int
    """Of the last event in the read store."""
    lag_frames: int
    """Frames received and not projected yet."""
    accounts: int
    tip_hash: str = ""
    """Hash of the frame of `sequence`, hexadecimal; empty from a reader of an older version."""
    unchained_frames: int = 0
    """Frames that did not chain on the tip, and so did not count, since this reader started."""


class ReaderStatus(Struct, frozen=True, tag="reader"):
    """A reader process and the partitions it follows."""

    id: str
    partitions: list[ReaderPartition]


class ProxyStatus(Struct, frozen=True, tag="proxy"):
    """A proxy process and the transfers that it has answered since it started."""

    id: str
    completed: int
    refused: int
    latency_counts: list[int]
    """By class of latency (`proxy.core.pace`)."""


ServiceStatus = WriterStatus | ReaderStatus | ProxyStatus

_DECODER: Final[msgspec.json.Decoder[ServiceStatus]] = msgspec.json.Decoder(ServiceStatus)


def encode_status(status: ServiceStatus) -> bytes:
    """JSON, so that an operator can read it with any NATS client."""
    return msgspec.json.encode(status)


def decode_status(data: bytes) -> ServiceStatus:
    """Raise msgspec.DecodeError for anything else."""
    return _DECODER.decode(data)
