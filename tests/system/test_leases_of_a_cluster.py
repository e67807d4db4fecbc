"""Two writers on a real cluster whose leases are silent for a while: nobody is taken for dead."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
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
from writer.core.leases import LEASE_MS, LEASE_RENEWED_MS

pytestmark = [pytest.mark.server, pytest.mark.faults]

PARTITIONS: Final = 3
NAMES: Final = "ab"
ROUNDS: Final = 3
ROUNDS_MAX: Final = 12
"""Until one counted: of a slow machine's rounds some do not."""
WAIT_S_MAX: Final = 60.0
"""Only to end a test that hangs."""
RENEWALS: Final = 10
"""Heard again of everybody, whose lease was over would have been judged."""
DEAF_MS: Final = LEASE_MS - LEASE_RENEWED_MS
"""Who did not hear itself for longer gives everybody a new lease (`writer.core.leases`)."""


class Heard:
    """One writer, when it hears whose renewals, and whom it takes for dead."""

    def __init__(self, writers: Writers, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times_ms: dict[str, list[int]] = {each: [] for each in NAMES}
        self.dead = set[str]()
        self.has_resigned = False
        """Gave a party up because something else went wrong than that a lease ended."""
        self._name = name
        self._writers = writers
        self._leases = writers.leading.leases
        renewed, expire = self._leases.renewed, self._leases.expire

        def noted(
            writer_id: str,
            ready: Collection[int],
            leads: Collection[int],
            now_ms: int,
            *,
            is_new: bool,
        ) -> bool:
            self.times_ms[writer_id].append(now_ms)
            return renewed(writer_id, ready, leads, now_ms, is_new=is_new)

        def watched(now_ms: int) -> None:
            living = set(self._leases.living)
            expire(now_ms)
            self.dead |= living - set(self._leases.living) - {name}

        monkeypatch.setattr(self._leases, "renewed", noted)
        monkeypatch.setattr(self._leases, "expire", watched)
        for mandate in writers.leading.mandates.values():
            monkeypatch.setattr(mandate, "resign", self._noting_it(mandate.resign))

    def _noting_it(self, resign: Callable[[], None]) -> Callable[[], None]:
        def noted() -> None:
            self.has_resigned = True
            resign()

        return noted

    @property
    def leaders(self) -> dict[int, str]:
        """Who leads which party, by the leases' records."""
        return dict(self._leases.leaders)

    @property
    def leads_its_half(self) -> bool:
        """Nothing is under way: nobody would move a party."""
        led = [writer.party for writer in self._writers.all if writer.reigning.is_set()]
        has_half = len(led) == len(parties(PARTITIONS)) // len(NAMES)
        return self._leases.can_judge and has_half and self._knows_all_leaders

    def forget(self) -> None:
        """Keep the last renewals that were heard, and what comes from now on."""
        self.dead.clear()
        self.has_resigned = False
        for times in self.times_ms.values():
            del times[:-1]

    @property
    def is_all_heard_again(self) -> bool:
        is_heard = all(len(times) >= RENEWALS for times in self.times_ms.values())
        return is_heard and self._knows_all_leaders

    @property
    def _knows_all_leaders(self) -> bool:
        return len(self.leaders) == len(parties(PARTITIONS))

    @property
    def alone_ms(self) -> int:
        """The longest time in which it heard itself and not the other one."""
        (other,) = set(NAMES) - {self._name}
        return longest_alone_ms(self.times_ms[self._name], self.times_ms[other])


def longest_alone_ms(own_ms: list[int], other_ms: list[int]) -> int:
    """The longest time in which one was heard and the other one was not."""
    until_ms, longest_ms = max(own_ms[-1], other_ms[-1]), 0
    for silent_ms, heard_ms in pairwise([*other_ms, until_ms]):
        since_ms = silent_ms
        for last_ms, again_ms in pairwise(own_ms):
            if silent_ms < again_ms <= heard_ms and again_ms - last_ms > DEAF_MS:
                longest_ms = max(longest_ms, last_ms + DEAF_MS - since_ms)
                since_ms = again_ms
        longest_ms = max(longest_ms, heard_ms - since_ms)
    return longest_ms


@pytest.mark.parametrize(
    ("own_ms", "other_ms", "alone_ms"),
    [
        ([0, 200, 400], [100, 300, 500], 200),
        ([0, 5_000, 5_200], [100, 5_300, 5_400], 400),  # both were silent
        ([0, 200, 5_000, 5_200], [100, 5_100, 5_300], 600),  # it may have heard itself for longer
        ([0, 200, 400, 600, 800], [100, 900], 800),
        ([0, 200, 400, 600, 800], [100], 700),
        ([0, 200, 400, 2_000, 2_200], [100, 300, 3_000, 3_100], 1_000),  # not its longest silence
    ],
)
def test_one_is_alone_while_it_hears_itself_and_not_the_other(
    own_ms: list[int], other_ms: list[int], alone_ms: int
) -> None:
    """What a round counts by."""
    assert longest_alone_ms(own_ms, other_ms) == alone_ms


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
    """A round counts unless one heard only itself for a lease, as happens on a slow machine.

    Who gives a party up because its journal failed, which that server may lead too, may see another
    one named for it; nobody is taken for dead then either.
    """
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
        counted = played = 0
        while played < ROUNDS or not counted:
            assert played < ROUNDS_MAX, "no round counted: the machine is too slow"
            played += 1
            await until_all(heard, "leads_its_half")
            before = [each.leaders for each in heard]
            victim = await leader_of_the_leases(observer)
            for each in heard:
                each.forget()
            cluster.kill(victim)
            await until_all(heard, "is_all_heard_again")
            if max(each.alone_ms for each in heard) < LEASE_MS:
                assert [each.dead for each in heard] == [set(), set()]
                if not any(each.has_resigned for each in heard):
                    assert [each.leaders for each in heard] == before
                    counted += 1
            await asyncio.to_thread(cluster.restore)
