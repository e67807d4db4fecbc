"""Puts a writer together and runs it until it is asked to stop."""

import asyncio
import os
import secrets
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, Final

from msgspec import Struct

from broker.nats_broker import NatsBroker
from broker.nats_copies import watch_copies
from broker.nats_sync import ask_the_rest, check_sync_always
from broker.port import Broker
from broker.witness import Witness, witness_path
from contracts.parties import COORDINATOR, party_name
from contracts.partitioning import SlotMap
from contracts.status import WriterCoordinator, WriterPartition, WriterStatus, encode_status
from contracts.subjects import status_subject
from runtime.process import lose, once_there, run_until, say_ready, unless_stopped
from runtime.settings import ServiceSettings
from writer.config import SNAPSHOT_RULE_DEFAULT, SnapshotRule, read_writer_settings
from writer.core.coordinator import Coordinator
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.core.partition import Partition
from writer.service.leading import Leading
from writer.service.party import PartyWriter, R
from writer.service.snapshots import OneAtATime, Snapshots
from writer.service.steps import StepSender
from writer.service.turns import Turns

_random_key: Final = partial(secrets.token_bytes, FINGERPRINT_KEY_BYTES)


class Writers(Struct, frozen=True):
    """All parties of one writer process."""

    id: str
    steps: StepSender
    leading: Leading
    partitions: list[PartyWriter[Partition]]
    coordinators: list[PartyWriter[Coordinator]]

    @property
    def all(self) -> list[PartyWriter[Partition] | PartyWriter[Coordinator]]:
        """Partitions and coordinators."""
        return [*self.partitions, *self.coordinators]

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """What runs until the process ends."""
        return [self.leading.run(), self.steps.run(), *(writer.run() for writer in self.all)]


async def serve(stop: asyncio.Event) -> None:
    """Write all journals until stop is set."""
    writer_settings = read_writer_settings(os.environ)
    settings = writer_settings.service
    writer_id = f"writer-{secrets.token_hex(6)}"
    broker, silent = await unless_stopped(stop, _connect(settings, writer_id))
    try:
        slots = await unless_stopped(stop, _provide(broker, settings.partition_count))
        with ExitStack() as stack:
            writers = make_writers(
                broker,
                settings,
                slots,
                writer_id,
                stack,
                led=writer_settings.parties,
                snapshot_rule=writer_settings.snapshots,
                name=writer_settings.name,
            )
            await _serve_status(broker, writers)
            works = (
                lose(broker),
                _refuse_unsynced(silent),
                watch_copies(settings.nats_monitor_url),
                _tell_ready(writers),
                _leave(stop, writers.leading),
                *writers.works(),
            )
            await run_until(asyncio.Event(), *works)
    finally:
        await broker.close()


async def _connect(settings: ServiceSettings, writer_id: str) -> tuple[NatsBroker, Sequence[str]]:
    """To servers that sync always, with the addresses of those that do not say it yet."""
    silent = await check_sync_always(settings.nats_monitor_url, settings.replicas)
    broker = await NatsBroker.connect(
        settings.nats_url, name=writer_id, role="writer", replicas=settings.replicas
    )
    return broker, silent


async def _provide(broker: Broker, partition_count: int) -> SlotMap:
    """See to it that there are streams, and a slot map, which is given.

    A cluster that has just started takes seconds to choose leaders, and is waited for.
    """
    streams = partial(broker.provide_streams, partition_count)
    await once_there(broker, streams, "the streams")
    slot_map = partial(broker.provide_slot_map, SlotMap.even(partition_count))
    return await once_there(broker, slot_map, "the slot map")


async def _refuse_unsynced(silent: Sequence[str]) -> None:
    """Check the servers that were silent at the start when they are back, and stay."""
    await ask_the_rest(silent)
    await asyncio.Event().wait()


def make_writers(
    broker: Broker,
    settings: ServiceSettings,
    slots: SlotMap,
    writer_id: str,
    stack: ExitStack,
    *,
    led: Collection[int],
    snapshot_rule: SnapshotRule = SNAPSHOT_RULE_DEFAULT,
    name: str = "writer",
    fresh_key: Callable[[], bytes] = _random_key,
) -> Writers:
    """The writers of the parties that this process may lead; the stack closes their witnesses."""

    def witness(party: int) -> Witness:
        path = witness_path(settings.data_dir, party, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(closing(Witness(path)))

    steps = StepSender(broker, writer_id)
    turns = Turns()
    leading = Leading(broker, writer_id, sorted(led), _now_ms)
    one_at_a_time = OneAtATime()

    def party_writer(party: int, rules: Callable[[int, SlotMap], R]) -> PartyWriter[R]:
        return PartyWriter(
            broker,
            party,
            partial(rules, party, slots),
            steps=steps,
            turns=turns,
            mandate=leading.mandates[party],
            writer_id=writer_id,
            witness=witness(party),
            snapshots=Snapshots(broker, party, snapshot_rule, one_at_a_time),
            fresh_key=fresh_key,
        )

    partitions = [number for number in range(slots.partition_count) if number in led]
    coordinators = [COORDINATOR] if COORDINATOR in led else []
    return Writers(
        id=writer_id,
        steps=steps,
        leading=leading,
        partitions=[party_writer(number, Partition) for number in partitions],
        coordinators=[party_writer(number, Coordinator) for number in coordinators],
    )


async def _serve_status(broker: NatsBroker, writers: Writers) -> None:
    async def answer(_request: bytes) -> bytes:
        partitions = map(partition_status, writers.partitions)
        coordinators = map(coordinator_status, writers.coordinators)
        status = WriterStatus(
            id=writers.id,
            partitions=[led for led in partitions if led is not None],
            coordinators=[led for led in coordinators if led is not None],
            standing_by=writers.leading.ready_parties,
        )
        return encode_status(status)

    await broker.serve(status_subject("writer"), answer)


def partition_status(writer: PartyWriter[Partition]) -> WriterPartition | None:
    """None while there is no reign."""
    reign = writer.reign
    if reign is None:
        return None
    return WriterPartition(
        partition=writer.party,
        epoch=reign.epoch,
        sequence=reign.durable_sequence,
        in_flight=reign.in_flight,
        accounts=len(reign.machine.rules.accounts),
        unfinished=reign.machine.rules.unfinished_count,
        oldest_started_at_ms=reign.machine.rules.oldest_started_at_ms,
        tip_hash=reign.durable_hash.hex(),
    )


def coordinator_status(writer: PartyWriter[Coordinator]) -> WriterCoordinator | None:
    """None while there is no reign."""
    reign = writer.reign
    if reign is None:
        return None
    return WriterCoordinator(
        name=party_name(writer.party),
        epoch=reign.epoch,
        sequence=reign.durable_sequence,
        in_flight=reign.in_flight,
        unfinished=reign.machine.rules.unfinished_count,
        oldest_started_at_ms=reign.machine.rules.oldest_started_at_ms,
    )


async def _leave(stop: asyncio.Event, leading: Leading) -> None:
    """Hand everything over once the process is asked to stop, and return."""
    await stop.wait()
    await leading.leave()


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1_000)


async def _tell_ready(writers: Writers) -> None:
    """Say ready once every party is led, here or elsewhere, and stay."""
    for writer in writers.all:
        await writer.settled()
    say_ready()
    await asyncio.Event().wait()
