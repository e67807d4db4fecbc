"""`make chaos`: fault after fault on a cluster under load, and what each cost its clients.

Every service is killed, paused, split off and restarted, alone and in random pairs, and so is the
NATS server that leads most journals; one server's disk fills up; everything is replaced in turn.
After each fault every transfer's record is compared with what its client was told; at the end all
that anybody was told must fit one order, the servers' journals must be whole and equal, and a read
model made anew from them must show the same. A loss or a contradiction ends the run with an error.
"""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from random import Random

import aiohttp

from tests.e2e.audit import check_order
from tests.e2e.cluster import SERVICES, SMALL_DISK, UPGRADE, Cluster, missing_for_docker
from tests.e2e.costs import Cost, markdown, terminal
from tests.e2e.faults import (
    KINDS,
    LEADING,
    Fault,
    cost_of,
    cost_of_full_disk,
    cost_of_replacing,
    random_pair,
    together,
)
from tests.e2e.journals import assert_all_whole_and_equal
from tests.e2e.load import PacedBank, connected
from tests.e2e.logs import has_unexplained_stall, keep_logs
from tests.e2e.order import stale_reads
from tests.system.bank import open_accounts

LEADER = "nats leader"
"""Stands for the NATS server that leads most journals when the fault begins."""
PAUSE_S = 0.15
"""Between a client's transfers: so that a run's statements can be read at its end."""
HEALED_S_USUAL = 90.0
"""With the fault. What is not well again by then is worth a look, though nobody waited."""

Planned = tuple[Fault, ...]


def plan(chance: Random) -> list[Planned]:
    """Every fault of every service once, in random order, and between them random pairs."""
    leading = [(Fault(kind, LEADER),) for kind in KINDS]
    alone = [(Fault(kind, service),) for kind in KINDS for service in SERVICES]
    chance.shuffle(alone)
    pairs = [random_pair(chance) for _ in alone[::3]]
    # One pair after every three: a run that is cut short has had some of both.
    mixed = zip_longest(alone[0::3], alone[1::3], alone[2::3], pairs)
    return [*leading, *(each for each in chain.from_iterable(mixed) if each is not None)]


class Run:
    """One run: its clients, its costs so far, and when it must end."""

    def __init__(
        self, cluster: Cluster, session: aiohttp.ClientSession, arguments: argparse.Namespace
    ) -> None:
        self._cluster = cluster
        self._session = session
        self._chance = Random(arguments.seed)
        self._ends_s = time.monotonic() + 60 * arguments.minutes
        self._report: Path = arguments.report
        self.books = PacedBank(cluster.url, pause_s=PAUSE_S)
        self.costs: list[tuple[str, Cost]] = []

    async def go(self) -> None:
        """Do what there is time for. Raise AssertionError for a loss or a contradiction."""
        start = (self._cluster, self._session, self.books)
        for services in UPGRADE:
            replace = partial(cost_of_replacing, services, *start)
            await self._note(f"{', '.join(services)} replaced", replace)
        await self._note(f"full disk under {SMALL_DISK}", partial(cost_of_full_disk, *start))
        planned = plan(self._chance)
        for done, faults in enumerate(planned):
            if time.monotonic() > self._ends_s:
                print(f"The time is over: {len(planned) - done} of {len(planned)} were left out.")
                break
            named = self._named(faults)
            happen = partial(cost_of, named, *start, self._chance)
            await self._note(together(named), happen)
        await self._check_all()

    def _named(self, faults: Planned) -> Planned:
        return tuple(
            Fault(fault.kind + LEADING, self._cluster.nats_leader())
            if fault.service == LEADER
            else fault
            for fault in faults
        )

    async def _note(self, fault: str, happen: Callable[[], Awaitable[Cost]]) -> None:
        print(f"{time.strftime('%H:%M:%S')} {fault}", flush=True)
        began_s = time.monotonic()
        try:
            cost = await happen()
            assert cost.lost == 0, f"{fault}: {cost}"
        except BaseException:
            self._keep_logs(fault)
            raise
        self.costs.append((fault, cost))
        if has_unexplained_stall(self.books) or time.monotonic() > began_s + HEALED_S_USUAL:
            self._keep_logs(fault)

    def _keep_logs(self, fault: str) -> None:
        path = keep_logs(self._cluster, self.books, fault, self._report)
        print(f"What was said meanwhile is in {path}.", flush=True)

    async def _check_all(self) -> None:
        await check_order(self._session, self.books)
        await asyncio.to_thread(assert_all_whole_and_equal, self._cluster)
        told = dict(self.books.history.statements)
        await asyncio.to_thread(self._cluster.run_in, "reader-1", "ewallet", "reader", "rebuild")
        await check_order(self._session, self.books)
        assert self.books.history.statements == told, "the journals hold what was shown"


async def main(arguments: argparse.Namespace) -> int:
    """Give the exit code."""
    cluster = Cluster(f"ewallet-chaos-{secrets.token_hex(4)}")
    cluster.build()
    try:
        cluster.up()
        async with connected() as session:
            await open_accounts(session, cluster.url)
            run = Run(cluster, session, arguments)
            try:
                await run.go()
            finally:
                _tell(run, arguments)
    finally:
        cluster.down(forget=True)
    return 0


def _tell(run: Run, arguments: argparse.Namespace) -> None:
    print("\n".join(terminal(run.costs)))
    history = run.books.history
    print(f"{len(history.transfers)} transfers, {len(history.reads)} reads, seed {arguments.seed}")
    plain = sum(read.demanded is None for read in history.reads)
    print(f"{len(stale_reads(history))} of {plain} plain reads were older than what was told")
    arguments.report.write_text(markdown(run.costs) + "\n")
    print(f"The table is in {arguments.report}.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--report", type=Path, default=Path("chaos-report.md"))
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    if lack := missing_for_docker():
        sys.exit(f"This runs on docker compose, and {lack}.")
    print(f"seed {asked.seed}, {asked.minutes} minutes", flush=True)
    sys.exit(asyncio.run(main(asked)))
