"""`ewallet accounts`: open one or many, and watch how they change."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import click
import msgspec

from ewallet.asking import ask, client_options, print_json
from ewallet.client import WalletClient
from ewallet.live_documents import AccountChanged, News
from ewallet.options import IDENTIFIER

CONCURRENCY_MAX = 1_024
AMOUNT_WIDTH = 12


@click.group()
def accounts() -> None:
    """Open accounts, and watch them."""


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


@accounts.command("watch")
@click.argument("account_ids", metavar="ID...", type=IDENTIFIER, nargs=-1, required=True)
@client_options
def watch_accounts(
    *, account_ids: tuple[str, ...], url: str, timeout: float, as_json: bool
) -> None:
    """Show what the accounts ID... have, and every change of it as it happens, until Ctrl-C.

    A lost connection is made again, and nothing is missed; if that takes longer than --timeout,
    the command ends. With --json each line is a message as /asyncapi.json describes it.
    """
    width = max(map(len, account_ids))
    if not as_json:
        click.echo(watch_header(width))

    def show(news: News) -> None:
        click.echo(msgspec.json.encode(news) if as_json else watch_line(news, width))

    with suppress(KeyboardInterrupt):
        ask(url, timeout, lambda client: watch(client, account_ids, show))


async def watch(
    client: WalletClient, account_ids: Sequence[str], show: Callable[[News], None]
) -> None:
    """Show news of accounts until cancelled, and on standard error why it stalls."""

    def say_lost(reason: str) -> None:
        click.echo(f"trying again: {reason}", err=True)

    async with client.subscribe(*account_ids, on_loss=say_lost) as live:
        async for news in live:
            show(news)


def watch_header(width: int) -> str:
    """Return the line above those of `watch_line`."""
    amounts = "".join(f"{name:>{AMOUNT_WIDTH}}" for name in ("balance", "held", "available"))
    return f"{'at':<24}  {'account':<{width}}{amounts}  change"


def watch_line(news: News, width: int) -> str:
    """Return a line about an account whose id has at most `width` characters."""
    numbers = (news.balance, news.held, news.available)
    amounts = "".join(f"{number:>{AMOUNT_WIDTH}}" for number in numbers)
    line = f"{news.at}  {news.account_id:<{width}}{amounts}  {change_text(news)}"
    return f"{line} (changes before it were left out)" if news.conflated else line.rstrip()


def change_text(news: News) -> str:
    """Return what happened, in a few words."""
    if isinstance(news, AccountChanged):
        return f"{news.direction} {news.amount} {news.currency}, {news.transaction_id}"
    return f"{news.currency}, as it stands"
