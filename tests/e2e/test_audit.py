"""The audit finds out what became of every transfer, or fails. No cluster is started."""

from collections.abc import AsyncIterator, Collection
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.e2e.audit import check_load
from tests.e2e.history import Interval, Transfer
from tests.e2e.load import PacedBank, connected

pytestmark = pytest.mark.server


class LittleWallet:
    """Accepts every transfer, and may forget the records of some."""

    def __init__(self, forgotten: Collection[str] = ()) -> None:
        self._forgotten = forgotten
        self._answers: dict[str, dict[str, Any]] = {}

    async def transfer(self, request: web.Request) -> web.Response:
        name = (await request.json())["transaction_id"]
        sequence = len(self._answers) + 1
        answer = {
            "status": "completed",
            "balance": "1.00",
            "sequence": sequence,
            "partition": 0,
            "completed_at": sequence,
        }
        return web.json_response(self._answers.setdefault(name, answer), status=201)

    async def record(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name in self._forgotten or name not in self._answers:
            return web.json_response({}, status=404)
        return web.json_response(self._answers[name])

    async def start(self) -> tuple[web.AppRunner, str]:
        """Give what is to be cleaned up, and the address."""
        app = web.Application()
        app.router.add_post("/wallet/transfer", self.transfer)
        app.router.add_get("/wallet/accounts/{payer}/transfers/{name}", self.record)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return runner, f"http://{host}:{port}"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with connected() as session:
        yield session


def sent(bank: PacedBank, name: str) -> Transfer:
    """A transfer whose first request ended without an outcome."""
    transfer = Transfer("ann", "ben", name, 100, Interval(0.0))
    body = {"from_account_id": "ann", "transaction_id": name}
    bank.sent[transfer.name] = body, "choreography"
    bank.unsure.add(transfer.name)
    bank.cost.unknown += 1
    return transfer


def bank_at(url: str) -> PacedBank:
    bank = PacedBank(url)
    bank.begin()
    return bank


async def test_what_a_client_left_is_sent_again_and_resolved(
    session: aiohttp.ClientSession,
) -> None:
    runner, url = await LittleWallet().start()
    bank = bank_at(url)
    left = sent(bank, f"{bank.prefix}-left")
    bank.left.append(left)
    await check_load(session, bank)
    assert (bank.cost.resolved, bank.cost.unknown, bank.cost.lost) == (1, 1, 0)
    assert left.told is not None
    assert left.told.is_accepted
    await runner.cleanup()


async def test_a_transfer_whose_record_is_missing_is_not_resolved(
    session: aiohttp.ClientSession,
) -> None:
    bank = bank_at("")
    name = f"{bank.prefix}-left"
    runner, bank.url = await LittleWallet(forgotten=[name]).start()
    bank.left.append(sent(bank, name))
    with pytest.raises(AssertionError, match="outcome is not known"):
        await check_load(session, bank)
    assert (bank.cost.resolved, bank.cost.lost) == (0, 1)
    await runner.cleanup()


async def test_a_transfer_that_nobody_came_back_for_is_not_resolved(
    session: aiohttp.ClientSession,
) -> None:
    runner, url = await LittleWallet().start()
    bank = bank_at(url)
    sent(bank, f"{bank.prefix}-nobody")
    with pytest.raises(AssertionError, match="outcome is not known"):
        await check_load(session, bank)
    await runner.cleanup()
