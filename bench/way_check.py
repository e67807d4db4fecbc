"""Makes sure that the wallet heeds the way that a load asks for, before anything is measured."""

import json
import random
from collections.abc import Sequence
from urllib.request import Request, urlopen

from bench.choice import Choice
from bench.settings import BenchError


def check_ways(base_url: str, choice: Choice, ways: Sequence[str]) -> None:
    """Make one transfer between partitions by each way; BenchError unless the answer names it."""
    chance = random.Random(0)  # noqa: S311 - chooses accounts
    for way in ways:
        payer, payee = choice.pair(chance, crosses=True)
        answer = _transfer(base_url, choice.ids[payer], choice.ids[payee], way)
        if answer.get("coordination") != way:
            raise BenchError(f"a transfer by {way} was answered with {answer}")


def _transfer(base_url: str, payer: str, payee: str, way: str) -> dict[str, object]:
    body = {
        "from_account_id": payer,
        "to_account_id": payee,
        "amount": "1.00",
        "currency": "USD",
        "transaction_id": f"check-{way}",
    }
    headers = {"Content-Type": "application/json", "Wallet-Coordination": way}
    request = Request(  # noqa: S310 - the wallet's own address
        f"{base_url}/wallet/transfer", json.dumps(body).encode(), headers
    )
    with urlopen(request, timeout=30) as answer:  # noqa: S310 - likewise
        document: dict[str, object] = json.load(answer)
    return document
