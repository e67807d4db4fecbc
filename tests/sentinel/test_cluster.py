"""A real cluster loses servers: its groups choose new leaders when sentinels ask for it."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp
import nats.errors
import pytest
from nats.aio.client import Client

from bench.nats_cluster import SERVERS, NatsCluster, clustered
from broker.nats_broker import NatsBroker
from broker.nats_raft import RaftServer
from broker.port import AppendUnknown, BrokerFault
from contracts.parties import parties
from contracts.subjects import journal_stream, journal_subject
from sentinel.core.elections import UNHEARD_MS, Elections

pytestmark = [pytest.mark.server, pytest.mark.faults]

PARTITIONS = 2
STALL_S_MAX = 60.0
"""Only to end a test that hangs."""
RETRY_S = 0.05
ROUNDS_MAX = 5
REQUEST = re.compile(r"(\S+) has no leader or no majority: .*, term (\d+);")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """Started once for all tests."""
    with clustered(tmp_path_factory.mktemp("cluster"), PARTITIONS) as cluster:
        yield cluster


@pytest.fixture
def cluster(servers: NatsCluster) -> Iterator[NatsCluster]:
    """All servers run, and do again after the test, however it ended."""
    yield servers
    servers.restore()


@pytest.fixture
async def journals(cluster: NatsCluster) -> AsyncIterator["Journals"]:
    """Appends to all journals, on connections to all servers."""
    urls = ",".join(cluster.nats_urls("writer"))
    broker = await NatsBroker.connect(urls, name="test", role="writer", replicas=SERVERS)
    await broker.provide_streams(PARTITIONS)
    try:
        yield Journals(broker)
    finally:
        await broker.close()


class Journals:
    """What was appended to each journal and acknowledged, by stream sequence."""

    def __init__(self, broker: NatsBroker) -> None:
        self.broker = broker
        self.stored: dict[int, dict[int, bytes]] = {party: {} for party in parties(PARTITIONS)}

    async def append(self, party: int, count: int) -> None:
        """Append until so many more are acknowledged, as often as it takes."""
        stored = self.stored[party]
        wanted = len(stored) + count
        while len(stored) < wanted:
            data = f"{party}-{len(stored)}".encode()
            try:
                state = await self.broker.stream_state(journal_stream(party))
                acknowledged = await self.broker.append(
                    journal_subject(party), data, expected_last_sequence=state.last_sequence
                )
                stored[await acknowledged] = data
            except BrokerFault:
                await asyncio.sleep(RETRY_S)

    async def append_to_all(self, count: int) -> None:
        """Likewise to every journal."""
        async with asyncio.timeout(STALL_S_MAX):
            await asyncio.gather(*(self.append(party, count) for party in self.stored))

    async def check(self) -> None:
        """Everything that was acknowledged is there."""
        for party, stored in self.stored.items():
            read: dict[int, bytes] = {}
            following = await self.broker.follow(journal_stream(party), after=None)
            async with asyncio.timeout(STALL_S_MAX):
                async for messages in following:
                    read |= {message.sequence: message.data for message in messages}
                    if not stored.keys() - read.keys():
                        break
            await following.close()
            assert {sequence: read[sequence] for sequence in stored} == stored


class SentinelProcess:
    """A sentinel, and what it said."""

    def __init__(self, cluster: NatsCluster, log: Path) -> None:
        settings = {
            "EWALLET_NATS_URL": ",".join(cluster.nats_urls("sentinel")),
            "EWALLET_NATS_MONITOR_URL": ",".join(cluster.monitor_urls),
        }
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sentinel"],
                env=os.environ | settings,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", log.read_text()

    def requests(self) -> list[tuple[str, int]]:
        """The group and term of each request for votes that it sent."""
        return [(group, int(term)) for group, term in REQUEST.findall(self._log.read_text())]

    def end(self) -> None:
        """Stop it; it ends as it should."""
        self.process.terminate()
        assert self.process.wait(20) == 0
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def sentinels(cluster: NatsCluster, folder: Path) -> Iterator[list[SentinelProcess]]:
    """Two that watch over the same servers."""
    running: list[SentinelProcess] = []
    try:
        running.append(SentinelProcess(cluster, folder / "a.log"))
        running.append(SentinelProcess(cluster, folder / "b.log"))
        yield running
    finally:
        for sentinel in running:
            sentinel.end()


async def terms(cluster: NatsCluster) -> dict[str, int]:
    """The present term of each group, by its leader."""
    leaders = await asyncio.to_thread(cluster.leaders)
    return {group: cluster.groups(number)[group]["term"] for group, number in leaders.items()}


def requests_of(running: list[SentinelProcess]) -> set[tuple[str, int]]:
    """What any of them sent."""
    return {request for sentinel in running for request in sentinel.requests()}


async def led(cluster: NatsCluster, groups: set[str]) -> None:
    """Return when all these groups have a leader."""
    async with asyncio.timeout(STALL_S_MAX):
        while not groups <= set(await asyncio.to_thread(cluster.leaders)):  # noqa: ASYNC110  # theirs
            await asyncio.sleep(RETRY_S)


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_a_lost_servers_groups_have_leaders_by_the_sentinels_request(
    cluster: NatsCluster, journals: Journals, tmp_path: Path, fault: str
) -> None:
    """Each new leader's term is above the requested one, and that above the lost leader's.

    Without a request it would be the lost leader's and 1, but for split votes. Groups whose leader
    lives are sent nothing. On a busy machine the servers may be first, or a living leader silent
    for too long: one round of some is as it should be.
    """
    with sentinels(cluster, tmp_path) as running:
        rounds = list[bool]()
        while not any(rounds) and len(rounds) < ROUNDS_MAX:
            rounds.append(await is_hastened(cluster, journals, running, fault))
            await asyncio.to_thread(cluster.restore)
            await journals.append_to_all(20)
        assert any(rounds)
    await journals.check()


async def is_hastened(
    cluster: NatsCluster, journals: Journals, running: list[SentinelProcess], fault: str
) -> bool:
    """Lose a server; tell whether its groups, and no others, got leaders by a request."""
    await journals.append_to_all(50)
    requests_before = requests_of(running)
    before = await terms(cluster)
    leaders = await asyncio.to_thread(cluster.leaders)
    victim = leaders["_meta_"]
    lost = {group for group, number in leaders.items() if number == victim}
    getattr(cluster, fault)(victim)
    await asyncio.gather(journals.append_to_all(20), led(cluster, lost))
    after = await terms(cluster)
    requests = requests_of(running) - requests_before
    return {group for group, _ in requests} == lost and all(
        (group, before[group] + 1) in requests and after[group] >= before[group] + 2
        for group in lost
    )


async def test_a_leader_whose_majority_is_gone_gives_way_by_the_sentinels_request(
    cluster: NatsCluster, journals: Journals, tmp_path: Path
) -> None:
    """It would take what nobody acknowledges, for 10 to 20 s. On a busy machine: as above."""
    with sentinels(cluster, tmp_path) as running:
        rounds = list[bool]()
        while not any(rounds) and len(rounds) < ROUNDS_MAX:
            rounds.append(await is_given_up_soon(cluster, journals, running))
            await asyncio.to_thread(cluster.restore)
            await journals.append_to_all(20)
        assert any(rounds)
    await journals.check()


async def is_given_up_soon(
    cluster: NatsCluster, journals: Journals, running: list[SentinelProcess]
) -> bool:
    """Kill two servers; tell whether what the third one leads was given up by a request."""
    await journals.append_to_all(50)
    requests_before = requests_of(running)
    before = await terms(cluster)
    leaders = await asyncio.to_thread(cluster.leaders)
    survivor = max(range(SERVERS), key=list(leaders.values()).count)
    led_alone = {group for group, number in leaders.items() if number == survivor}
    for number in range(SERVERS):
        if number != survivor:
            cluster.kill(number)
    async with asyncio.timeout(STALL_S_MAX):
        while any(  # noqa: ASYNC110  # the server's state
            cluster.groups(survivor)[group]["state"] == "LEADER" for group in led_alone
        ):
            await asyncio.sleep(RETRY_S)
    requests = requests_of(running) - requests_before
    return {(group, before[group] + 1) for group in led_alone} <= requests


async def test_a_connection_goes_on_with_a_new_leader(
    cluster: NatsCluster, journals: Journals, tmp_path: Path
) -> None:
    """An append to the lost leader is given up when there is another one, and reading goes on.

    On a busy machine another may lead before the pause, and take it: then once more.
    """
    with sentinels(cluster, tmp_path):
        rounds = list[bool]()
        while not any(rounds) and len(rounds) < ROUNDS_MAX:
            rounds.append(await is_given_up(cluster, journals))
            await asyncio.to_thread(cluster.await_healthy)
    assert any(rounds)


async def is_given_up(cluster: NatsCluster, journals: Journals) -> bool:
    """Append while a journal's leader is paused, and go on; whether the append was given up.

    It is appended and followed over a connection to another server.
    """
    stream, subject = journal_stream(0), journal_subject(0)
    await journals.append(0, 1)
    answer = await journals.broker.api(f"STREAM.INFO.{stream}")
    victim = int(answer["cluster"]["leader"].removeprefix("nats-"))
    urls = [url for number, url in enumerate(cluster.nats_urls("writer")) if number != victim]
    broker = await NatsBroker.connect(
        ",".join(urls), name="test", role="writer", append_timeout_s=STALL_S_MAX
    )
    after, unknown = Journals(broker), ""
    try:
        async with asyncio.timeout(STALL_S_MAX):
            following = await broker.follow(stream, after=None)
            last = (await broker.stream_state(stream)).last_sequence
            cluster.pause(victim)
            try:
                await (await broker.append(subject, b"out", expected_last_sequence=last))
            except AppendUnknown as fault:
                unknown = str(fault)
            await after.append(0, 1)
            async for messages in following:
                if any(message.sequence in after.stored[0] for message in messages):
                    break
    finally:
        cluster.resume(victim)
        await broker.close()
    return "leader before" in unknown


async def test_a_sentinel_that_is_cut_off_from_one_server_leaves_its_groups_alone(
    cluster: NatsCluster, journals: Journals
) -> None:
    """The others hear of it each second, also in groups where nothing is appended."""
    leaders = await asyncio.to_thread(cluster.leaders)
    unreached = leaders["_meta_"]
    elections = Elections()
    async with aiohttp.ClientSession() as session:
        servers = [
            RaftServer(session, *urls)
            for number, urls in enumerate(
                zip(cluster.monitor_urls, cluster.nats_urls("sentinel"), strict=True)
            )
            if number != unreached
        ]
        loop = asyncio.get_running_loop()
        until_s = loop.time() + 3 * UNHEARD_MS / 1_000
        is_complete = False
        async with asyncio.timeout(STALL_S_MAX):
            while loop.time() < until_s or not is_complete:  # a slow server says nothing
                answers = [await server.groups() for server in servers]
                is_complete = all("_meta_" in groups for groups in answers)
                assert elections.due(answers, int(loop.time() * 1_000)) == []
    await journals.append_to_all(1)


async def test_the_sentinels_user_may_ask_for_votes_and_nothing_else(cluster: NatsCluster) -> None:
    refused: list[str] = []
    heard = asyncio.Event()

    async def note(error: Exception) -> None:
        refused.append(str(error).lower())
        heard.set()

    client = Client()
    url = cluster.nats_urls("sentinel")[0]
    await client.connect(url, allow_reconnect=False, error_cb=note, inbox_prefix="_INBOX_sentinel")
    subjects = ["$NRG.AE.x", "$NRG.R.x", "$SYS.REQ.SERVER.PING", "$JS.API.INFO", "wallet.evt.0"]
    try:
        for subject in ("$NRG.V.nothing-has-this-name", *subjects):
            await client.publish(subject, b"x")
        for subject in ("$NRG.>", "$SYS.>", ">"):
            await client.subscribe(subject)
        async with asyncio.timeout(STALL_S_MAX):
            while len(refused) < len(subjects) + 3:
                heard.clear()
                await heard.wait()
    finally:
        with suppress(nats.errors.Error):
            await client.close()
    assert all(any(subject.lower() in each for each in refused) for subject in subjects)
    assert not any("$nrg.v." in each for each in refused)
