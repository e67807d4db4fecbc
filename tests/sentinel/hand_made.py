"""Servers made by hand: they say of themselves what a test wants, in nats-server's words."""

import asyncio
import json
import socket
import struct
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import nats
from aiohttp import ClientSession, web
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker.nats_raft import RaftServer
from broker.nats_subscription import all_sent
from broker.raft import FOLLOWER, LEADER
from ewallet.nats_binary import find_nats_server
from tests.broker.test_nats_sync import free_address

DEADLINE_S = 20.0
"""Only to end a test that hangs."""
META = "_meta_"
STREAM = "S-R3F-abc"
SHORT, LONG = "1.9s", "2.3s"
"""A living leader is heard each 2 s at least."""


class HandMade:
    """One server's monitoring address, and what is said there; tests change it at will.

    It begins as a member of two groups that it follows server c in, in term 7.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity = f"N{name}"
        """Another one after each start."""
        self.routes = [f"N{other}" for other in "abc" if other != name]
        """The identities of the servers that it has connections to."""
        self.is_stuck: set[str] = set()
        """Paths at which it takes too long to answer."""
        self.asked: Counter[str] = Counter()
        """How often each path was asked for."""
        self._more = asyncio.Event()
        self._ended = asyncio.Event()
        follower = {
            "id": peer_id(name),
            "state": FOLLOWER,
            "quorum_needed": 2,
            "leader": peer_id("c"),
            "term": 7,
            "pindex": 9,
            "system_account": True,
            "peers": {peer_id("c"): {"last_seen": SHORT}},
        }
        self.groups: dict[str, dict[str, Any]] = {META: follower, STREAM: dict(follower)}

    def say(self, **said: Any) -> None:
        """Say something else of both groups."""
        for group in self.groups:
            self.groups[group] |= said

    def unheard(self, duration: str) -> None:
        """Have heard nothing of the leader for so long."""
        self.say(peers={peer_id("c"): {"last_seen": duration}})

    def lead(self) -> None:
        """Say that it leads."""
        self.say(state=LEADER, leader=peer_id(self.name), peers={})

    async def until_asked(self, path: str, times: int) -> None:
        """Return when a path was asked for so many times from now on."""
        wanted = self.asked[path] + times
        async with asyncio.timeout(DEADLINE_S):
            while self.asked[path] < wanted:
                self._more.clear()
                await self._more.wait()

    @asynccontextmanager
    async def listening(self, session: ClientSession, nats_url: str) -> AsyncIterator[RaftServer]:
        """The server as the sentinel sees it, for as long as it lives."""
        self._ended = asyncio.Event()
        application = web.Application()
        for path, tell in {
            "/accountz": lambda _: {"server_id": self.identity},
            "/routez": lambda _: {"routes": [{"remote_id": each} for each in self.routes]},
            "/raftz": self._raftz,
        }.items():
            application.router.add_get(path, self._told_by(tell))
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield RaftServer(session, f"http://127.0.0.1:{runner.addresses[0][1]}", nats_url)
        finally:
            self._ended.set()
            await runner.cleanup()

    def _raftz(self, account: str) -> dict[str, Any]:
        group = META if account == "$SYS" else STREAM
        return {account: {group: self.groups[group]}}

    def _told_by(self, tell: Any) -> Any:
        async def answer(request: web.Request) -> web.Response:
            self.asked[request.path] += 1
            self._more.set()
            if request.path in self.is_stuck:
                await self._ended.wait()
            return web.json_response(tell(request.query.get("acc")), dumps=json.dumps)

        return answer


def peer_id(name: str) -> str:
    """How a server is called in its groups."""
    return name * 8


class Voters:
    """Who listens where requests for votes go."""

    def __init__(self, client: Client, url: str) -> None:
        self.url = url
        self._client = client
        self._heard: list[tuple[str, int, str]] = []
        self._marked = asyncio.Event()

    async def listen(self) -> None:
        await self._client.subscribe("$NRG.V.*", cb=self._hear)
        await all_sent(self._client)

    async def heard(self) -> list[tuple[str, int, str]]:
        """The group, term and candidate of each request since the last time.

        Who sent one has seen that the server had it, so it comes before what is sent now.
        """
        self._marked.clear()
        await self._client.publish("$NRG.V.marker", b"")
        async with asyncio.timeout(DEADLINE_S):
            await self._marked.wait()
        heard, self._heard = self._heard, []
        return sorted(heard)

    async def _hear(self, message: Msg) -> None:
        group = message.subject.removeprefix("$NRG.V.")
        if group == "marker":
            self._marked.set()
            return
        term, last_term, last_index, candidate = struct.unpack("<QQQ8s", message.data)
        assert (last_term, last_index) == (0, 0), "an empty log: nobody can be elected by it"
        self._heard.append((group, term, candidate.decode()))


@contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """A real server; gives its address for users of its own NATS account, where Raft talks."""
    address = free_address()
    host, port = address.split(":")
    user = {"user": "sentinel", "password": "s3cret"}
    configuration = {"host": host, "port": int(port), "accounts": {"$SYS": {"users": [user]}}}
    path = folder / "nats-server.conf"
    path.write_text(json.dumps(configuration))
    server = subprocess.Popen([find_nats_server(None), "--config", path], stderr=subprocess.DEVNULL)
    try:
        _await_listener(host, int(port))
        yield f"nats://sentinel:s3cret@{address}"
    finally:
        server.terminate()
        server.wait(DEADLINE_S)


def _await_listener(host: str, port: int) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        with suppress(ConnectionRefusedError):
            socket.create_connection((host, port), DEADLINE_S).close()
            return
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@asynccontextmanager
async def voting_at(url: str) -> AsyncIterator[Voters]:
    """Listen on a server."""
    client = await nats.connect(url)
    voters = Voters(client, url)
    await voters.listen()
    try:
        yield voters
    finally:
        await client.close()
