"""The faults that a part of the cluster may have, and what one costs the clients at work."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import aiohttp

from tests.e2e.audit import check_load, get
from tests.e2e.cluster import NATS, SERVICES, SMALL_DISK, Cluster
from tests.e2e.costs import Cost
from tests.e2e.load import PacedBank, loaded

LASTING_S: Final = (3.0, 8.0)
"""How long a pause or a split lasts, drawn between these."""
LEADING: Final = " leading"
"""Added to a kind of fault where the service was chosen for what it leads."""
RUN_S_MAX: Final = 300.0
"""Only to end a run that hangs."""

_FILL: Final = """
import sys
from contextlib import suppress
from pathlib import Path
with suppress(OSError), Path(sys.argv[1], "filler").open("wb", 0) as file:
    while True:
        file.write(bytes(4096))
"""

_MAKE_ROOM: Final = """
import sys
from pathlib import Path
Path(sys.argv[1], "filler").unlink()
"""


def _pause(cluster: Cluster, service: str, lasting_s: float) -> None:
    cluster.pause(service)
    time.sleep(lasting_s)
    cluster.unpause(service)


def _split(cluster: Cluster, service: str, lasting_s: float) -> None:
    cluster.disconnect(service)
    time.sleep(lasting_s)
    cluster.connect(service)


KINDS: Final[dict[str, Callable[[Cluster, str, float], None]]] = {
    "kill -9": lambda cluster, service, _: cluster.kill_process(service),
    "pause": _pause,
    "split": _split,
    "restart": lambda cluster, service, _: cluster.restart(service),
}


@dataclass(frozen=True)
class Fault:
    """One of KINDS, of one service."""

    kind: str
    service: str

    def __str__(self) -> str:
        """As tables name it."""
        return f"{self.kind} {self.service}"


def random_pair(chance: Random) -> tuple[Fault, ...]:
    """Any two faults, of two services."""
    services, kinds = chance.sample(SERVICES, 2), list(KINDS)
    return tuple(Fault(chance.choice(kinds), service) for service in services)


def together(faults: Sequence[Fault]) -> str:
    """As tables name faults that happen at the same time."""
    return " + ".join(map(str, faults))


async def cost_of(
    faults: Sequence[Fault],
    cluster: Cluster,
    session: aiohttp.ClientSession,
    books: PacedBank,
    chance: Random,
) -> Cost:
    """Let faults happen at the same time under load, wait until all is healthy, and audit."""
    works = [
        (KINDS[fault.kind.removesuffix(LEADING)], fault.service, chance.uniform(*LASTING_S))
        for fault in faults
    ]
    async with asyncio.timeout(RUN_S_MAX), loaded(books, session) as load:
        await asyncio.gather(
            *(asyncio.to_thread(inflict, cluster, service, s) for inflict, service, s in works)
        )
        await load.settle()
        await asyncio.to_thread(cluster.await_healthy)
        await load.settle()
    await check_load(session, books)
    return books.cost


async def cost_of_replacing(
    services: Sequence[str], cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank
) -> Cost:
    """Take one step of UPGRADE, a service after the other."""
    async with asyncio.timeout(RUN_S_MAX), loaded(books, session) as load:
        if NATS[0] in services:
            await asyncio.to_thread(cluster.prepare)
        for service in services:
            await asyncio.to_thread(cluster.replace, service)
        await load.settle()
    await check_load(session, books)
    return books.cost


async def cost_of_full_disk(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank
) -> Cost:
    """Fill the disk under a NATS server, which takes no part until it is restarted with room."""
    victim = SMALL_DISK
    async with asyncio.timeout(2 * RUN_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.python_on_volumes, _FILL, victim)
        await asyncio.to_thread(cluster.await_one_unhealthy, victim)
        await load.settle()
        await asyncio.to_thread(cluster.python_on_volumes, _MAKE_ROOM, victim)
        await load.settle()
        assert not cluster.is_healthy(victim), (
            "room alone would do, and the documents say otherwise"
        )
        await asyncio.to_thread(cluster.restart, victim)
        await asyncio.to_thread(cluster.await_healthy)
        await load.settle()
    await check_load(session, books)
    return books.cost


@asynccontextmanager
async def away(cluster: Cluster, *services: str) -> AsyncIterator[None]:
    """Containers that are killed, and started again whatever is found meanwhile.

    Other tests have the same cluster.
    """
    await asyncio.to_thread(cluster.stop_hard, *services)
    try:
        yield
    finally:
        await asyncio.to_thread(cluster.start, *services)


async def leading_writer(cluster: Cluster, session: aiohttp.ClientSession) -> tuple[str, str]:
    """The writer that leads most partitions: its id, and its service."""
    led = [writer for writer in await leaders(cluster, session) if writer is not None]
    writer = max(led, key=led.count)
    return writer, await asyncio.to_thread(cluster.service_of, writer)


async def leaders(cluster: Cluster, session: aiohttp.ClientSession) -> list[str | None]:
    """By partition, the id of the writer that leads it just now."""
    status: dict[str, Any] = await get(session, f"{cluster.url}/wallet/status")
    return [each["writer"] and each["writer"]["id"] for each in status["partitions"]]


async def deposed(writer: str, cluster: Cluster, session: aiohttp.ClientSession) -> None:
    """Return when others lead every partition."""
    async with asyncio.timeout(RUN_S_MAX):
        while True:
            if not any(leader in (writer, None) for leader in await leaders(cluster, session)):
                return
            await asyncio.sleep(0.2)
