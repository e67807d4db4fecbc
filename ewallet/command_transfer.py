"""`ewallet transfer`: move money once, however often the request has to be sent."""

import secrets

import click

from ewallet.asking import ask, client_options, print_json
from ewallet.options import COORDINATION, IDENTIFIER, setting


@click.command()
@click.argument("from_account_id", metavar="FROM", type=IDENTIFIER)
@click.argument("to_account_id", metavar="TO", type=IDENTIFIER)
@click.argument("amount")
@click.argument("currency")
@click.option(
    "--transaction-id", type=IDENTIFIER, help="Names the transfer; made up and shown if unset."
)
@setting(
    "--coordination",
    type=COORDINATION,
    help="How to make it all-or-nothing between partitions; the wallet's own way if unset.",
)
@client_options
def transfer(
    *,
    from_account_id: str,
    to_account_id: str,
    amount: str,
    currency: str,
    transaction_id: str | None,
    coordination: str | None,
    url: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Move AMOUNT (such as 10.50) of CURRENCY from account FROM to account TO.

    The same request is sent again until its outcome is known, for --timeout seconds at most.
    Exit code 75 means that the outcome is not known: run the command again with the same
    --transaction-id.
    """
    if transaction_id is None:
        transaction_id = secrets.token_hex(16)
        # Said first, so that it is known whatever happens to this process.
        click.echo(f"transaction id {transaction_id}", err=True)
    name = transaction_id
    answer = ask(
        url,
        timeout,
        lambda client: client.transfer(
            from_account_id, to_account_id, amount, currency, name, coordination=coordination
        ),
    )
    if as_json:
        print_json(answer.body)
        return
    done = answer.document
    click.echo(
        f"completed: {done.amount} {done.currency} from {done.from_account_id} to "
        f"{done.to_account_id}, new balance {done.balance} (partition {done.partition}, "
        f"sequence {done.sequence}, {done.completed_at}, coordination {done.coordination})"
    )
