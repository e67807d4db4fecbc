"""How long journals stand still when their NATS server is killed, with a sentinel and without.

Three nats-servers on loopback, the streams of four partitions, one append at a time to each of
their journals. Each time the server that leads most groups is killed and started again.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import nats
import nats.errors
from nats.aio.client import Client

from bench.nats_cluster import NatsCluster, clustered
from bench.settings import BenchError
from broker.nats_broker import NatsBroker
from contracts.subjects import journal_subject

PARTITIONS: Final = 4
KILLS: Final = 10
ANSWER_S_MAX: Final = 0.3
PAUSE_S: Final = 0.02
SETTLED_S: Final = 1.0
OUTAGE_S_MAX: Final = 60.0


class Appends:
    """Appends to one journal, and the longest time between two that were acknowledged."""

    def __init__(self, client: Client, partition: int) -> None:
        self._client = client
        self._subject = journal_subject(partition)
        self.last_s = time.monotonic()
        self.longest_s = 0.0
        self.stored = asyncio.Event()

    async def run(self) -> None:
        while True:
            if await self._is_stored():
                self.stored.set()
                now_s = time.monotonic()
                self.longest_s = max(self.longest_s, now_s - self.last_s)
                self.last_s = now_s
            await asyncio.sleep(PAUSE_S)

    async def store_after(self, moment_s: float) -> None:
        """Return when something was stored after a moment."""
        while self.last_s < moment_s:
            self.stored.clear()
            await self.stored.wait()

    async def _is_stored(self) -> bool:
        try:
            answer = await self._client.request(self._subject, b"x" * 200, timeout=ANSWER_S_MAX)
        except (nats.errors.Error, TimeoutError):
            return False
        return "seq" in json.loads(answer.data)


@contextmanager
def watched(cluster: NatsCluster) -> Iterator[None]:
    """A sentinel runs."""
    settings = {
        "EWALLET_NATS_URL": ",".join(cluster.nats_urls("sentinel")),
        "EWALLET_NATS_MONITOR_URL": ",".join(cluster.monitor_urls),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "sentinel"], env=os.environ | settings, stdout=subprocess.PIPE
    ) as sentinel:
        try:
            if sentinel.stdout is None or sentinel.stdout.readline() != b"ready\n":
                raise BenchError("the sentinel did not become ready")
            yield
        finally:
            sentinel.terminate()


async def measure(cluster: NatsCluster, kills: int) -> list[float]:
    """The longest stall of any journal after each kill, in seconds."""
    urls = cluster.nats_urls("writer")
    broker = await NatsBroker.connect(",".join(urls), name="bench", role="writer", replicas=3)
    await broker.provide_streams(PARTITIONS)
    await broker.close()
    client = await nats.connect(
        urls,
        inbox_prefix="_INBOX_writer",
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.1,
        error_cb=_ignore,
    )
    journals = [Appends(client, partition) for partition in range(PARTITIONS)]
    tasks = [asyncio.create_task(journal.run()) for journal in journals]
    stalls = []
    for _ in range(kills):
        await asyncio.sleep(SETTLED_S)
        stalls.append(await stall(cluster, journals))
    for task in tasks:
        task.cancel()
    await client.close()
    return stalls


async def stall(cluster: NatsCluster, journals: list[Appends]) -> float:
    leaders = await asyncio.to_thread(cluster.leaders)
    victim, led = Counter(leaders.values()).most_common(1)[0]
    for journal in journals:
        journal.longest_s = 0.0
    cluster.kill(victim)
    killed_s = time.monotonic()
    async with asyncio.timeout(OUTAGE_S_MAX):
        for journal in journals:
            await journal.store_after(killed_s + ANSWER_S_MAX)
    longest_s = max(journal.longest_s for journal in journals)
    print(f"  server {victim} led {led} of {len(leaders)} groups: {longest_s:.2f} s", flush=True)
    cluster.start(victim)
    await asyncio.to_thread(cluster.await_healthy)
    return longest_s


async def _ignore(_: Exception) -> None:
    """Nobody needs to hear of each reconnect."""


def main() -> None:
    """Print a line for each kill and a summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kills", nargs="?", type=int, default=KILLS)
    kills: int = parser.parse_args().kills
    for name in ("with a sentinel", "without"):
        print(name)
        with (
            tempfile.TemporaryDirectory() as folder,
            clustered(Path(folder), PARTITIONS) as servers,
        ):
            if name == "without":
                stalls = asyncio.run(measure(servers, kills))
            else:
                with watched(servers):
                    stalls = asyncio.run(measure(servers, kills))
        print(f"{name}: median {median(stalls):.2f} s, longest {max(stalls):.2f} s", flush=True)


if __name__ == "__main__":
    main()
