"""`ewallet balance`, `entries` and `status`: questions that change nothing."""

import click

from ewallet.asking import ask, client_options, print_json
from ewallet.documents import PartitionStatus
from ewallet.options import IDENTIFIER
from ewallet.tables import render_table

STATUS_HEADER = (
    "partition",
    "writer",
    "epoch",
    "sequence",
    "in flight",
    "reader",
    "projected",
    "stored",
    "lag (frames)",
)


@click.command()
@click.argument("account_id", metavar="ID", type=IDENTIFIER)
@click.option("--at", help="As it was at this time, such as 2026-01-31T12:00:00Z.")
@click.option("--sequence", type=click.IntRange(min=0), help="As it was at this sequence.")
@client_options
def balance(
    *,
    account_id: str,
    at: str | None,
    sequence: int | None,
    url: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Show what the account ID has, now or at a past moment."""
    if at is not None and sequence is not None:
        raise click.UsageError("Give --at or --sequence, not both.")
    answer = ask(url, timeout, lambda client: client.account(account_id, at=at, sequence=sequence))
    if as_json:
        print_json(answer.body)
        return
    account = answer.document
    header = ("account", "currency", "balance", "held", "available", "partition", "sequence")
    values = (account.account_id, account.currency, account.balance, account.held)
    place = (account.available, account.partition, account.sequence)
    click.echo(render_table((*header, "as of"), [(*values, *place, account.as_of)]))


@click.command()
@click.argument("account_id", metavar="ID", type=IDENTIFIER)
@click.option("--limit", type=click.IntRange(min=1), help="Lines per page.")
@click.option("--page-token", help="The next page, as the page before it says.")
@client_options
def entries(
    *,
    account_id: str,
    limit: int | None,
    page_token: str | None,
    url: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Show the statement of the account ID, newest first."""
    answer = ask(
        url, timeout, lambda client: client.entries(account_id, limit=limit, page_token=page_token)
    )
    if as_json:
        print_json(answer.body)
        return
    page = answer.document
    rows = [
        (
            line.sequence,
            line.at,
            line.signed_amount,
            line.balance,
            line.counterparty_id,
            line.transaction_id,
        )
        for line in page.entries
    ]
    header = ("sequence", "at", "amount", "balance", "counterparty", "transaction")
    click.echo(render_table(header, rows))
    if page.next_page_token is not None:
        click.echo(f"more: --page-token {page.next_page_token}")


@click.command()
@client_options
def status(*, url: str, timeout: float, as_json: bool) -> None:
    """Show who leads and who follows each partition, and how far they are."""
    answer = ask(url, timeout, lambda client: client.status())
    if as_json:
        print_json(answer.body)
        return
    rows = [row for line in answer.document.partitions for row in status_rows(line)]
    click.echo(render_table(STATUS_HEADER, rows))
    if not answer.document.is_connected:
        click.echo(f"the proxy that answers at {url} has no connection to its broker", err=True)


def status_rows(line: PartitionStatus) -> list[tuple[object, ...]]:
    """Return a partition's rows under STATUS_HEADER: one per reader, one if there is none."""
    leader = line.writer
    led: tuple[object, ...] = (
        (leader.id, leader.epoch, leader.sequence, leader.in_flight)
        if leader
        else ("nobody", None, None, None)
    )
    if not line.readers:
        return [(line.partition, *led, "nobody", None, None, None)]
    return [
        (
            line.partition,
            *led,
            reader.id,
            reader.sequence,
            reader.stored_sequence,
            reader.lag_frames,
        )
        for reader in line.readers
    ]
