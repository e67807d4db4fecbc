"""The generated configuration on a real nats-server: who may do what, and who is given up."""

import asyncio
import json
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker.nats_broker import NatsBroker
from broker.nats_subscription import all_sent
from contracts.parties import parties
from contracts.partitioning import SlotMap
from contracts.subjects import journal_subject, queue_stream, step_subject
from ewallet.data_folder import open_data_folder
from ewallet.nats_binary import find_nats_server
from ewallet.nats_configuration import NatsSettings, render
from ewallet.nats_server import await_server, new_nats_settings
from ewallet.permissions import Role, inbox_prefix, permissions_of_roles
from tests.broker.implementations import blocks_of

pytestmark = pytest.mark.server

PARTITIONS = 2
JOURNAL = {"name": "EVT_0", "subjects": ["wallet.evt.0"], "storage": "file"}
QUEUE = {"name": "CMD_0", "subjects": ["wallet.cmd.0", "wallet.step.0"], "storage": "memory"}
BUCKET = {"name": "KV_WALLET", "subjects": ["$KV.WALLET.>"], "storage": "file"}


class Seat:
    """A role's connection, and the permission errors that the server sent it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.refusals: list[str] = []
        self.canaries = 0
        self.heard = asyncio.Event()

    async def note(self, fault: Exception) -> None:
        """Take one error from the server."""
        self.refusals.append(str(fault).lower())
        self.heard.set()

    async def refusals_so_far(self) -> list[str]:
        """Return every refusal of what was sent before.

        A subject that is certainly refused is sent behind it; errors come in order.
        """
        self.canaries += 1
        canary = f"canary.{self.canaries}"
        await self.client.publish(canary)
        async with asyncio.timeout(5):
            while not any(canary in refusal for refusal in self.refusals):
                self.heard.clear()
                await self.heard.wait()
        refusals, self.refusals = self.refusals, []
        return [refusal for refusal in refusals if canary not in refusal]

    async def is_refused(self, subject: str, body: object = None) -> bool:
        """Whether the server says that this role may not publish there."""
        data = b"" if body is None else json.dumps(body).encode()
        await self.client.publish(subject, data)
        return any(subject.lower() in refusal for refusal in await self.refusals_so_far())

    async def api(self, verb: str, body: object = None) -> dict[str, object]:
        """Return the answer to a JetStream request."""
        data = b"" if body is None else json.dumps(body).encode()
        reply = await self.client.request(f"$JS.API.{verb}", data, timeout=5)
        answer: dict[str, object] = json.loads(reply.data)
        return answer


async def sit_down(settings: NatsSettings, role: Role) -> Seat:
    seat = Seat(Client())
    await seat.client.connect(
        settings.url(role),
        inbox_prefix=inbox_prefix(role),
        error_cb=seat.note,
        allow_reconnect=False,
    )
    return seat


@asynccontextmanager
async def connected(settings: NatsSettings, role: Role) -> AsyncIterator[NatsBroker]:
    """The connection that a service of this role works with."""
    broker = await NatsBroker.connect(settings.url(role), name="test", role=role.value)
    try:
        yield broker
    finally:
        await broker.close()


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[NatsSettings]:
    """A running server with two partitions; it ends with the test."""
    settings = new_nats_settings(open_data_folder(tmp_path / "data"))
    configuration = tmp_path / "nats-server.conf"
    configuration.write_text(render(settings, permissions_of_roles(PARTITIONS)))
    process = subprocess.Popen([find_nats_server(None), "--config", configuration])  # noqa: ASYNC220
    try:
        async with asyncio.timeout(10):
            await await_server(settings.port, settings.server_name)
        yield settings
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
async def seats(settings: NatsSettings) -> AsyncIterator[dict[Role, Seat]]:
    """A connection per role, the streams of partition 0, and the bucket."""
    seats = {role: await sit_down(settings, role) for role in Role}
    for stream in (JOURNAL, QUEUE, BUCKET):
        answer = await seats[Role.WRITER].api(f"STREAM.CREATE.{stream['name']}", stream)
        assert "error" not in answer
    try:
        yield seats
    finally:
        for seat in seats.values():
            with suppress(nats.errors.Error):
                await seat.client.close()


FORBIDDEN = [
    (Role.PROXY, "wallet.evt.0"),
    (Role.PROXY, "wallet.res.proxy-1"),
    (Role.PROXY, "wallet.chg.0"),
    (Role.PROXY, "wallet.step.0"),
    (Role.PROXY, "wallet.step.1"),
    (Role.PROXY, "wallet.step.c0"),
    (Role.PROXY, "wallet.cmd.c0"),
    (Role.PROXY, "wallet.evt.c0"),
    (Role.PROXY, "$KV.WALLET.slot-map"),
    (Role.PROXY, "$JS.API.STREAM.CREATE.KV_WALLET"),
    (Role.PROXY, "$JS.API.STREAM.DELETE.KV_WALLET"),
    (Role.PROXY, "_INBOX_writer.guess"),
    (Role.PROXY, "$JS.API.STREAM.CREATE.EVT_0"),
    (Role.PROXY, "$JS.API.STREAM.DELETE.EVT_0"),
    (Role.PROXY, "$JS.API.STREAM.PURGE.CMD_0"),
    (Role.PROXY, "$JS.API.CONSUMER.CREATE.EVT_0.spy"),
    (Role.PROXY, "$JS.API.STREAM.MSG.GET.EVT_0"),
    (Role.PROXY, "$O.SNAPSHOTS.C.0-1-x"),
    (Role.PROXY, "$O.SNAPSHOTS.M.MC8x"),
    (Role.PROXY, "$JS.API.STREAM.PURGE.OBJ_SNAPSHOTS"),
    (Role.PROXY, "$JS.API.STREAM.MSG.GET.OBJ_SNAPSHOTS"),
    (Role.READER, "$O.SNAPSHOTS.C.0-1-x"),
    (Role.READER, "$O.SNAPSHOTS.M.MC8x"),
    (Role.READER, "$JS.API.STREAM.PURGE.OBJ_SNAPSHOTS"),
    (Role.WRITER, "$JS.API.STREAM.DELETE.OBJ_SNAPSHOTS"),
    (Role.WRITER, "$JS.API.STREAM.UPDATE.OBJ_SNAPSHOTS"),
    (Role.READER, "wallet.evt.0"),
    (Role.READER, "wallet.cmd.0"),
    (Role.READER, "wallet.chg.2"),
    (Role.READER, "wallet.listen.0"),
    (Role.READER, "wallet.step.0"),
    (Role.READER, "wallet.step.c0"),
    (Role.READER, "wallet.evt.c0"),
    (Role.READER, "$KV.WALLET.slot-map"),
    (Role.READER, "_INBOX_proxy.guess"),
    (Role.READER, "$JS.API.STREAM.CREATE.EVT_0"),
    (Role.READER, "$JS.API.STREAM.DELETE.EVT_0"),
    (Role.READER, "$JS.API.STREAM.MSG.DELETE.EVT_0"),
    (Role.READER, "$JS.API.CONSUMER.CREATE.CMD_0.spy"),
    (Role.WRITER, "wallet.evt.2"),  # there are two partitions
    (Role.WRITER, "wallet.step.2"),
    (Role.WRITER, "wallet.cmd.0"),
    (Role.WRITER, "$KV.WALLET.other"),
    (Role.WRITER, "$JS.API.STREAM.DELETE.KV_WALLET"),
    (Role.WRITER, "$JS.API.STREAM.PURGE.KV_WALLET"),
    (Role.WRITER, "$JS.API.STREAM.UPDATE.CMD_c0"),
    (Role.WRITER, "$JS.API.STREAM.DELETE.EVT_c0"),
    (Role.WRITER, "wallet.res.proxy-1"),
    (Role.WRITER, "wallet.chg.0"),
    (Role.WRITER, "wallet.listen.0"),
    (Role.WRITER, "$JS.API.STREAM.CREATE.OTHER"),
    (Role.WRITER, "$JS.API.STREAM.UPDATE.EVT_0"),
    (Role.WRITER, "$JS.API.STREAM.DELETE.EVT_0"),
    (Role.WRITER, "$JS.API.STREAM.PURGE.EVT_0"),
    (Role.WRITER, "$JS.API.STREAM.MSG.DELETE.EVT_0"),
    (Role.WRITER, "$JS.API.STREAM.RESTORE.EVT_0"),
    (Role.WRITER, "$JS.API.STREAM.SNAPSHOT.EVT_0"),
    (Role.WRITER, "$SYS.REQ.SERVER.PING"),
]

ALLOWED = [
    (Role.PROXY, "wallet.cmd.1"),
    (Role.PROXY, "wallet.qry.0"),
    (Role.PROXY, "wallet.qry.0.all"),
    (Role.PROXY, "wallet.listen.1"),
    (Role.PROXY, "wallet.status.writer"),
    (Role.READER, "wallet.res.proxy-1"),
    (Role.READER, "wallet.chg.1"),
    (Role.WRITER, "wallet.evt.1"),
    (Role.WRITER, "wallet.evt.c0"),
    (Role.WRITER, "wallet.step.0"),
    (Role.WRITER, "wallet.step.1"),
    (Role.WRITER, "wallet.step.c0"),
]


async def test_no_role_may_publish_what_another_does(seats: dict[Role, Seat]) -> None:
    """Each forbidden subject is refused by the server itself, for each role."""
    passed = [
        f"{role.value} {subject}"
        for role, subject in FORBIDDEN
        if not await seats[role].is_refused(subject, {})
    ]
    assert passed == []


async def test_every_role_may_publish_what_its_work_needs(seats: dict[Role, Seat]) -> None:
    """The refusals above are no accident of a server that refuses everything."""
    refused = [
        f"{role.value} {subject}"
        for role, subject in ALLOWED
        if await seats[role].is_refused(subject)
    ]
    assert refused == []


async def test_a_forged_step_reaches_no_queue(seats: dict[Role, Seat]) -> None:
    """Of the three who send a step, the writer's alone is stored."""
    for role in Role:
        await seats[role].client.publish("wallet.step.0", role.value.encode())
        await seats[role].refusals_so_far()
    answer = await seats[Role.WRITER].api("STREAM.INFO.CMD_0")
    state = answer["state"]
    assert isinstance(state, dict)
    assert state["messages"] == 1
    stored = await seats[Role.WRITER].api("STREAM.MSG.GET.CMD_0", {"seq": 1})
    assert isinstance(stored["message"], dict)
    assert b64decode(stored["message"]["data"]) == b"writer"


async def test_each_role_connects_makes_and_reads_what_its_work_needs(
    settings: NatsSettings,
) -> None:
    """Through the broker itself: all parties' streams, and the slot map that proxies read."""
    async with connected(settings, Role.WRITER) as writer, connected(settings, Role.PROXY) as proxy:
        await writer.provide_streams(PARTITIONS)
        await writer.provide_streams(PARTITIONS)
        assert await writer.provide_slot_map(SlotMap.even(PARTITIONS)) == SlotMap.even(PARTITIONS)
        assert await proxy.slot_map() == SlotMap.even(PARTITIONS)
        for party in parties(PARTITIONS):
            await writer.publish(step_subject(party), b"step")
            following = await writer.follow(queue_stream(party), after=None)
            async with asyncio.timeout(5):
                messages = await anext(aiter(following))
            assert [(m.subject, m.data) for m in messages] == [(step_subject(party), b"step")]
            appended = await writer.append(
                journal_subject(party), b"frame", expected_last_sequence=0
            )
            assert await appended == 1
            await writer.put_snapshot(party, 5, _blocks())
            assert await writer.snapshots(party) == [5]
            assert await blocks_of(writer, party, 5) == [b"a block"]
            await writer.prune_snapshots(party, below=6, kept=())
            assert await writer.snapshots(party) == []


async def _blocks() -> AsyncIterator[bytes]:
    yield b"a block"


@pytest.mark.parametrize(
    ("role", "subject"),
    [
        (Role.PROXY, "wallet.evt.0"),
        (Role.PROXY, "_INBOX_reader.>"),
        (Role.PROXY, ">"),
        (Role.READER, "_INBOX_proxy.>"),
        (Role.PROXY, "wallet.listen.0"),
        (Role.READER, "wallet.res.*"),
        (Role.READER, "wallet.chg.0"),
        (Role.WRITER, "wallet.qry.0"),
        (Role.PROXY, "wallet.qry.0.all"),
        (Role.WRITER, "wallet.listen.0"),
        (Role.WRITER, "$JS.ACK.>"),
    ],
)
async def test_no_role_may_listen_to_another(
    seats: dict[Role, Seat], role: Role, subject: str
) -> None:
    """Subscriptions are allow-lists too, the private inboxes included."""
    seat = seats[role]

    async def ignore(_: object) -> None: ...

    await seat.client.subscribe(subject, cb=ignore)
    assert any("subscription" in refusal for refusal in await seat.refusals_so_far())


async def test_journal_survives_every_attempt_to_delete_it(seats: dict[Role, Seat]) -> None:
    """After the attempts of all roles the journal still holds its message."""
    await seats[Role.WRITER].client.publish("wallet.evt.0", b"frame")
    for role in Role:
        for verb in ("DELETE", "PURGE", "MSG.DELETE"):
            assert await seats[role].is_refused(f"$JS.API.STREAM.{verb}.EVT_0", {"seq": 1})
    answer = await seats[Role.READER].api("STREAM.MSG.GET.EVT_0", {"seq": 1})
    assert "error" not in answer


async def test_reader_may_answer_a_proxy_once(seats: dict[Role, Seat]) -> None:
    """A reply is allowed because it was asked for, and only as often as it was asked for."""
    reader, proxy = seats[Role.READER], seats[Role.PROXY]
    asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def answer(message: Msg) -> None:
        await message.respond(b"here")
        asked.set_result(message.reply)

    await reader.client.subscribe("wallet.qry.0", cb=answer)
    await all_sent(reader.client)
    async with asyncio.timeout(5):
        while not asked.done():  # the server may not know at once that there is a reader
            with suppress(nats.errors.NoRespondersError):
                told = await proxy.client.request("wallet.qry.0", b"", timeout=5)
    assert told.data == b"here"
    assert await reader.is_refused(await asked)


@pytest.mark.parametrize("login", [{}, {"user": "writer"}, {"user": "writer", "pass": "guess"}])
async def test_wrong_password_and_no_password_are_refused(
    settings: NatsSettings, login: dict[str, str]
) -> None:
    """There is no user without a password. Spoken by hand: the client leaks refused sockets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.port)
    try:
        await reader.readline()  # INFO
        writer.write(b"CONNECT " + json.dumps({"verbose": False, **login}).encode() + b"\r\n")
        writer.write(b"PING\r\n")
        async with asyncio.timeout(5):
            assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def test_who_takes_questions_and_says_nothing_any_more_is_soon_given_up(
    settings: NatsSettings, seats: dict[Role, Seat]
) -> None:
    """As a reader whose machine lost its power: no end of its connection ever comes."""
    proxy = seats[Role.PROXY].client
    login = {"user": "reader", "pass": settings.passwords[Role.READER], "verbose": False}
    silent, writer = await asyncio.open_connection("127.0.0.1", settings.port)
    try:
        await silent.readline()  # INFO
        writer.write(b"CONNECT " + json.dumps(login | {"headers": True}).encode() + b"\r\n")
        writer.write(b"SUB wallet.qry.0 readers 1\r\nPING\r\n")
        async with asyncio.timeout(5):
            assert await silent.readline() == b"PONG\r\n"
        with pytest.raises(nats.errors.TimeoutError):
            await proxy.request("wallet.qry.0", b"", timeout=0.5)
        async with asyncio.timeout(30):
            told = await silent.read()
        assert b"Stale Connection" in told
        with pytest.raises(nats.errors.NoRespondersError):
            await proxy.request("wallet.qry.0", b"", timeout=5)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
