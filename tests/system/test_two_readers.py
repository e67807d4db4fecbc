"""Two readers of one wallet, on a store each or on one PostgreSQL: either may die, nobody waits.

`ewallet up` supervises one; the other is a process of its own, as on another machine.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from broker.nats_broker import NatsBroker
from contracts.events import TransferCompleted
from contracts.queries import AccountQuery, NotFound, TransferQuery
from ewallet.nats_configuration import read_urls
from ewallet.permissions import Role
from proxy.service.questions import Questions
from reader.adapters.store_folder import present_file, store_folder
from reader.adapters.store_postgresql_database import connected
from reader.config import DatabaseAddress
from tests.postgresql_server import PostgresqlServer, setting_of
from tests.reader.desk import dump
from tests.system.bank import CLIENTS, Bank, open_accounts, read_model
from tests.system.embedded_stack import STOP_S_MAX, Stack
from tests.system.test_damage import some_transfers
from tests.system.test_kill import STALL_S_MAX, check

pytestmark = [pytest.mark.server, pytest.mark.faults]

OUTCOMES = 4 * CLIENTS
"""How many must become known before the next fault: each client goes on."""
MANY_QUESTIONS = 10 * (
    AccountQuery("a"),
    AccountQuery("a", min_sequence=1),
    TransferQuery("a", "t0", wait_ms=1_000),
)
"""The server tosses a coin for each, so either reader gets some of them."""


async def test_readers_with_a_store_each_stand_in_for_each_other(stack: Stack) -> None:
    other = stack.data.parent / "other"
    stack.start()
    await _load_and_kill_readers(stack, other, {})
    stores = [present_file(store_folder(folder), 0) for folder in (stack.data, other)]
    assert dump(stores[0]) == dump(stores[1])


async def test_readers_on_one_postgresql_stand_in_for_each_other(
    stack: Stack, database: DatabaseAddress
) -> None:
    setting = {"EWALLET_READ_STORE": setting_of(database)}
    stack.configure(**setting).start()
    await _load_and_kill_readers(stack, stack.data.parent / "other", setting)
    assert not store_folder(stack.data).exists(), "nothing is kept in files"
    events = stack.events()
    with connected(database) as db:
        (sequence,) = db.execute("SELECT sequence FROM cursors").fetchone() or (None,)
        (count,) = db.execute("SELECT count(*) FROM transfers").fetchone() or (None,)
    assert (sequence, count) == (
        len(events),
        sum(isinstance(event, TransferCompleted) for event in events),
    )


async def test_what_a_killed_reader_was_asked_the_other_one_answers(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question is soon asked once more; what is done when it is overdue would be too late."""
    too_late_s = 10 * STALL_S_MAX
    monkeypatch.setattr("proxy.service.questions._GRACE_MS", 1_000 * too_late_s)
    monkeypatch.setattr("proxy.service.questions._OVERDUE_S", too_late_s)
    monkeypatch.setattr("proxy.core.hedging.SOON_S_MIN", 2.0)  # by then the reader is dead
    stack.start()
    await some_transfers(stack.url, 1)
    configuration = (stack.data / "nats-server.conf").read_text()
    url, _ = read_urls(configuration, Role.PROXY)
    with _second_reader(stack, stack.data.parent / "other", {}):
        broker = await NatsBroker.connect(url, name="asker", role="proxy")
        questions = Questions(broker)
        stack.kill("reader", signal.SIGSTOP)  # it answers nothing that it is asked from now on
        asked = [asyncio.create_task(questions.ask(0, query)) for query in MANY_QUESTIONS]
        # Questions are sent by tasks that begin while the first of these is under way. The second
        # one goes out behind them: with its answer the server has handed out all of them.
        await broker.slot_map()
        await broker.slot_map()
        stack.kill("reader")
        async with asyncio.timeout(STALL_S_MAX):
            answers = await asyncio.gather(*asked)
        await broker.close()
    assert not any(isinstance(answer, NotFound) for answer in answers)


async def test_a_killed_postgresql_stops_no_transfer(
    stack: Stack, own_server: PostgresqlServer
) -> None:
    """What it is needed for is refused for the time, and never answered wrongly."""
    stack.configure(EWALLET_READ_STORE=setting_of(own_server.new_database())).start()
    bank = Bank(stack.url)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await open_accounts(session, stack.url)
        clients = [asyncio.create_task(bank.run_client(session, n)) for n in range(CLIENTS)]
        await _more_outcomes(bank)
        done = {name: told for name, told in bank.told.items() if told["http"] == 201}
        payer, transaction_id = next(iter(done))
        await _stored(session, stack.url, done[payer, transaction_id]["sequence"])
        own_server.kill()
        await _more_outcomes(bank)
        url = f"{stack.url}/wallet/accounts/{payer}"
        async with session.get(url) as response:
            assert response.status == 200, "the present is in memory"
        async with session.get(f"{url}/transfers/{transaction_id}") as response:
            assert (response.status, "Retry-After" in response.headers) == (503, True)
        own_server.start()
        await _more_outcomes(bank)
        bank.is_over = True
        await asyncio.gather(*clients)
        shown = await read_model(session, stack.url, bank)
    stack.stop()
    check(stack.events(), bank, shown)
    assert not bank.errors, "a transfer does not need it"


async def _load_and_kill_readers(stack: Stack, other: Path, settings: dict[str, str]) -> None:
    """Let each of the two be away under load while the other is there, and both come back."""
    bank = Bank(stack.url)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await open_accounts(session, stack.url)
        clients = [asyncio.create_task(bank.run_client(session, n)) for n in range(CLIENTS)]
        with _second_reader(stack, other, settings) as second:
            await _more_outcomes(bank)
            stack.kill("reader", signal.SIGSTOP)  # it does nothing, and nobody starts another
            await _more_outcomes(bank)
            stack.kill("reader")
            await _more_outcomes(bank)
            await _read_model_of_two(session, stack, bank)
            second.kill()
            await _more_outcomes(bank)
        with _second_reader(stack, other, settings) as second:
            await _more_outcomes(bank)
            bank.is_over = True
            await asyncio.gather(*clients)
            shown = await read_model(session, stack.url, bank)
            second.send_signal(signal.SIGTERM)
            assert second.wait(STOP_S_MAX) == 0
    stack.stop()
    check(stack.events(), bank, shown)
    assert not bank.errors, "nobody was told that anything happened"


async def _more_outcomes(bank: Bank) -> None:
    async with asyncio.timeout(STALL_S_MAX):
        await bank.reach(len(bank.told) + OUTCOMES)


async def _stored(session: aiohttp.ClientSession, url: str, sequence: int) -> None:
    """Return when the reader of the only partition has stored a sequence."""
    async with asyncio.timeout(STALL_S_MAX):
        while True:
            async with session.get(f"{url}/wallet/status") as response:
                (partition,) = (await response.json())["partitions"]
            if all(each["stored_sequence"] >= sequence for each in partition["readers"]):
                return


async def _read_model_of_two(
    session: aiohttp.ClientSession, stack: Stack, bank: Bank
) -> dict[str, dict[str, Any]]:
    """Whichever answers knows what was answered before."""
    known = Bank(stack.url, told=dict(list(bank.told.items())[:OUTCOMES]))
    shown = await read_model(session, stack.url, known)
    for name, told in known.told.items():
        assert (shown[" ".join(name)]["status"] == "completed") == (told["http"] == 201)
    return shown


@contextmanager
def _second_reader(
    stack: Stack, folder: Path, settings: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A reader in a data folder of its own, from ready to its end."""
    configuration = (stack.data / "nats-server.conf").read_text()
    nats_url, monitor_url = read_urls(configuration, Role.READER)
    environment = {
        "EWALLET_NATS_URL": nats_url,
        "EWALLET_NATS_MONITOR_URL": monitor_url,
        "EWALLET_PARTITIONS": "1",
        "EWALLET_DATA_DIR": str(folder),
        **settings,
    }
    log = folder.with_suffix(".stderr")
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "reader"],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n", log.read_text()
            yield process
        finally:
            process.kill()
