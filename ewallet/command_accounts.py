"""`ewallet accounts open`: one account, or many."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator

import click

from ewallet.asking import ask, client_options, print_json
from ewallet.client import WalletClient
from ewallet.options import IDENTIFIER

CONCURRENCY_MAX = 1_024


@click.group()
def accounts() -> None:
    """Open accounts."""


@accounts.command("open")
@click.argument("account_id", metavar="[ID]", type=IDENTIFIER, required=False)
@click.option("--currency", required=True, help="ISO 4217 code, such as USD.")
@click.option("--overdraft-limit", help="How far below zero it may go, such as 10.00.")
@click.option("--count", type=click.IntRange(min=1), help="Open so many: PREFIX1, PREFIX2, …")
@click.option("--prefix", type=IDENTIFIER, default="user-", show_default=True)
@click.option(
    "--concurrency",
    type=click.IntRange(1, CONCURRENCY_MAX),
    default=64,
    show_default=True,
    help="Requests under way at a time.",
)
@client_options
def open_accounts(
    *,
    account_id: str | None,
    currency: str,
    overdraft_limit: str | None,
    count: int | None,
    prefix: str,
    concurrency: int,
    url: str,
    timeout: float,
    as_json: bool,
) -> None:
    """Open the account ID, or --count accounts at once. Doing it again changes nothing."""
    if (account_id is None) == (count is None):
        raise click.UsageError("Give either an account ID or --count.")
    if account_id is not None:
        answer = ask(url, timeout, lambda c: c.open_account(account_id, currency, overdraft_limit))
        if as_json:
            print_json(answer.body)
        else:
            opened = answer.document
            click.echo(
                f"{opened.account_id} is open: {opened.currency}, "
                f"overdraft limit {opened.overdraft_limit}, partition {opened.partition}"
            )
        return
    with click.progressbar(range(count or 0), label="opening accounts", file=sys.stderr) as bar:
        ask(
            url,
            timeout,
            lambda client: open_all(
                client,
                numbered(prefix, count or 0),
                currency=currency,
                overdraft_limit=overdraft_limit,
                concurrency=concurrency,
                opened=lambda: bar.update(1),
            ),
            connections=concurrency,
        )
    summary = {"opened": count, "first": f"{prefix}1", "last": f"{prefix}{count}"}
    text = f"{count} accounts are open: {prefix}1 … {prefix}{count}"
    click.echo(json.dumps(summary) if as_json else text)


def numbered(prefix: str, count: int) -> Iterator[str]:
    """Yield the ids prefix1 … prefix<count>."""
    return (f"{prefix}{number}" for number in range(1, count + 1))


async def open_all(
    client: WalletClient,
    account_ids: Iterator[str],
    *,
    currency: str,
    overdraft_limit: str | None,
    concurrency: int,
    opened: Callable[[], object],
) -> None:
    """Open accounts, so many at a time; `opened` is called after each.

    The first fault ends the work and is raised.
    """

    async def take_turns() -> None:
        for account_id in account_ids:  # shared: each id is taken once
            await client.open_account(account_id, currency, overdraft_limit)
            opened()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(take_turns())
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from None  # the others are its echoes
