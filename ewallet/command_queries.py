"""`ewallet balance` and `entries`: questions about one account."""

import click

from ewallet.asking import ask, client_options, print_json
from ewallet.options import IDENTIFIER
from ewallet.tables import render_table


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
