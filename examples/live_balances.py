"""Watch two accounts while money moves between them.

Start a wallet (`make up`), and in another terminal:

    .venv/bin/python examples/live_balances.py

EWALLET_URL names a wallet elsewhere. Run it as often as you like: every run opens accounts of its
own.
"""

import asyncio
import os
from uuid import uuid4

from ewallet.client import WalletClient
from ewallet.client_faults import RefusedError
from ewallet.live_documents import AccountChanged
from ewallet.subscription import Subscription

URL = os.environ.get("EWALLET_URL", "http://127.0.0.1:8080")
RUN = uuid4().hex[:8]
SHOP, ALICE = f"shop-{RUN}", f"alice-{RUN}"


async def main() -> None:
    """Open two accounts, watch them, and move money."""
    # `timeout_s` is how long a call may take, with all its repeats, before it gives up.
    async with WalletClient(URL, timeout_s=30) as client:
        # Money comes from accounts that may go below zero: the shop may owe 100 dollars.
        await client.open_account(SHOP, "USD", overdraft_limit="100.00")
        await client.open_account(ALICE, "USD")

        # Open for as long as the block lasts. It finds its way back by itself when the
        # connection, a proxy or a reader dies, and goes on where it was.
        async with client.subscribe(SHOP, ALICE) as live:
            # Both accounts begin with how they stand. From then on, every change is told.
            for _ in range(2):
                state = await anext(live)
                print(f"{state.account_id} has {state.balance} {state.currency}")

            await asyncio.gather(move_money(client), print_changes(live))


async def move_money(client: WalletClient) -> None:
    """Pay three times, one of them twice, and once more than there is."""
    for number, amount in enumerate(("10.00", "2.50"), 1):
        # The id makes it happen once. If no answer comes, the client sends the same again
        # until it knows the outcome; so may you, now or in a year.
        paid = await client.transfer(SHOP, ALICE, amount, "USD", f"order-{number}")
        print(f"paid {amount}: the shop has {paid.document.balance}")
    await client.transfer(SHOP, ALICE, "2.50", "USD", "order-2")  # again: nothing moves

    try:
        await client.transfer(ALICE, SHOP, "1000.00", "USD", "refund-1")
    except RefusedError as refusal:
        print(f"refused: {refusal}")
    await client.transfer(ALICE, SHOP, "12.50", "USD", "refund-2")


async def print_changes(live: Subscription) -> None:
    """Print every change, until the last transfer has reached both accounts."""
    open_ends = {SHOP, ALICE}
    while open_ends:
        news = await anext(live)
        # An account that changes faster than it is read is told of anew, as a state with
        # `conflated` set. There are too few changes here for that.
        if isinstance(news, AccountChanged):
            print(f"  {news.account_id}: {news.direction} {news.amount}, now {news.balance}")
            if news.transaction_id == "refund-2" and news.direction in ("debit", "credit"):
                open_ends.discard(news.account_id)


if __name__ == "__main__":
    asyncio.run(main())
