"""What snapshots cost and what they save (`python -m bench.snapshots`).

A real nats-server that syncs always gets the journal of one partition: ACCOUNTS accounts, TRANSFERS
transfers, a snapshot, and behind it as many events as may pass before the next one is due. Then:

- the machine is frozen FREEZES times, with transfers in between;
- `python -m writer` is started again and again: the time from its start to the line `ready`;
- a writer works under load in this process, first without snapshots, then writing one after the
  other: how late its event loop is. The load comes from another process.

BENCH_SCALE divides accounts and transfers, to try the program out.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import uvloop

from bench.cpu import used_us
from bench.leaving import leave_on_signals
from bench.machine import describe
from bench.processes import free_port, started
from bench.settings import take_no_arguments
from bench.snapshot_load import FRAME_COMMANDS, RATE, transfers
from broker.nats_broker import NatsBroker
from contracts.commands import Command, OpenAccount
from contracts.frames import CommandFrame
from contracts.limits import GROUP_COMMANDS_MAX
from contracts.partitioning import SlotMap
from contracts.subjects import journal_subject
from ewallet.nats_binary import find_nats_server
from runtime.process import say_ready
from runtime.settings import ServiceSettings
from writer.bootstrap import make_writers
from writer.config import SNAPSHOT_EVENTS_DEFAULT, SnapshotRule
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.core.machine import Decision, Machine, QueuedFrame
from writer.core.partition import Partition
from writer.core.snapshot import freeze
from writer.service.party import PartyWriter
from writer.service.snapshots import OneAtATime, Snapshots, Written

SCALE = int(os.environ.get("BENCH_SCALE", "1"))
ACCOUNTS = 1_000_000 // SCALE
TRANSFERS = 10_000_000 // SCALE
TAIL = SNAPSHOT_EVENTS_DEFAULT // SCALE
FREEZES = 2_000
STARTS = 5
LOAD_S = 40
FRAMES_IN_FLIGHT = 16
SLOTS = SlotMap.even(1)
NEVER = SnapshotRule(events=10**9, frames=10**9, seconds=10**7)
ALWAYS = SnapshotRule(events=1, frames=1, seconds=1)


@dataclass(frozen=True)
class Start:
    """Of a writer's process, until its reign."""

    took_s: float
    cpu_s: float
    """What all its threads used in that time; may be more than it."""


def main() -> None:
    """Start a server, build the wallet's partition in it, measure, print."""
    take_no_arguments(__doc__)
    leave_on_signals()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text stream
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        print(", ".join(f"{key} {value}" for key, value in describe(folder).items()))
        port, monitor = free_port(), free_port()
        settings = folder / "nats.conf"
        settings.write_text(
            f'listen: "127.0.0.1:{port}"\nhttp: "127.0.0.1:{monitor}"\nmax_payload: 1114112\n'
            f'jetstream {{ store_dir: "{folder}/nats", sync_interval: always }}\n'
        )
        server: list[str | Path] = [find_nats_server(None), "-c", settings]
        with started(server, log=folder / "nats.log", ready="Server is ready"):
            url = f"nats://127.0.0.1:{port}"
            first = uvloop.run(build(url))
            environment = {
                "EWALLET_NATS_URL": url,
                "EWALLET_NATS_MONITOR_URL": f"http://127.0.0.1:{monitor}",
                "EWALLET_PARTITIONS": "1",
                "EWALLET_WRITES": "partitions",
                "EWALLET_SNAPSHOT_EVENTS": str(NEVER.events),
                "EWALLET_SNAPSHOT_FRAMES": str(NEVER.frames),
                "EWALLET_SNAPSHOT_S": str(NEVER.seconds),
            }
            measure_starts(environment, folder)
            first = uvloop.run(under_load(url, folder / "in-process", NEVER, first))
            uvloop.run(under_load(url, folder / "in-process", ALWAYS, first))


# --- the partition ---


async def build(url: str) -> int:
    """Fill the journal, with a snapshot before its tail; the number of the next transfer."""
    broker = await NatsBroker.connect(url, name="build", role="writer")
    await broker.provide_streams(1)
    await broker.provide_slot_map(SLOTS)
    machine = Machine(0, Partition(0, SLOTS))
    began = perf_counter()
    journal = Journal(broker)
    await journal.append(machine.open_epoch("build", b"k" * FINGERPRINT_KEY_BYTES))
    openings = range(ACCOUNTS)
    for at in range(0, ACCOUNTS, GROUP_COMMANDS_MAX):
        some = openings[at : at + GROUP_COMMANDS_MAX]
        commands: list[Command] = [OpenAccount(f"user-{n}", "USD", 10**12) for n in some]
        await journal.append(decided(machine, commands))
    await append_transfers(journal, machine, 0, TRANSFERS)
    print(f"journal      {journal.byte_count / 1e6:,.0f} MB in {perf_counter() - began:.0f} s")
    snapshots: Snapshots[Partition] = Snapshots(broker, 0, ALWAYS, OneAtATime())
    written = await one_written(snapshots, machine, await journal.durable())
    print(
        f"snapshot     {written.byte_count / 1e6:,.0f} MB, written in {written.write_s:.1f} s, "
        f"frozen for the first time in {written.freeze_s * 1e3:.1f} ms"
    )
    await append_transfers(journal, machine, TRANSFERS, TAIL)
    await journal.durable()
    await broker.close()
    measure_freezes(machine)
    return TRANSFERS + TAIL


class Journal:
    """Appends frames, many in flight; nobody else appends here."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._in_flight: list[asyncio.Future[int]] = []
        self._sequence = 0
        self.byte_count = 0

    async def append(self, decision: Decision) -> None:
        """Send its frame; commands always cause one."""
        if decision.data is None:
            raise SystemExit("a group of commands caused no event")
        if len(self._in_flight) >= FRAMES_IN_FLIGHT:
            await self.durable()
        self._in_flight.append(
            await self._broker.append(
                journal_subject(0), decision.data, expected_last_sequence=self._sequence
            )
        )
        self._sequence += 1
        self.byte_count += len(decision.data)
        await asyncio.sleep(0)  # acknowledgements must be noticed while frames are made

    async def durable(self) -> int:
        """Wait until everything is, and give the last stream sequence."""
        await asyncio.gather(*self._in_flight)
        self._in_flight.clear()
        return self._sequence


async def append_transfers(
    journal: Journal, machine: Machine[Partition], first: int, total: int
) -> None:
    """Decide and append transfers with these numbers."""
    for at in range(first, first + total, GROUP_COMMANDS_MAX):
        size = min(GROUP_COMMANDS_MAX, first + total - at)
        await journal.append(decided(machine, transfers(ACCOUNTS, at, size)))


_numbers = count(1, GROUP_COMMANDS_MAX)


def decided(machine: Machine[Partition], commands: list[Command]) -> Decision:
    """What comes of one frame of commands, which is not in any queue."""
    return machine.decide([QueuedFrame(0, 1, CommandFrame("build", next(_numbers), commands))])


async def one_written(
    snapshots: Snapshots[Partition], machine: Machine[Partition], stream_sequence: int
) -> Written:
    """Write a snapshot as a reign does."""
    run = asyncio.create_task(
        snapshots.run(lambda: snapshots.take_if_due(machine, stream_sequence))
    )
    while snapshots.written is None:  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    return snapshots.written


# --- measured ---


def measure_freezes(machine: Machine[Partition]) -> None:
    """Freeze again and again, each time with changes behind it as under load."""
    times = []
    for number in range(FREEZES):
        began = perf_counter()
        blocks = freeze(machine, 0, 1)
        times.append(perf_counter() - began)
        some = transfers(ACCOUNTS, 10**9 + number * FRAME_COMMANDS, FRAME_COMMANDS)
        decided(machine, some)
        del blocks
    print(f"freeze       {quantiles(times)} ms over {FREEZES:,}")


def measure_starts(environment: dict[str, str], folder: Path) -> None:
    """From the start of a writer's process to its reign."""
    starts = [one_start(environment, folder / f"start-{number}") for number in range(STARTS)]
    print(f"recovery     {recovery(starts)}; snapshot and {TAIL:,} events, {STARTS} starts")


def recovery(starts: list[Start]) -> str:
    """How long they took, and beside it, as several threads work at once, what all of them used."""
    times = [start.took_s for start in starts]
    return (
        f"{median(times):.2f} s (max {max(times):.2f}) from the process's start to its reign, in "
        f"which its threads use {median(start.cpu_s for start in starts):.2f} s of CPU together"
    )


def one_start(environment: dict[str, str], folder: Path) -> Start:
    """Until `ready`."""
    folder.mkdir()
    environment = {**os.environ, **environment, "EWALLET_DATA_DIR": str(folder)}
    began = perf_counter()
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "writer"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    with child:
        try:
            if child.stdout is None or child.stdout.readline() != "ready\n":
                raise SystemExit((folder / "log").read_text())
            return Start(perf_counter() - began, used_us(child.pid) / 1e6)
        finally:
            child.terminate()


async def under_load(url: str, folder: Path, rule: SnapshotRule, first: int) -> int:
    """How late the event loop is while a writer works; the number of the next transfer."""
    broker = await NatsBroker.connect(url, name="bench", role="writer")
    await broker.provide_streams(1)
    with ExitStack() as stack:
        settings = ServiceSettings("", "", 1, folder)
        writers = make_writers(broker, settings, SLOTS, "bench", stack, led=[0], snapshot_rule=rule)
        (writer,) = writers.partitions
        works = [asyncio.create_task(work) for work in writers.works()]
        leads = asyncio.create_task(writer.reigning.wait())
        for ended in (await asyncio.wait([*works, leads], return_when=asyncio.FIRST_COMPLETED))[0]:
            ended.result()
        say_ready()
        before = durable_sequence(writer)
        load = [sys.executable, "-m", "bench.snapshot_load", url]
        numbers = map(str, (ACCOUNTS, first, LOAD_S))
        child = await asyncio.create_subprocess_exec(*load, *numbers)
        late, written = await watch(child, lambda: writer.snapshots.written)
        events = durable_sequence(writer) - before
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
    await broker.close()
    what = "no snapshots" if rule is NEVER else f"{len(written)} snapshots"
    print(f"under load   {what}, {events / LOAD_S:,.0f} of {RATE:,} transfers/s: ", end="")
    print(f"the loop is late by {quantiles(late)} ms")
    if written:
        freezes = [each.freeze_s for each in written]
        print(f"             frozen {quantiles(freezes)} ms; written in ", end="")
        print(f"{median(each.write_s for each in written):.1f} s each")
    return first + LOAD_S * RATE + FRAME_COMMANDS


def durable_sequence(writer: PartyWriter[Partition]) -> int:
    """Of a writer that leads, or nothing is measured."""
    if writer.reign is None:
        raise SystemExit("The writer leads no more, see its log: try it again with less going on.")
    return writer.reign.durable_sequence


async def watch(
    child: asyncio.subprocess.Process, newest: Callable[[], Written | None]
) -> tuple[list[float], list[Written]]:
    """By how many seconds a timer of 1 ms was late, each time, until the load ends."""
    late: list[float] = []
    written: dict[int, Written] = {}
    while child.returncode is None:
        began = perf_counter()
        await asyncio.sleep(0.001)
        late.append(max(0.0, perf_counter() - began - 0.001))
        snapshot = newest()
        if snapshot is not None:
            written[snapshot.sequence] = snapshot
    return late, list(written.values())


def quantiles(seconds: list[float]) -> str:
    """Milliseconds: median, 99.9th percentile and largest."""
    ordered = sorted(seconds)
    return ", ".join(
        f"{name} {ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3:.2f}"
        for name, share in (("p50", 0.5), ("p99.9", 0.999), ("max", 1.0))
    )


if __name__ == "__main__":
    main()
