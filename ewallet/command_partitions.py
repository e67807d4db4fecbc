"""`ewallet partitions`: how evenly accounts and load are spread over the partitions."""

import asyncio
import json
from collections.abc import Sequence
from typing import Final

import click
from msgspec import Struct
from msgspec.structs import asdict

from ewallet.asking import ask, client_options
from ewallet.client import WalletClient
from ewallet.documents import PartitionStatus, Status
from ewallet.tables import render_table

PARTITIONS_HEADER: Final = ("partition", "slots", "accounts", "events", "events/s")


class PartitionLoad(Struct, frozen=True):
    """What one partition has, and what happens there; None: nobody leads it and tells."""

    partition: int
    slots: int
    accounts: int | None
    events: int | None
    """In its journal."""
    events_per_s: float | None


class Measured(Struct, frozen=True):
    """All partitions, over the time between two answers."""

    seconds: float
    partitions: list[PartitionLoad]

    @property
    def accounts_skew(self) -> float | None:
        """See `skew`."""
        return skew([each.accounts for each in self.partitions])

    @property
    def load_skew(self) -> float | None:
        """See `skew`."""
        return skew([each.events_per_s for each in self.partitions])


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 3_600),
    default=1.0,
    show_default=True,
    help="How long to measure the load.",
)
@client_options
def partitions(*, seconds: float, url: str, timeout: float, as_json: bool) -> None:
    """Show accounts, events, load and slots of each partition, and the skew.

    Skew is the largest value over the mean: 1 is perfectly even, and nothing has none.
    """
    measured = ask(url, timeout, lambda client: measure(client, seconds))
    click.echo(measured_json(measured) if as_json else measured_text(measured))


async def measure(client: WalletClient, seconds: float) -> Measured:
    """Ask twice, so many seconds apart."""
    clock = asyncio.get_running_loop().time
    earlier = await client.status()
    earlier_s = clock()
    await asyncio.sleep(seconds)
    later = await client.status()
    return compare(earlier.document, later.document, clock() - earlier_s)


def compare(earlier: Status, later: Status, seconds: float) -> Measured:
    """Return what the partitions have in the later answer and did since the earlier one."""
    events_before = {
        part.partition: part.writer.sequence for part in earlier.partitions if part.writer
    }
    return Measured(
        seconds,
        [_load(part, events_before.get(part.partition), seconds) for part in later.partitions],
    )


def _load(part: PartitionStatus, events_before: int | None, seconds: float) -> PartitionLoad:
    leader = part.writer
    if leader is None:
        return PartitionLoad(part.partition, part.slots, None, None, None)
    events_per_s = None
    if events_before is not None:
        events_per_s = (leader.sequence - events_before) / seconds
    return PartitionLoad(part.partition, part.slots, leader.accounts, leader.sequence, events_per_s)


def skew(values: Sequence[float | None]) -> float | None:
    """Return the largest of the known values over their mean; None when all are 0 or unknown."""
    known = [value for value in values if value is not None]
    return max(known) * len(known) / sum(known) if any(known) else None


def measured_text(measured: Measured) -> str:
    """Return a table of the partitions, and the skew below it."""
    rows = [
        (
            each.partition,
            each.slots,
            each.accounts,
            each.events,
            None if each.events_per_s is None else round(each.events_per_s),
        )
        for each in measured.partitions
    ]
    accounts = _skew_text([each.accounts for each in measured.partitions], "no accounts")
    load = _skew_text([each.events_per_s for each in measured.partitions], "no events")
    skews = f"accounts {accounts}, load {load}"
    return f"{render_table(PARTITIONS_HEADER, rows)}\nskew (largest / mean): {skews}"


def _skew_text(values: Sequence[float | None], nothing: str) -> str:
    """Write the skew; `nothing` is what to say when all known values are 0, "-" means unknown."""
    found = skew(values)
    if found is not None:
        return f"{found:.2f}"
    return "-" if all(value is None for value in values) else f"- ({nothing})"


def measured_json(measured: Measured) -> str:
    """Return the same for programs."""
    document = {
        "seconds": measured.seconds,
        "partitions": [asdict(each) for each in measured.partitions],
        "skew": {"accounts": measured.accounts_skew, "load": measured.load_skew},
    }
    return json.dumps(document)
