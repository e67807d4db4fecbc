"""A writer recovers from snapshots that a real nats-server keeps, or does without them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from broker.nats_broker import NatsBroker
from contracts.commands import Command, OpenAccount, Transfer
from contracts.frames import COMMAND_FRAME, CommandFrame
from contracts.partitioning import SlotMap
from contracts.subjects import SNAPSHOT_CHUNKS, SNAPSHOTS_STREAM, command_subject, journal_stream
from runtime.settings import ServiceSettings
from simulation.states import state_of
from tests.broker.implementations import Connect, blocks_of, over_nats
from writer.bootstrap import make_writers
from writer.config import SnapshotRule
from writer.core.machine import Machine
from writer.core.partition import Partition
from writer.service.party import PartyWriter
from writer.service.reign import Reign

pytestmark = pytest.mark.server

DEADLINE_S: Final = 20.0
SLOTS: Final = SlotMap.even(1)
NEVER: Final = SnapshotRule(events=10**9, frames=10**9, seconds=10**6)
ALWAYS: Final = SnapshotRule(events=1, frames=10**9, seconds=10**6)
OPENINGS: Final[list[Command]] = [OpenAccount("a", "USD", 100), OpenAccount("b", "USD", 0)]


class Wallet:
    """One partition on a real server, written by one writer after another."""

    def __init__(self, connect: Connect, folder: Path) -> None:
        self._connect = connect
        self._folder = folder
        self._numbers = count(1, 1_000)
        self._names = count(1)

    @asynccontextmanager
    async def writer(self, rule: SnapshotRule) -> AsyncIterator[PartyWriter[Partition]]:
        """A reigning writer. Each has a folder, and so a witness, of its own."""
        name = f"w{next(self._names)}"
        broker = await self.broker()
        await broker.provide_streams(1)
        settings = ServiceSettings("", "", 1, self._folder / name)
        with ExitStack() as stack:
            writers = make_writers(
                broker, settings, SLOTS, name, stack, led=[0], snapshot_rule=rule
            )
            (writer,) = writers.partitions
            tasks: list[asyncio.Task[Any]] = [asyncio.create_task(work) for work in writers.works()]
            tasks.append(asyncio.create_task(writer.reigning.wait()))
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            try:
                yield writer
                await writers.leading.leave()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await broker.close()

    async def broker(self) -> NatsBroker:
        broker = await self._connect()
        assert isinstance(broker, NatsBroker)
        return broker

    async def send(self, writer: PartyWriter[Partition], *commands: Command) -> None:
        """Return when the events are durable and in a snapshot, if there is one of each event."""
        until = reign_of(writer).durable_sequence + len(commands)
        client = await self.broker()
        frame = CommandFrame("proxy", next(self._numbers), list(commands))
        await client.publish(command_subject(0), COMMAND_FRAME.encode(frame))
        await self.reach(writer, until)
        await client.close()

    async def reach(self, writer: PartyWriter[Partition], sequence: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while reign_of(writer).durable_sequence < sequence:  # noqa: ASYNC110  # nobody else needs to be told
                await asyncio.sleep(0.002)

    async def snapshot_at(self, writer: PartyWriter[Partition], sequence: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                written = writer.snapshots.written
                if written is not None and written.sequence >= sequence:
                    return
                await asyncio.sleep(0.002)

    async def worked(self) -> None:
        """The life of a writer that leaves two snapshots."""
        async with self.writer(ALWAYS) as writer:
            await self.send(writer, *OPENINGS)
            for number in range(3):
                await self.send(writer, Transfer("a", "b", 1, "USD", f"t{number}"))
                await self.snapshot_at(writer, reign_of(writer).durable_sequence)

    async def worked_on(self) -> None:
        """The life of another writer, which leaves a snapshot of all there is."""
        async with self.writer(ALWAYS) as writer:
            await self.send(writer, Transfer("a", "b", 1, "USD", "t20"))
            reached = reign_of(writer).durable_sequence
            await self.snapshot_at(writer, reached)
        await self.check_recovery(reached)

    async def check_recovery(self, *bases: int) -> None:
        """The next writer starts from one of these and is where a full replay would be."""
        async with self.writer(NEVER) as writer:
            assert writer.snapshots.base.sequence in bases
            client = await self.broker()
            replayed = Machine(0, Partition(0, SLOTS))
            last = (await client.stream_state(journal_stream(0))).last_sequence
            for sequence in range(1, last + 1):
                message = await client.stored_message(journal_stream(0), sequence)
                assert message is not None
                replayed.replay(message.data)
            await client.close()
            assert state_of(reign_of(writer).machine) == state_of(replayed)


def reign_of(writer: PartyWriter[Partition]) -> Reign[Partition]:
    assert writer.reign is not None
    return writer.reign


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[Wallet]:
    async with over_nats(tmp_path / "nats") as connect:
        yield Wallet(connect, tmp_path)


async def test_recovery_from_a_snapshot_on_the_server_equals_a_full_replay(wallet: Wallet) -> None:
    await wallet.worked()
    broker = await wallet.broker()
    newest, _ = await broker.snapshots(0)
    async with wallet.writer(NEVER) as writer:
        await wallet.send(writer, Transfer("a", "b", 1, "USD", "t9"), OpenAccount("c", "USD", 1))
    await wallet.check_recovery(newest)
    await broker.close()


async def test_a_flipped_bit_then_a_missing_chunk_on_the_server_are_noticed(
    wallet: Wallet, caplog: pytest.LogCaptureFixture
) -> None:
    await wallet.worked()
    broker = await wallet.broker()
    newest, older = await broker.snapshots(0)
    blocks = await blocks_of(broker, 0, newest)

    async def flipped() -> AsyncIterator[bytes]:
        for number, block in enumerate(blocks):
            yield bytes([block[0] ^ 1, *block[1:]]) if number == 2 else block

    await broker.put_snapshot(0, newest, flipped())
    await wallet.check_recovery(older)
    assert f"snapshot at sequence {newest} is not used" in caplog.text
    await delete_a_chunk(broker, f"{SNAPSHOT_CHUNKS}.0-{older}-")
    await wallet.check_recovery(0)
    assert f"snapshot at sequence {older} is not used" in caplog.text
    await broker.close()


async def delete_a_chunk(broker: NatsBroker, prefix: str) -> None:
    answer = await broker.api(
        f"STREAM.INFO.{SNAPSHOTS_STREAM}", {"subjects_filter": f"{SNAPSHOT_CHUNKS}.>"}
    )
    (subject,) = (each for each in answer["state"]["subjects"] if each.startswith(prefix))
    found = await broker.api(f"STREAM.MSG.GET.{SNAPSHOTS_STREAM}", {"last_by_subj": subject})
    body = {"seq": found["message"]["seq"]}
    deleted = await broker.api(f"STREAM.MSG.DELETE.{SNAPSHOTS_STREAM}", body)
    assert deleted["success"]


async def test_the_object_is_one_that_other_tools_of_nats_read(wallet: Wallet) -> None:
    """Through the object store of NATS's own client, which checks its digest."""
    await wallet.worked()
    broker = await wallet.broker()
    newest, _ = await broker.snapshots(0)
    bucket = await broker._client.jetstream().object_store("SNAPSHOTS")  # noqa: SLF001  # the same connection
    read = await bucket.get(f"0/{newest}")
    assert read.data == b"".join(await blocks_of(broker, 0, newest))
    await broker.close()


@pytest.mark.parametrize("which", [0, 1])
async def test_a_bit_that_flips_in_the_stopped_servers_file_is_noticed(
    tmp_path: Path, which: int
) -> None:
    """In a block of the newest or of the older one: the server may cut it off, or keep quiet."""
    async with over_nats(tmp_path / "nats") as connect:
        wallet = Wallet(connect, tmp_path)
        await wallet.worked()
        broker = await wallet.broker()
        newest, older = await broker.snapshots(0)
        block = (await blocks_of(broker, 0, (newest, older)[which]))[0]
        await broker.close()
    (file,) = (tmp_path / "nats").rglob(f"{SNAPSHOTS_STREAM}/msgs/*.blk")
    content = bytearray(file.read_bytes())
    content[content.index(block) + len(block) // 2] ^= 4
    file.write_bytes(content)
    async with over_nats(tmp_path / "nats") as connect:
        wallet = Wallet(connect, tmp_path / "again")
        await wallet.check_recovery(newest, older, 0)
        await wallet.worked_on()


async def test_without_its_bucket_a_writer_replays_and_makes_it_again(wallet: Wallet) -> None:
    await wallet.worked()
    broker = await wallet.broker()
    assert (await broker.api(f"STREAM.DELETE.{SNAPSHOTS_STREAM}"))["success"]
    assert await broker.snapshots(0) == []
    await wallet.check_recovery(0)
    await wallet.worked_on()
    assert await broker.snapshots(0)
    await broker.close()
