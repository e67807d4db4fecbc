"""`python -m bench.failover`: what clients notice when a process dies that others stand in for.

One wallet of two writers, two readers and two proxies on loopback. Transfers and reads start at a
steady rate, far below what the machine can do, whatever became of those before. Every few seconds
one process is killed with SIGKILL, or none, to compare with; both writers lead as many partitions
again SETTLED_S before the next kill, so that no hand-over counts for that. One writer and one
reader are not supervised: they are started again when what is counted is over, as on another
machine, so that their start takes nothing of the cores that others need. What that reader's start
costs with nobody killed is counted by itself. As readers answer within milliseconds, most die
without a question; so once more that one is stopped STOPPED_S before it is killed, and takes with
it what it was asked meanwhile.

The figure is the longest time that any client waited for an outcome, repeats with the same id
included, among what was under way at the kill or started within AFTER_S of it. The takeover is the
time from a writer's death until the last party that it led has another leader, by the journals.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from bench import accounts, machine
from bench.choice import PARTITIONS, Choice, choice_of
from bench.failover_clients import RATES_PER_S, Clients, Waited
from bench.failover_report import AFTER_S, failover_table, noticed
from bench.leaving import leave_on_signals
from bench.outage import epochs_ns, takeover_s
from bench.processes import Running, started
from bench.results import write_document
from bench.settings import BenchError, Settings, read_settings, take_no_arguments
from bench.wallet import pids_of, wallet
from contracts.parties import COORDINATOR, parties
from ewallet.nats_configuration import read_urls
from ewallet.permissions import Role

DEFAULTS = Settings(seconds=5, warmup_seconds=3, rounds=10, accounts=1_000)
EVEN = [PARTITIONS // 2, PARTITIONS // 2 + 1]
"""How many parties each writer leads when none will move: the partitions and the coordinator."""
EVEN_S_MAX = 60.0
"""Only to end a run that hangs."""
NOTHING = "nothing"
WRITER = "writer"
READER = "reader"
ASKED_READER = "reader with questions"
STARTED_READER = "nothing; a reader starts"
SUPERVISED_WRITER = "writer, started again at once"
SUPERVISED_READER = "reader, started again at once"
ROLES = {SUPERVISED_WRITER: "writer", SUPERVISED_READER: "reader", "proxy": "proxy"}
"""Of those that are supervised."""
VICTIMS = (
    NOTHING,
    WRITER,
    SUPERVISED_WRITER,
    READER,
    STARTED_READER,
    ASKED_READER,
    STARTED_READER,
    SUPERVISED_READER,
    "proxy",
)
SETTLED_S = 2.0
"""What waited at a hand-over is sent again within a second and has its answer by then."""
STOPPED_S = 0.02
ANSWERED_S = 1.0
"""What was asked within AFTER_S has its answer by then, unless something is wrong."""


def main() -> int:
    """Kill everything in turn, print the table, write the JSON file; return the exit status."""
    take_no_arguments(__doc__)
    leave_on_signals()
    try:
        return run(read_settings(default=DEFAULTS))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


@dataclass(frozen=True, slots=True)
class Death:
    """Of one process, or of nobody: when, by `time.monotonic` and in Unix ns."""

    victim: str
    died_s: float
    died_ns: int
    led: Collection[int]
    """The parties that it led."""


def run(settings: Settings) -> int:
    """Run one wallet through all kills."""
    description = machine.describe(settings.folder or Path(tempfile.gettempdir()))
    ids = accounts.account_ids(settings.accounts)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=settings.folder) as name:
        folder = Path(name)
        with (
            wallet(folder, PARTITIONS, EWALLET_WRITERS="1", EWALLET_PROXIES="2") as running,
            ExitStack() as stack,
        ):
            others = {role: Elsewhere(role, folder, stack) for role in (Role.WRITER, Role.READER)}
            accounts.open_accounts(running.base_url, ids)
            choice = choice_of("uniform", ids)
            deaths, waited = asyncio.run(_load_and_kill(running, others, choice, settings))
            accounts.check_sum_is_zero(running.base_url, ids)
        epochs = {party: epochs_ns(folder / "data", party) for party in parties(PARTITIONS)}
        kills = [
            noticed(waited, each.victim, each.died_s, _takeover_s(epochs, each)) for each in deaths
        ]
    print("\nThe longest wait at a kill, median / worst")
    print(failover_table(kills, dict.fromkeys(VICTIMS)))
    measured = {"rates_per_s": RATES_PER_S, "kills": [asdict(kill) for kill in kills]}
    path = write_document("failover", "bench.failover", settings, description, **measured)
    print(f"\nWritten to {path}")
    return 0


def _takeover_s(epochs_ns: Mapping[int, Sequence[int]], death: Death) -> float | None:
    """Until the last party that the dead process led has another leader; None: it led nothing."""
    return max((takeover_s(epochs_ns[party], death.died_ns) for party in death.led), default=None)


class Elsewhere:
    """A service beside the supervised ones, with a folder of its own, as on another machine."""

    def __init__(self, role: Role, folder: Path, stack: ExitStack) -> None:
        """Start it; it is stopped with the stack."""
        nats_url, monitor_url = read_urls((folder / "data" / "nats-server.conf").read_text(), role)
        self._role = role
        self._stack = stack
        self._log = folder / f"second-{role.value}.log"
        self._environment = {
            "EWALLET_NATS_URL": nats_url,
            "EWALLET_NATS_MONITOR_URL": monitor_url,
            "EWALLET_PARTITIONS": str(PARTITIONS),
            "EWALLET_DATA_DIR": str(folder / f"second-{role.value}"),
        }
        self.pid = 0
        self.start()

    def start(self) -> None:
        """Start it, also once more."""
        self.pid = self._stack.enter_context(
            started(
                [sys.executable, "-m", self._role.value],
                log=self._log,
                ready=r"(?m)^ready\b",
                environment=self._environment,
            )
        )


async def _load_and_kill(
    running: Running, others: Mapping[Role, Elsewhere], choice: Choice, settings: Settings
) -> tuple[list[Death], list[Waited]]:
    clients = Clients(choice)
    asking = asyncio.create_task(clients.run(running.base_url))
    await asyncio.sleep(settings.warmup_seconds)
    leaders = await _even(running.base_url)
    deaths: list[Death] = []
    for number in range(settings.rounds):
        print(f"round {number + 1} of {settings.rounds}", flush=True)
        for victim in VICTIMS:
            died_s, died_ns = time.monotonic(), time.time_ns()
            if victim == WRITER:
                await _kill_for_a_while(others[Role.WRITER])
            elif victim == READER:
                os.kill(others[Role.READER].pid, signal.SIGKILL)
            elif victim == ASKED_READER:
                await _kill_with_questions(others[Role.READER])
            elif victim == STARTED_READER:
                await asyncio.to_thread(others[Role.READER].start)
            elif victim != NOTHING:
                pids = pids_of(ROLES[victim], running.root_pids[0])
                os.kill(pids[number % len(pids)], signal.SIGKILL)
            await asyncio.sleep(settings.seconds)
            before, leaders = leaders, await _even(running.base_url)
            led = [party for party, writer in before.items() if writer not in leaders.values()]
            deaths.append(Death(victim, died_s, died_ns, led))
    clients.is_over = True
    await asking
    return deaths, clients.waited


async def _kill_with_questions(process: Elsewhere) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    await asyncio.sleep(STOPPED_S)
    os.kill(process.pid, signal.SIGKILL)


async def _kill_for_a_while(process: Elsewhere) -> None:
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.sleep(AFTER_S + ANSWERED_S)
    await asyncio.to_thread(process.start)


async def _even(base_url: str) -> dict[int, str]:
    """Return who leads what once no writer leads two more parties than the other.

    None will move then.
    """
    async with asyncio.timeout(EVEN_S_MAX), aiohttp.ClientSession(base_url) as session:
        while True:
            async with session.get("/wallet/status") as answer:
                status = await answer.json()
            leaders = {
                each["partition"]: each["writer"]["id"]
                for each in status["partitions"]
                if each["writer"]
            }
            for coordinator in status["coordinators"]:  # there is one, or none leads it
                leaders[COORDINATOR] = coordinator["writer"]
            if sorted(Counter(leaders.values()).values()) == EVEN:
                break
            await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLED_S)
    return leaders


if __name__ == "__main__":
    sys.exit(main())
