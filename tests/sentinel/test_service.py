"""What the sentinel makes of servers that say this or that: made by hand, heard by a real NATS."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import accumulate, count, takewhile

import pytest
from aiohttp import ClientSession

from broker.nats_raft import RaftServer, new_session
from broker.raft import CANDIDATE, FOLLOWER
from sentinel.core.elections import STILL_MS, TRIES_MAX, Elections
from sentinel.service import Sentinel, hasten, pause_s
from tests.sentinel.hand_made import (
    LONG,
    META,
    STREAM,
    HandMade,
    Voters,
    nats_server,
    peer_id,
    voting_at,
)

pytestmark = pytest.mark.server

REQUESTS = sorted((group, 8, peer_id("c")) for group in (META, STREAM))
"""In the lost leader's name, in the term above the highest."""
NOWHERE = "nats://127.0.0.1:1"


@pytest.fixture(scope="module")
def nats_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Started once for all tests."""
    with nats_server(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture
async def voters(nats_url: str) -> AsyncIterator[Voters]:
    async with voting_at(nats_url) as voters:
        yield voters


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with new_session() as session:
        yield session


class Watched:
    """Servers a, b and c. They are asked as a sentinel asks those that answered it last."""

    def __init__(self, session: ClientSession, nats_url: str) -> None:
        self.made = {name: HandMade(name) for name in "abc"}
        self.now_ms = 0
        self.elections = Elections()
        self.servers: dict[str, RaftServer] = {}
        self._nats_url = nats_url
        self._session = session
        self._lives: dict[str, AsyncExitStack] = {}

    async def start(self, name: str, nats_url: str = "") -> None:
        life = self._lives[name] = AsyncExitStack()
        listening = self.made[name].listening(self._session, nats_url or self._nats_url)
        self.servers[name] = await life.enter_async_context(listening)

    async def stop(self, name: str) -> None:
        await self._lives.pop(name).aclose()

    async def stop_all(self) -> None:
        for name in list(self._lives):
            await self.stop(name)

    async def hasten(self, *names: str) -> None:
        """One beat, in which these servers have said who they are."""
        identities = {self.servers[name]: self.made[name].identity for name in names}
        await hasten(identities, self.elections, lambda: self.now_ms)


@pytest.fixture
async def watched(session: ClientSession, voters: Voters) -> AsyncIterator[Watched]:
    watched = Watched(session, voters.url)
    for name in "abc":
        await watched.start(name)
    yield watched
    await watched.stop_all()


# --- which leaders are taken for lost: c leads, as a and b say ---


def dies(a: HandMade, b: HandMade, _: HandMade) -> None:
    """A process that dies closes its connections."""
    a.routes, b.routes = [b.identity], [a.identity]


def is_silent(_a: HandMade, _b: HandMade, _c: HandMade) -> None:
    """Its connections stand."""


def still_has_a_connection(a: HandMade, b: HandMade, c: HandMade) -> None:
    a.routes, b.routes = [b.identity], [a.identity, c.identity]


def is_gone_while_another_does_not_tell_of_connections(
    a: HandMade, b: HandMade, c: HandMade
) -> None:
    dies(a, b, c)
    b.is_stuck = {"/routez"}


def is_unheard_by_all(a: HandMade, b: HandMade, _: HandMade) -> None:
    a.unheard(LONG)
    b.unheard(LONG)


def is_unheard_by_one(a: HandMade, _b: HandMade, _c: HandMade) -> None:
    a.unheard(LONG)


def is_gone_from_an_older_term(a: HandMade, b: HandMade, c: HandMade) -> None:
    dies(a, b, c)
    a.say(term=4)


SILENT: dict[Callable[[HandMade, HandMade, HandMade], None], bool] = {
    dies: True,
    is_silent: False,
    still_has_a_connection: False,
    is_gone_while_another_does_not_tell_of_connections: False,
    is_unheard_by_all: True,
    is_unheard_by_one: False,
    is_gone_from_an_older_term: True,
}


@pytest.mark.parametrize("fault", SILENT, ids=lambda fault: fault.__name__)
async def test_the_leader_of_a_silent_server_is_lost_only_if_nobody_can_hear_it(
    watched: Watched, voters: Voters, fault: Callable[[HandMade, HandMade, HandMade], None]
) -> None:
    await watched.stop("c")
    fault(*watched.made.values())
    await watched.hasten("a", "b")
    assert await voters.heard() == (REQUESTS if SILENT[fault] else [])


def follows_in_its_term(_a: HandMade, _b: HandMade, c: HandMade) -> None:
    """It was started anew."""
    c.identity = "Nc, started again"
    c.say(leader="")


def leads(_a: HandMade, _b: HandMade, c: HandMade) -> None:
    c.lead()


def leads_and_is_unheard_by_the_others(a: HandMade, b: HandMade, c: HandMade) -> None:
    """They are cut off from it, and we are not: that is left to the servers."""
    c.lead()
    is_unheard_by_all(a, b, c)


def is_slow(_a: HandMade, _b: HandMade, c: HandMade) -> None:
    """It tells who it is and not what it leads: it may be busy."""
    c.lead()
    c.is_stuck = {"/raftz"}


def is_slow_and_its_connections_are_being_made(a: HandMade, b: HandMade, c: HandMade) -> None:
    dies(a, b, c)
    is_slow(a, b, c)


def was_asked_before_its_election(_a: HandMade, _b: HandMade, c: HandMade) -> None:
    c.say(state=CANDIDATE, leader="")


def was_asked_before_it_stood_for_election(_a: HandMade, _b: HandMade, c: HandMade) -> None:
    c.say(state=FOLLOWER, leader="", term=6)


def gave_way_to_a_newer_election(_a: HandMade, _b: HandMade, c: HandMade) -> None:
    c.say(state=FOLLOWER, leader="", term=8)


ANSWERS: dict[Callable[[HandMade, HandMade, HandMade], None], bool] = {
    follows_in_its_term: True,
    leads: False,
    leads_and_is_unheard_by_the_others: False,
    is_slow: False,
    is_slow_and_its_connections_are_being_made: False,
    was_asked_before_its_election: False,
    was_asked_before_it_stood_for_election: False,
    gave_way_to_a_newer_election: False,
}


@pytest.mark.parametrize("fault", ANSWERS, ids=lambda fault: fault.__name__)
async def test_a_leader_that_answers_is_lost_only_if_it_follows_in_the_term_that_it_led(
    watched: Watched, voters: Voters, fault: Callable[[HandMade, HandMade, HandMade], None]
) -> None:
    fault(*watched.made.values())
    await watched.hasten("a", "b", "c")
    assert await voters.heard() == (REQUESTS if ANSWERS[fault] else [])


async def test_one_of_three_asks_for_nothing(watched: Watched, voters: Voters) -> None:
    await watched.stop("b")
    await watched.stop("c")
    watched.made["a"].routes = []
    watched.made["a"].unheard(LONG)
    await watched.hasten("a")
    assert await voters.heard() == []


# --- how often, and through whom ---


async def test_requests_go_out_five_times_at_most_until_a_leader_was_seen(
    watched: Watched, voters: Voters
) -> None:
    await watched.stop("c")
    dies(*watched.made.values())
    sent = []
    for beat in range(4 * (TRIES_MAX + 2)):
        watched.now_ms = beat * STILL_MS // 4
        await watched.hasten("a", "b")
        sent.append(await voters.heard())
    assert sent == (TRIES_MAX * [REQUESTS, [], [], []]) + 2 * 4 * [[]]
    watched.made["b"].lead()
    await watched.hasten("a", "b")
    watched.made["b"].say(state=FOLLOWER, leader=peer_id("c"))
    await watched.hasten("a", "b")
    assert await voters.heard() == REQUESTS


async def test_each_request_is_above_the_term_of_the_campaign_before(
    watched: Watched, voters: Voters
) -> None:
    """The lost leader is known from the first time, when nobody names it any more."""
    await watched.stop("c")
    dies(*watched.made.values())
    await watched.hasten("a", "b")
    for made in watched.made.values():
        made.say(leader="", term=9)
    await watched.hasten("a", "b")
    watched.now_ms = STILL_MS
    await watched.hasten("a", "b")
    assert await voters.heard() == sorted(
        REQUESTS + [(group, 10, candidate) for group, _, candidate in REQUESTS]
    )


async def test_a_server_that_takes_no_requests_is_passed_over_for_another(
    watched: Watched, voters: Voters
) -> None:
    await watched.stop("a")
    await watched.start("a", NOWHERE)
    await watched.stop("c")
    dies(*watched.made.values())
    await watched.hasten("a", "b")
    assert await voters.heard() == REQUESTS, "once"


async def test_what_no_server_takes_is_tried_again(watched: Watched, voters: Voters) -> None:
    for name in "ab":
        await watched.stop(name)
        await watched.start(name, NOWHERE)
    await watched.stop("c")
    dies(*watched.made.values())
    await watched.hasten("a", "b")
    assert await voters.heard() == []
    await watched.stop("b")
    await watched.start("b")
    watched.now_ms = STILL_MS
    await watched.hasten("a", "b")
    assert await voters.heard() == REQUESTS


# --- when the groups are asked for at all ---


@contextmanager
def watching(watched: Watched) -> Iterator[None]:
    """A sentinel at work, by the clock of the test."""
    sentinel = Sentinel(list(watched.servers.values()), lambda: watched.now_ms)
    task = asyncio.create_task(sentinel.run())
    try:
        yield
    finally:
        task.cancel()


async def is_not_asked(made: HandMade) -> bool:
    """Whether a server is asked who it is, and not for its groups."""
    await made.until_asked("/accountz", 4)  # a round that is under way ends in less
    before = made.asked["/raftz"]
    await made.until_asked("/accountz", 4)
    return made.asked["/raftz"] == before


async def test_while_all_servers_answer_none_is_asked_for_its_groups(watched: Watched) -> None:
    with watching(watched):
        assert await is_not_asked(watched.made["a"])
        assert not watched.made["a"].asked["/raftz"]


def test_a_silent_server_is_asked_again_at_once_and_then_seldom() -> None:
    """A name that nobody resolves takes a thread for 10 s, and two such servers must leave some."""
    assert pause_s(1) == pause_s(0)
    asked_s = accumulate((0.5 + pause_s(silences) for silences in count(1)), initial=0.0)
    assert len(list(takewhile(lambda at_s: at_s < 10.0, asked_s))) == 8
    assert pause_s(100) == pause_s(3)


async def test_a_silent_servers_groups_are_looked_after_for_a_while(
    watched: Watched, voters: Voters
) -> None:
    made = watched.made["a"]
    with watching(watched):
        await made.until_asked("/accountz", 2)
        await watched.stop("c")
        dies(*watched.made.values())
        await made.until_asked("/raftz", 4)
        assert await voters.heard() == REQUESTS
        watched.now_ms = 60_000
        assert await is_not_asked(made)


async def test_a_server_that_was_started_anew_between_two_questions_is_noticed(
    watched: Watched, voters: Voters
) -> None:
    made = watched.made["a"]
    with watching(watched):
        await made.until_asked("/accountz", 2)
        follows_in_its_term(*watched.made.values())
        await made.until_asked("/raftz", 4)
        assert await voters.heard() == REQUESTS


async def test_a_server_that_is_silent_from_the_first_is_looked_after(
    watched: Watched, voters: Voters
) -> None:
    await watched.stop("c")
    dies(*watched.made.values())
    with watching(watched):
        await watched.made["a"].until_asked("/raftz", 4)
        assert await voters.heard() == REQUESTS
