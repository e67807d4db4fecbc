"""Two writers on a real cluster whose leases are silent for a while: nobody is taken for dead."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from bench.nats_cluster import SERVERS, NatsCluster, clustered
from broker.nats_broker import NatsBroker
from contracts.parties import parties
from contracts.partitioning import SlotMap
from contracts.subjects import LEASES_STREAM
from runtime.settings import ServiceSettings
from tests.sentinel.test_cluster import sentinels
from writer.bootstrap import Writers, make_writers
from writer.config import SNAPSHOT_RULE_DEFAULT
from writer.core.leases import LEASE_MS

pytestmark = [pytest.mark.server, pytest.mark.faults]

PARTITIONS: Final = 3
NAMES: Final = "ab"
ROUNDS: Final = 3
WAIT_S_MAX: Final = 60.0
"""Only to end a test that hangs."""
RENEWALS: Final = 10
"""Heard again of everybody, whose lease was over would have been judged."""


class Heard:
    """One writer, when it hears whose renewals, and whom it takes for dead."""

    def __init__(self, writers: Writers, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times_ms: dict[str, list[int]] = {each: [] for each in NAMES}
        self.dead = set[str]()
        self._writers = writers
        self._leases = writers.leading.leases
        renewed, expire = self._leases.renewed, self._leases.expire

        def noted(
            writer_id: str, ready: Collection[int], leads: Collection[int], now_ms: int
        ) -> None:
            self.times_ms[writer_id].append(now_ms)
            renewed(writer_id, ready, leads, now_ms)

        def watched(now_ms: int) -> None:
            living = set(self._leases.living)
            expire(now_ms)
            self.dead |= living - set(self._leases.living) - {name}

        monkeypatch.setattr(self._leases, "renewed", noted)
        monkeypatch.setattr(self._leases, "expire", watched)

    @property
    def reigns(self) -> dict[int, int]:
        """The epochs of the parties that it leads."""
        return {
            writer.party: writer.epoch for writer in self._writers.all if writer.reigning.is_set()
        }

    @property
    def leads_its_half(self) -> bool:
        """Nothing is under way: nobody would move a party."""
        return self._leases.can_judge and len(self.reigns) == len(parties(PARTITIONS)) // len(NAMES)

    def forget(self) -> None:
        """Keep the last renewals that were heard, and what comes from now on."""
        self.dead.clear()
        for times in self.times_ms.values():
            del times[:-1]

    @property
    def is_all_heard_again(self) -> bool:
        return all(len(times) >= RENEWALS for times in self.times_ms.values())

    @property
    def apart_ms(self) -> int:
        """How long after one writer the other one was heard again."""
        first, second = sorted(_end_of_silence_ms(times) for times in self.times_ms.values())
        return second - first


def _end_of_silence_ms(times_ms: list[int]) -> int:
    """The end of the longest time without a renewal."""
    return max(pairwise(times_ms), key=lambda pair: pair[1] - pair[0])[1]


@asynccontextmanager
async def writer(cluster: NatsCluster, folder: Path, name: str) -> AsyncIterator[Writers]:
    """A writer of all parties, on a connection of its own."""
    urls = ",".join(cluster.nats_urls("writer"))
    broker = await NatsBroker.connect(urls, name=name, role="writer", replicas=SERVERS)
    await broker.provide_streams(PARTITIONS)
    slots = await broker.provide_slot_map(SlotMap.even(PARTITIONS))
    settings = ServiceSettings("", "", PARTITIONS, folder / name)
    led = parties(PARTITIONS)
    with ExitStack() as stack:
        writers = make_writers(
            broker, settings, slots, name, stack, led=led, snapshot_rule=SNAPSHOT_RULE_DEFAULT
        )
        tasks = [asyncio.create_task(work) for work in writers.works()]
        try:
            yield writers
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await broker.close()


async def until_all(heard: list[Heard], what: str) -> None:
    """Return when something holds of what every writer has heard."""
    async with asyncio.timeout(WAIT_S_MAX):
        while not all(getattr(each, what) for each in heard):  # noqa: ASYNC110  # several states
            await asyncio.sleep(0.01)


async def leader_of_the_leases(broker: NatsBroker) -> int:
    """The number of the server."""
    answer = await broker.api(f"STREAM.INFO.{LEASES_STREAM}")
    return int(answer["cluster"]["leader"].removeprefix("nats-"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with clustered(tmp_path_factory.mktemp("cluster"), PARTITIONS) as servers:
        yield servers


async def test_no_party_changes_hands_when_the_server_is_lost_that_leads_the_leases(
    cluster: NatsCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless one writer was heard again later than the other by a lease: a slow machine's round."""
    async with AsyncExitStack() as stack:
        stack.enter_context(sentinels(cluster, tmp_path))
        heard = [
            Heard(
                await stack.enter_async_context(writer(cluster, tmp_path, name)), name, monkeypatch
            )
            for name in NAMES
        ]
        urls = ",".join(cluster.nats_urls("writer"))
        observer = await NatsBroker.connect(urls, name="observer", role="writer")
        stack.push_async_callback(observer.close)
        for _ in range(ROUNDS):
            await until_all(heard, "leads_its_half")
            before = [each.reigns for each in heard]
            victim = await leader_of_the_leases(observer)
            for each in heard:
                each.forget()
            cluster.kill(victim)
            await until_all(heard, "is_all_heard_again")
            after = [each.reigns for each in heard]
            if max(each.apart_ms for each in heard) < LEASE_MS:
                assert [each.dead for each in heard] == [set(), set()]
                assert after == before
            await asyncio.to_thread(cluster.restore)
