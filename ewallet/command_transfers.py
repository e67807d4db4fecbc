"""`ewallet transfers`: what became of one transfer, and which have no outcome yet."""

from typing import Final

import click

from ewallet.asking import ask, client_options, print_json
from ewallet.documents import RecordedTransfer, UnfinishedTransfers
from ewallet.options import IDENTIFIER
from ewallet.tables import render_table

STEPS_HEADER: Final = ("step", "partition", "sequence", "at", "because of")

UNFINISHED_HEADER: Final = (
    "transaction",
    "from",
    "to",
    "amount",
    "currency",
    "coordination",
    "partition",
    "started",
    "age (ms)",
    "payer's last step",
)


@click.group()
def transfers() -> None:
    """Show recorded transfers."""


@transfers.command("show")
@click.argument("from_account_id", metavar="FROM", type=IDENTIFIER)
@click.argument("transaction_id", metavar="TRANSACTION_ID", type=IDENTIFIER)
@client_options
def show_transfer(
    *, from_account_id: str, transaction_id: str, url: str, timeout: float, as_json: bool
) -> None:
    """Show what became of the transfer TRANSACTION_ID of account FROM, step by step."""
    answer = ask(
        url, timeout, lambda client: client.recorded_transfer(from_account_id, transaction_id)
    )
    if as_json:
        print_json(answer.body)
        return
    click.echo(transfer_text(answer.document))


def transfer_text(found: RecordedTransfer) -> str:
    """Return a transfer's outcome in a line, and its steps, if it has some, in a table."""
    reason = f" ({found.code})" if found.code else ""
    balance = "" if found.balance is None else f", new balance {found.balance}"
    text = (
        f"{found.status}{reason}: {found.amount} {found.currency} from {found.from_account_id} to "
        f"{found.to_account_id}{balance} (partition {found.partition}, sequence "
        f"{found.sequence}, {found.at}, coordination {found.coordination})"
    )
    if not found.steps:
        return text
    rows = [
        (step.name, step.partition, step.sequence, step.at, step.code or "") for step in found.steps
    ]
    return f"{text}\n{render_table(STEPS_HEADER, rows)}"


@transfers.command("unfinished")
@click.option("--limit", type=click.IntRange(min=1), help="Show the oldest so many.")
@client_options
def unfinished_transfers(*, limit: int | None, url: str, timeout: float, as_json: bool) -> None:
    """Show the transfers between partitions that have no outcome yet, oldest first.

    Ages are counted by the wallet's clock. Only the payer's steps are listed here; the payee may
    be further: see `ewallet transfers show`.
    """
    answer = ask(url, timeout, lambda client: client.unfinished_transfers(limit=limit))
    if as_json:
        print_json(answer.body)
        return
    click.echo(unfinished_text(answer.document))


def unfinished_text(found: UnfinishedTransfers) -> str:
    """Return a table of unfinished transfers, and below it how many there are."""
    rows = [
        (
            each.transaction_id,
            each.from_account_id,
            each.to_account_id,
            each.amount,
            each.currency,
            each.coordination,
            each.partition,
            each.started_at,
            each.age_ms,
            each.last_step,
        )
        for each in found.transfers
    ]
    return f"{render_table(UNFINISHED_HEADER, rows)}\n{len(rows)} of {found.count} unfinished"
