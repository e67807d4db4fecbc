"""The processes of a simulated wallet: real writers, readers and proxies, and how they die.

A process is put together as its bootstrap does it, on a connection to the server in memory. When
it crashes, its connection dies first: nothing that its code still does while its tasks unwind gets
out, and of what it had sent only a part arrives.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final

from broker.memory_broker import MemoryBroker, MemoryServer
from contracts.partitioning import SlotMap
from proxy.bootstrap import wallets_slot_map
from proxy.service.gateway import BrokerGateway
from reader.bootstrap import serve_on
from runtime.process import lose, run_until
from runtime.settings import ServiceSettings
from simulation.books import check
from writer.bootstrap import make_writers
from writer.config import SNAPSHOT_RULE_DEFAULT
from writer.core.coordinator import Coordinator
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.core.partition import Partition
from writer.service.party import PartyWriter
from writer.service.reign import Reign

PARTITION_COUNT: Final = 4
EVEN_SLOTS: Final = SlotMap.even(PARTITION_COUNT)


class Process(ABC):
    """One process: it lives from `start` until it crashes, fails or finds itself unfit."""

    role: str

    def __init__(self, name: str, server: MemoryServer, folder: Path, chance: Random) -> None:
        self.name = name
        self.starts = 0
        self.gone = asyncio.Event()
        """Set while it does not run; another event for every life."""
        self.gone.set()
        self.unfit: Exception | None = None
        """Why it must not run again as things are."""
        self.connection: MemoryBroker | None = None
        self.on_end: Callable[[Process, Exception | None], None] = lambda _process, _error: None
        self.settings = ServiceSettings("", "", PARTITION_COUNT, folder / name)
        self.chance = chance
        self._server = server
        self._life: asyncio.Task[None] | None = None
        self._split_count = 0

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return not self.gone.is_set()

    @property
    def is_connected(self) -> bool:
        """Whether it can reach the server."""
        return self.connection is not None and self.connection.is_connected

    def start(self) -> None:
        """Begin a life. Raise Violated if the code of the last one goes on all the same."""
        assert not self.is_alive
        is_over = self._life is None or self._life.done()
        check(is_over, f"{self.name} did not end when it was cancelled")
        self.starts += 1
        self.forget()
        self.gone = asyncio.Event()
        self.connection = self._server.connect()
        self._life = asyncio.get_running_loop().create_task(self._live(self.connection))

    def crash(self) -> None:
        """Die at once. What it sent before arrives up to some message."""
        assert self.connection is not None
        assert self._life is not None
        waiting = len(self.connection.session.up)
        self.connection.die(self.chance.randint(0, waiting))
        self._life.cancel()
        self.gone.set()

    def split(self, arriving: int | None = None) -> None:
        """Lose the server; each split is to be healed. None: chance says what still arrives."""
        assert self.connection is not None
        self._split_count += 1
        if self._split_count == 1:
            waiting = len(self.connection.session.up)
            self.connection.cut(self.chance.randint(0, waiting) if arriving is None else arriving)

    def heal(self, connection: MemoryBroker) -> None:
        """Have the server back, unless the process or its connection is another by now."""
        if connection is self.connection and self.is_alive:
            self._split_count -= 1
            if self._split_count == 0:
                connection.mend()

    async def _live(self, connection: MemoryBroker) -> None:
        error: Exception | None = None
        try:
            await self.serve(connection)
        except Exception as failure:  # noqa: BLE001  # judged by who watches
            error = failure
        if connection is self.connection and self.is_alive:
            connection.die(len(connection.session.up))
            self.gone.set()
            self.on_end(self, error)

    def forget(self) -> None:
        """Drop what the life before has left behind, at once: others look at it."""
        self._split_count = 0

    @abstractmethod
    async def serve(self, connection: MemoryBroker) -> None:
        """The whole life of the process."""


class WriterProcess(Process):
    """Some parties of a wallet, written by one process; or all of them, as the wallet runs them.

    Between parties of one process nothing gets lost, so most runs spread them over several.
    """

    role = "writer"
    parties: frozenset[int] = frozenset()
    """Those that it leads."""
    snapshot_rule = SNAPSHOT_RULE_DEFAULT
    led: Sequence[PartyWriter[Partition] | PartyWriter[Coordinator]] = ()
    """Their writers; empty while the process starts."""

    @property
    def reigns(self) -> list[Reign[Partition] | Reign[Coordinator]]:
        """The present ones."""
        return [each.reign for each in self.led if each.reign is not None]

    def forget(self) -> None:
        """See Process."""
        super().forget()
        self.led = ()

    async def serve(self, connection: MemoryBroker) -> None:
        """As writer/bootstrap.py."""
        writer_id = f"writer-{self.name}-{self.starts}"
        with ExitStack() as stack:
            await connection.provide_streams(PARTITION_COUNT)
            slots = await connection.provide_slot_map(EVEN_SLOTS)
            writers = make_writers(
                connection,
                self.settings,
                slots,
                writer_id,
                stack,
                led=self.parties,
                snapshot_rule=self.snapshot_rule,
                fresh_key=self._fresh_key,
            )
            self.led = writers.all
            await run_until(asyncio.Event(), lose(connection), *writers.works())

    def _fresh_key(self) -> bytes:
        return self.chance.randbytes(FINGERPRINT_KEY_BYTES)


class ReaderProcess(Process):
    """One reader of all partitions."""

    role = "reader"

    async def serve(self, connection: MemoryBroker) -> None:
        """As reader/bootstrap.py."""
        await serve_on(connection, self.settings, asyncio.Event(), lambda: None)


class ProxyProcess(Process):
    """One proxy without its HTTP server."""

    role = "proxy"
    gateway: BrokerGateway | None = None
    """None while it waits for the slot map."""
    proxy_id = ""

    def forget(self) -> None:
        """See Process."""
        super().forget()
        self.gateway = None

    async def serve(self, connection: MemoryBroker) -> None:
        """As proxy/bootstrap.py."""
        self.proxy_id = f"proxy-{self.name}-{self.starts}"
        slots = await wallets_slot_map(connection, PARTITION_COUNT)
        self.gateway = BrokerGateway(connection, self.proxy_id, slots)
        await run_until(asyncio.Event(), lose(connection), self.gateway.run())
