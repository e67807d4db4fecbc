"""Ways to reach a broker, and a nats-server for as long as it takes to write a journal."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import nats
import pytest
from nats.aio.client import Client

from broker import nats_following
from broker.nats_broker import NatsBroker
from broker.nats_streams import journal_config
from broker.nats_subscription import all_sent
from broker.port import Broker
from contracts.subjects import journal_subject
from tests.broker.checked_journal import JOURNAL, PARTITION, Folder
from tests.broker.copies_of_journal import WHOLE, Copies
from tests.broker.implementations import DEADLINE_S, IMPLEMENTATIONS, Connect, over_nats

_NATS_SERVER: Final = Path(sys.executable).parent / "nats-server"
_START_DEADLINE_S: Final = 10.0
_STOPS: Final = {"stop": signal.SIGTERM, "kill": signal.SIGKILL}


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.virtual_time),
        pytest.param("weather", marks=pytest.mark.virtual_time),
        pytest.param("nats", marks=pytest.mark.server),
    ]
)
async def connect(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Connect]:
    """A way to connect; what was connected is closed at the end."""
    connections: list[Broker] = []
    async with IMPLEMENTATIONS[request.param](tmp_path) as connect_to:

        async def connect() -> Broker:
            connections.append(await connect_to())
            return connections[-1]

        try:
            await (await connect()).provide_streams(1)
            async with asyncio.timeout(4 * DEADLINE_S):
                yield connect
        finally:
            for connection in connections:
                await connection.close()


@pytest.fixture
async def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Copies]:
    """A journal of five messages, and a whole copy of it."""
    monkeypatch.setattr(nats_following, "_RETRY_S", 0.0)
    async with over_nats(tmp_path) as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        await broker.provide_streams(1)
        copies = Copies(broker)
        for last in range(5):
            await copies.append(last)
        await copies.make(WHOLE)
        yield copies
        await broker.close()


@pytest.fixture(scope="session")
def write_journal() -> Callable[..., None]:
    """Write a partition's journal as a wallet's server would: see `_write_journal`."""
    return _write_journal


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, write_journal: Callable[..., None]) -> Path:
    """JOURNAL in a store whose server was killed: no index.db helps the check."""
    root = tmp_path_factory.mktemp("written")
    write_journal(root / "nats", PARTITION, JOURNAL.frames, then="kill")
    return root


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Folder:
    """A copy of the store, to be damaged; without a witness."""
    return Folder(Path(shutil.copytree(written, tmp_path / "data")))


def _write_journal(
    store: Path,
    partition: int,
    payloads: Sequence[bytes],
    *,
    headers: dict[str, str] | None = None,
    in_flight: Sequence[bytes] = (),
    then: str = "stop",
    settings: dict[str, Any] | None = None,
    delete: int | None = None,
) -> None:
    """Start a server on `store`, append to a journal and end the server by "stop" or "kill".

    payloads are acknowledged, every second one carries the headers; in_flight are sent after
    them and not waited for; delete names a stream sequence to delete.
    """

    async def write(client: Client) -> None:
        jetstream = client.jetstream()
        config = journal_config(partition, partition_count=1, replicas=1) | (settings or {})
        created = await client.request(
            f"$JS.API.STREAM.CREATE.{config['name']}", json.dumps(config).encode()
        )
        assert "error" not in json.loads(created.data), created.data
        subject = journal_subject(partition)
        for number, payload in enumerate(payloads):
            await jetstream.publish(subject, payload, headers=headers if number % 2 else None)
        if delete is not None:
            await jetstream.delete_msg(config["name"], delete)
        for payload in in_flight:
            await client.publish(subject, payload)
        if in_flight:
            await all_sent(client)

    with _server(store, _STOPS[then]) as port:
        asyncio.run(_with_client(port, write))


@contextmanager
def _server(store: Path, stop: signal.Signals) -> Iterator[int]:
    """Run a nats-server that syncs always; give its port; end it by a signal to its pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    store.mkdir(parents=True, exist_ok=True)
    settings = store.parent / f"{store.name}.conf"
    settings.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{store}", sync_interval: always }}\n'
    )
    server = subprocess.Popen(
        [_NATS_SERVER, "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await_listener(port)
        yield port
    finally:
        server.send_signal(stop)
        server.wait(timeout=_START_DEADLINE_S)


def _await_listener(port: int) -> None:
    """Return when the server takes connections, which it does after its recovery."""
    deadline = time.monotonic() + _START_DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=_START_DEADLINE_S).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


async def _with_client(port: int, work: Callable[[Client], Awaitable[None]]) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False)
    try:
        await work(client)
    finally:
        await client.close()
