"""Puts a reader together and runs it until it is asked to stop."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from broker.nats_broker import NatsBroker
from broker.port import Broker
from broker.witness import Witness, witness_path
from contracts.status import ReaderStatus, encode_status
from contracts.subjects import status_subject
from reader.adapters.opening import OpenStores, sqlite_stores
from reader.adapters.store_folder import (
    building_file,
    locked,
    present_file,
    promote,
    store_folder,
)
from reader.adapters.wall_clock import unix_us
from reader.config import DatabaseAddress, read_database_address
from reader.ports import ReaderFault
from reader.service.changes import ChangeSender
from reader.service.following import Follower
from reader.service.partition import Partition, journal_end
from reader.service.results import ResultSender
from reader.service.threads import Threads
from runtime.process import Stopped, lose, say_ready, unless_stopped
from runtime.settings import ServiceSettings, read_service_settings

_log = logging.getLogger(__name__)

_ROLE: Final = "reader"
_PROGRESS_STEPS: Final = 20


async def serve(stop: asyncio.Event) -> None:
    """Read, on the settings of the environment, until `stop` is set."""
    settings = read_service_settings(os.environ)
    database = read_database_address(os.environ)
    broker = await unless_stopped(stop, _connect(settings))
    try:
        await serve_on(broker, settings, stop, say_ready, database)
    finally:
        await broker.close()


async def serve_on(
    broker: Broker,
    settings: ServiceSettings,
    stop: asyncio.Event,
    ready: Callable[[], None],
    database: DatabaseAddress | None = None,
) -> None:
    """Follow, push, store and answer until `stop` is set; then flush and close.

    `ready` is called once, when the journals are caught up with as they stood at the start.
    Raise ReaderUnfit, BrokerUnfit, WitnessDamaged or WitnessContradicted if a restart does not
    help, in a group with whatever else failed. The store is in the database, or in files.
    """
    numbers = range(settings.partition_count)
    witnesses = {number: witness_path(settings.data_dir, number, _ROLE) for number in numbers}
    with ExitStack() as stack:
        if database is None:
            folder = store_folder(settings.data_dir)
            stack.enter_context(locked(folder, "lock"))
            stores = sqlite_stores({number: present_file(folder, number) for number in numbers})
        else:
            # Imports that a reader on SQLite would start later for.
            from reader.adapters.store_postgresql_opening import (  # noqa: PLC0415  # see above
                postgresql_stores,
            )

            stores = postgresql_stores(database, numbers)
        with _opened(stores, witnesses) as partitions:
            await _run(broker, partitions, stop, ready)


async def rebuild(stop: asyncio.Event) -> None:
    """Rebuild, on the settings of the environment.

    Raise ReaderFault if it is stopped before the end: then nothing has changed.
    """
    settings = read_service_settings(os.environ)
    database = read_database_address(os.environ)
    try:
        await unless_stopped(stop, _rebuild(settings, database))
    except Stopped:
        raise ReaderFault(
            "stopped before the read store was rebuilt; the present one still counts"
        ) from None
    _log.info(
        "rebuilt; a reader that runs now takes the new read store at its next start"
        if database is None
        else "rebuilt; readers that run now use the new rows already"
    )


async def _rebuild(settings: ServiceSettings, database: DatabaseAddress | None) -> None:
    broker = await _connect(settings)
    try:
        if database is None:
            await rebuild_on(broker, settings)
        else:
            await rebuild_database_on(broker, settings, database)
    finally:
        await broker.close()


async def rebuild_on(broker: Broker, settings: ServiceSettings) -> None:
    """Make the read store anew from the journals, beside the present one.

    A reader that runs meanwhile goes on with its own files and takes the new ones at its next
    start. Raise as `serve_on` does.
    """
    folder = store_folder(settings.data_dir)
    numbers = range(settings.partition_count)
    with locked(folder, "rebuild.lock"):
        for number in numbers:
            stores = sqlite_stores({number: building_file(folder, number)})
            with _opened(stores, {}) as (partition,):
                await _replay(broker, partition)
        for number in numbers:
            promote(folder, number)


async def rebuild_database_on(
    broker: Broker, settings: ServiceSettings, database: DatabaseAddress
) -> None:
    """Make the read store in a database anew, beside the present one.

    Readers that run meanwhile go on; those that run at the end go over to the new rows, with a
    pause in which they store nothing. Raise as `serve_on` does.
    """
    # As in serve_on.
    from reader.adapters.store_postgresql_opening import (  # noqa: PLC0415  # see above
        postgresql_stores,
    )
    from reader.adapters.store_postgresql_rebuild import (  # noqa: PLC0415  # see above
        BUILDING,
        rebuilding,
    )

    numbers = range(settings.partition_count)
    with rebuilding(database) as rebuild:
        stores = postgresql_stores(database, numbers, schema=BUILDING)
        with _opened(stores, {}) as partitions:
            await _replay_and_overtake(broker, partitions, rebuild.hold_writers)
        rebuild.switch()


async def _connect(settings: ServiceSettings) -> NatsBroker:
    return await NatsBroker.connect(settings.nats_url, name=_process_name(), role=_ROLE)


@contextmanager
def _opened(
    opening: AbstractContextManager[OpenStores], witnesses: Mapping[int, Path]
) -> Iterator[list[Partition]]:
    """The partitions of these stores; at the end everything is flushed and closed."""
    with ExitStack() as stack:
        stores = stack.enter_context(opening)
        writing = stack.enter_context(ThreadPoolExecutor(stores.writing_threads, "storing"))
        # Entered after the stores, so that nobody reads any more when they are closed.
        past = stack.enter_context(ThreadPoolExecutor(stores.reading_threads, "past"))
        threads = Threads(writing, past, past if stores.is_remote else None)
        yield [
            Partition(
                number,
                store,
                threads,
                witness=_witness(stack, witnesses.get(number)),
                store_name=stores.names[number],
            )
            for number, store in stores.by_partition.items()
        ]


def _witness(stack: ExitStack, path: Path | None) -> Witness | None:
    return None if path is None else stack.enter_context(closing(Witness(path)))


async def _run(
    broker: Broker,
    partitions: list[Partition],
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Run all partitions until `stop`; the first fault of any of them ends all."""
    async with asyncio.TaskGroup() as tasks:
        for partition in partitions:
            tasks.create_task(partition.storing.run())
        serving = tasks.create_task(_serve(broker, partitions, ready))
        await stop.wait()
        for partition in partitions:
            await partition.leave_queries()
        serving.cancel()
        await asyncio.wait({serving})
        for partition in partitions:
            partition.storing.finish()


async def _serve(broker: Broker, partitions: list[Partition], ready: Callable[[], None]) -> None:
    """Follow, push and answer until cancelled."""
    name = _process_name()

    async def answer_status(_request: bytes) -> bytes:
        return encode_status(ReaderStatus(name, [p.status() for p in partitions]))

    results, changes = ResultSender(broker, unix_us), ChangeSender(broker)
    async with asyncio.TaskGroup() as following:
        following.create_task(lose(broker))
        following.create_task(results.run())
        following.create_task(changes.run())
        async with asyncio.TaskGroup() as starting:
            for partition in partitions:
                starting.create_task(_start(broker, partition, results, changes, following))
        await broker.serve(status_subject(_ROLE), answer_status)
        ready()


async def _start(
    broker: Broker,
    partition: Partition,
    results: ResultSender,
    changes: ChangeSender,
    following: asyncio.TaskGroup,
) -> None:
    """Follow a partition; return when it has caught up and answers queries."""
    end = await journal_end(broker, partition.number)
    after = await partition.check(broker)
    following.create_task(partition.follower.run(broker, after, results))
    await partition.follower.position.reach(end)
    await partition.serve_queries(broker, changes)


async def _replay(broker: Broker, partition: Partition) -> None:
    """Project and store one journal as it stands now, and tell how far it is."""
    end = await journal_end(broker, partition.number)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(partition.storing.run())
        following = tasks.create_task(partition.follower.run(broker, None, None))
        await _tell_progress(partition, end)
        following.cancel()
        partition.storing.finish()


async def _replay_and_overtake(
    broker: Broker, partitions: list[Partition], hold_writers: Callable[[], dict[int, int]]
) -> None:
    """Project and store all journals, then go on until nobody's rows reach further.

    hold_writers keeps others from writing and gives their stream sequences by partition.
    """
    ends = {each.number: await journal_end(broker, each.number) for each in partitions}
    async with asyncio.TaskGroup() as tasks:
        for each in partitions:
            tasks.create_task(each.storing.run())
        following = [
            tasks.create_task(each.follower.run(broker, None, None)) for each in partitions
        ]
        for each in partitions:
            await _tell_progress(each, ends[each.number])
        present = await asyncio.to_thread(hold_writers)
        for each in partitions:
            await each.follower.position.reach(present.get(each.number, 0))
        for task in following:
            task.cancel()
        for each in partitions:
            each.storing.finish()


async def _tell_progress(partition: Partition, end: int) -> None:
    """Return when the journal's end is reached."""
    follower: Follower = partition.follower
    for step in range(1, _PROGRESS_STEPS + 1):
        await follower.position.reach(end * step // _PROGRESS_STEPS)
        _log.info(
            "partition %s: %s %% (%s events)",
            partition.number,
            100 * step // _PROGRESS_STEPS,
            follower.projected.reached,
        )


def _process_name() -> str:
    """Names this process in the broker's lists and in its status."""
    return f"{_ROLE}-{socket.gethostname()}-{os.getpid()}"
