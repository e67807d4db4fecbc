"""The reader as a process of its own against a real nats-server: starts, stops, deaths."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final

import pytest

from broker.nats_broker import NatsBroker
from broker.port import BrokerFault
from contracts.queries import (
    AccountQuery,
    EntriesQuery,
    Query,
    decode_answer,
    encode_query,
)
from contracts.subjects import journal_subject, query_subject
from reader.adapters.store_folder import present_file
from reader.adapters.store_postgresql_database import connected
from reader.config import DatabaseAddress
from tests.postgresql_server import PASSWORD, setting_of
from tests.reader.desk import dump
from tests.reader.histories import ACCOUNT_IDS, busy_writer
from tests.reader.journal_writer import Writer

pytestmark = pytest.mark.server

DEADLINE_S: Final = 60.0
"""Only to end a test that hangs: a reader over PostgreSQL imports for seconds on a busy machine."""
STOP_S: Final = 5.0
PARTITIONS: Final = 2


class Wallet:
    """A nats-server with journals, and the means to run readers on it."""

    def __init__(self, url: str, folder: Path, broker: NatsBroker) -> None:
        self.broker = broker
        self.data_dir = folder / "data"
        self._environment = {
            **os.environ,
            "EWALLET_NATS_URL": url,
            "EWALLET_PARTITIONS": str(PARTITIONS),
            "EWALLET_DATA_DIR": str(self.data_dir),
        }

    async def append(self, frames: Sequence[bytes]) -> None:
        for data in frames:
            await self.broker.publish(journal_subject(0), data)
        await self.broker.stream_state("EVT_0")

    async def start(
        self, *arguments: str, python: Sequence[str] = (), **environment: str
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *python,
            "-m",
            "reader",
            *arguments,
            env={**self._environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def check(self, writer: Writer) -> None:
        """Ask for every account and every entry."""
        tip = writer.tip.sequence
        for account_id in ACCOUNT_IDS:
            answer = await self._ask(AccountQuery(account_id, min_sequence=tip))
            assert answer == writer.books.account(account_id, tip, tip=tip)
            page = await self._ask(EntriesQuery(account_id, 500))
            assert page == writer.books.entries(account_id, 500, None, tip=tip)

    async def _ask(self, query: Query) -> object:
        data = await self.broker.request(
            query_subject(0), encode_query(query), timeout_s=DEADLINE_S
        )
        return decode_answer(data)


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[Wallet]:
    async with _nats_server(tmp_path / "nats") as url:
        broker = await _when_there(url)
        await broker.provide_streams(PARTITIONS)
        yield Wallet(url, tmp_path, broker)
        await broker.close()


@asynccontextmanager
async def _nats_server(folder: Path) -> AsyncIterator[str]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "nats-server",
        *("-js", "-sd", folder, "-a", "127.0.0.1", "-p", str(port)),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.terminate()
        await asyncio.wait_for(server.wait(), DEADLINE_S)


async def _when_there(url: str) -> NatsBroker:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await NatsBroker.connect(url, name="test", role="test")
            except BrokerFault:
                await asyncio.sleep(0.02)


async def test_a_reader_says_ready_and_stops_cleanly(wallet: Wallet) -> None:
    writer = busy_writer(200)
    await wallet.append(writer.frames)
    reader = await wallet.start()
    await _ready(reader)
    await wallet.check(writer)
    assert await _stopped(reader, signal.SIGTERM) == 0
    assert reader.stdout is not None
    assert await reader.stdout.read() == b""
    assert not list(wallet.data_dir.glob("reader/*-wal"))


async def test_a_reader_that_is_killed_comes_back_with_everything(wallet: Wallet) -> None:
    """Killed five times, at once after a group of frames; then its store equals a rebuilt one."""
    writer = busy_writer(350)
    for first in range(0, len(writer.frames), 11):
        reader = await wallet.start()
        await _ready(reader)
        await wallet.append(writer.frames[first : first + 11])
        assert await _stopped(reader, signal.SIGKILL) == -signal.SIGKILL
    reader = await wallet.start()
    await _ready(reader)
    await wallet.check(writer)
    rebuild = await wallet.start("rebuild")
    _, log = await asyncio.wait_for(rebuild.communicate(), DEADLINE_S)
    assert (rebuild.returncode, b"next start" in log) == (0, True), log
    assert await _stopped(reader, signal.SIGINT) == 0
    folder = wallet.data_dir / "reader"
    grown = dump(folder / "partition-0.generation-1.sqlite")
    rebuilt = present_file(folder, 0)
    assert (rebuilt.name, dump(rebuilt)) == ("partition-0.generation-2.sqlite", grown)


async def test_a_database_is_rebuilt_beside_the_readers_that_use_it(
    wallet: Wallet, database: DatabaseAddress, tmp_path: Path
) -> None:
    setting, writer = setting_of(database), busy_writer(150)
    await wallet.append(writer.frames[:20])
    folders = [str(tmp_path / name) for name in ("one", "two")]
    readers = [
        await wallet.start(EWALLET_READ_STORE=setting, EWALLET_DATA_DIR=folder)
        for folder in folders
    ]
    for reader in readers:
        await _ready(reader)
    rebuild = await wallet.start("rebuild", EWALLET_READ_STORE=setting)
    await wallet.append(writer.frames[20:])
    _, log = await asyncio.wait_for(rebuild.communicate(), DEADLINE_S)
    assert (rebuild.returncode, b"use the new rows already" in log) == (0, True), log
    assert PASSWORD.encode() not in log
    for _ in range(4):  # either answers
        await wallet.check(writer)
    for reader in readers:
        assert await _stopped(reader, signal.SIGTERM) == 0
    with connected(database) as db:
        (sequence,) = (
            db.execute("SELECT sequence FROM cursors WHERE partition = 0").fetchone() or ()
        )
    assert sequence == writer.tip.sequence


async def test_a_reader_waits_for_its_journals(tmp_path: Path) -> None:
    """The writer makes them and may start later."""
    async with _nats_server(tmp_path / "nats") as url:
        broker = await _when_there(url)
        wallet = Wallet(url, tmp_path, broker)
        reader = await wallet.start()
        assert reader.stderr is not None
        assert b"waiting for the journal" in await asyncio.wait_for(
            reader.stderr.readline(), DEADLINE_S
        )
        await broker.provide_streams(PARTITIONS)
        await _ready(reader)
        assert await _stopped(reader, signal.SIGTERM) == 0
        await broker.close()


async def test_what_a_restart_does_not_cure_is_said_in_one_sentence(wallet: Wallet) -> None:
    writer = busy_writer(20)
    await wallet.append(writer.frames)
    reader = await wallet.start()
    await _ready(reader)
    assert await _stopped(reader, signal.SIGTERM) == 0
    path = present_file(wallet.data_dir / "reader", 0)
    sound = path.read_bytes()
    path.write_bytes(b"x" * len(sound))
    await _refuses(await wallet.start(), "is damaged")
    path.write_bytes(sound)
    await _refuses(await wallet.start(EWALLET_PARTITIONS="zero"), "EWALLET_PARTITIONS")
    await _refuses(await wallet.start(EWALLET_READ_STORE="mysql://u@h/d"), "EWALLET_READ_STORE")
    await _refuses(await wallet.start("rebuilt"), "only `rebuild`")
    await _refuses(await wallet.start(python=["-O"]), "python -O")
    running = await wallet.start()
    await _ready(running)
    await _refuses(await wallet.start(), "EWALLET_DATA_DIR")
    assert await _stopped(running, signal.SIGTERM) == 0


async def test_a_reader_without_a_broker_can_be_stopped(wallet: Wallet) -> None:
    """Whether it waits for one or ends by itself, it is never stuck."""
    reader = await wallet.start(EWALLET_NATS_URL="nats://127.0.0.1:1")
    assert reader.stderr is not None
    assert await asyncio.wait_for(reader.stderr.readline(), DEADLINE_S)
    assert await _stopped(reader, signal.SIGTERM) in (0, 1)


async def _ready(reader: asyncio.subprocess.Process) -> None:
    assert reader.stdout is not None
    assert await asyncio.wait_for(reader.stdout.readline(), DEADLINE_S) == b"ready\n"


async def _stopped(reader: asyncio.subprocess.Process, signal_number: int) -> int:
    with suppress(ProcessLookupError):
        reader.send_signal(signal_number)
    return await asyncio.wait_for(reader.wait(), STOP_S)


async def _refuses(reader: asyncio.subprocess.Process, words: str) -> None:
    _, log = await asyncio.wait_for(reader.communicate(), DEADLINE_S)
    last = log.decode().splitlines()[-1]
    assert (reader.returncode, words in last) == (os.EX_CONFIG, True), log.decode()
