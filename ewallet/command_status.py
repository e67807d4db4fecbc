"""`ewallet status`: who leads, follows and coordinates, and what is unfinished."""

from datetime import UTC, datetime
from typing import Final

import click

from ewallet.asking import ask, client_options, print_json
from ewallet.documents import CoordinatorStatus, PartitionStatus
from ewallet.tables import render_table

STATUS_HEADER: Final = (
    "partition",
    "writer",
    "standbys",
    "epoch",
    "sequence",
    "in flight",
    "unfinished",
    "oldest",
    "reader",
    "projected",
    "stored",
    "lag (frames)",
)

COORDINATOR_HEADER: Final = (
    "coordinator",
    "writer",
    "standbys",
    "epoch",
    "sequence",
    "in flight",
    "unfinished",
    "oldest",
)


@click.command()
@client_options
def status(*, url: str, timeout: float, as_json: bool) -> None:
    """Show who leads and who follows each partition, and how far they are.

    "unfinished" counts transfers between partitions that have no outcome yet, "oldest" is the
    age of the oldest by this machine's clock.
    """
    answer = ask(url, timeout, lambda client: client.status())
    if as_json:
        print_json(answer.body)
        return
    now = datetime.now(UTC)
    seen = answer.document
    rows = [row for line in seen.partitions for row in status_rows(line, now)]
    click.echo(render_table(STATUS_HEADER, rows))
    click.echo()
    click.echo(render_table(COORDINATOR_HEADER, coordinator_rows(seen.coordinators, now)))
    if not seen.is_connected:
        click.echo(f"the proxy that answers at {url} has no connection to its broker", err=True)


def status_rows(line: PartitionStatus, now: datetime) -> list[tuple[object, ...]]:
    """Return a partition's rows under STATUS_HEADER: one per reader, one if there is none."""
    leader = line.writer
    led: tuple[object, ...] = (
        (leader.id, len(line.standbys), leader.epoch, leader.sequence, leader.in_flight)
        if leader
        else ("nobody", len(line.standbys), None, None, None)
    )
    shared = (line.partition, *led, line.unfinished, age_text(line.oldest_unfinished_at, now))
    if not line.readers:
        return [(*shared, "nobody", None, None, None)]
    return [
        (*shared, reader.id, reader.sequence, reader.stored_sequence, reader.lag_frames)
        for reader in line.readers
    ]


def coordinator_rows(
    coordinators: list[CoordinatorStatus], now: datetime
) -> list[tuple[object, ...]]:
    """Return the rows under COORDINATOR_HEADER; one that says so if there is no coordinator."""
    return [
        (
            each.name,
            each.writer,
            len(each.standbys),
            each.epoch,
            each.sequence,
            each.in_flight,
            each.unfinished,
            age_text(each.oldest_unfinished_at, now),
        )
        for each in coordinators
    ] or [(None, "nobody", *[None] * 6)]


def age_text(since: str | None, now: datetime) -> str | None:
    """Return the seconds since an RFC 3339 moment, at least 0, as people read them."""
    if since is None:
        return None
    age_s = (now - datetime.fromisoformat(since)).total_seconds()
    return f"{max(0.0, age_s):.1f} s"
