"""Clients: each wants one thing after the other, and asks until it knows what became of it."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final

from contracts.commands import Command
from contracts.queries import AccountQuery
from contracts.results import Result
from proxy.ports import NoRoom
from simulation.books import Violated
from simulation.processes import ProxyProcess
from simulation.questions import Questions
from simulation.workload import Workload
from simulation.world import World

_WAITS_MS: Final = (1_500, 4_000, 10_000)


class Answered:
    """What one client was told."""

    __slots__ = ("at_s", "command", "proxy_id", "result")

    def __init__(self, command: Command, proxy_id: str, result: Result, at_s: float) -> None:
        self.command = command
        self.proxy_id = proxy_id
        self.result = result
        self.at_s = at_s


class Clients:
    """All clients of a run."""

    def __init__(
        self, world: World, workload: Workload, questions: Questions, chance: Random
    ) -> None:
        self._world = world
        self._questions = questions
        self._workload = workload
        self._chance = chance
        self._think_s = chance.choice((0.0, 0.05, 0.5))
        self.answer_count = 0
        self.on_answer: Callable[[Answered], None] = lambda _answered: None
        self.waiting = 0
        """Commands whose outcome a client does not know yet."""

    async def run(self, count: int) -> None:
        """Open the accounts; then let so many clients work until there is nothing left to do."""
        async with asyncio.TaskGroup() as openings:
            for opening in self._workload.openings():
                openings.create_task(self._settle(opening))
        async with asyncio.TaskGroup() as clients:
            for _ in range(count):
                clients.create_task(self._work())

    async def _work(self) -> None:
        for command in self._workload.take():
            await self._settle(command)
            if self._chance.random() < 0.1:  # the same again, by somebody else
                await self._settle(command)
            if self._chance.random() < 0.1:  # looks at what it has now
                await self._look(command.routing_account_id)
            await asyncio.sleep(self._chance.random() * 2 * self._think_s)

    async def _look(self, account_id: str) -> None:
        """Ask for a balance, once; while processes are gone there may be no answer."""
        gateway = self._chance.choice(self._world.proxies).gateway
        if gateway is not None:
            try:
                await self._questions.look(gateway, AccountQuery(account_id))
            except Violated as violation:
                self._world.on_violation(violation)

    async def _settle(self, command: Command) -> None:
        """Ask until the outcome is known, sometimes two proxies at a time."""
        self.waiting += 1
        while True:
            asked = [self._ask(command)]
            if self._chance.random() < 0.05:  # an impatient client
                asked.append(self._ask(command))
            if any(await asyncio.gather(*asked)):
                self.waiting -= 1
                return
            await asyncio.sleep(0.2 * self._chance.random())

    async def _ask(self, command: Command) -> bool:
        """Ask one proxy; whether it gave the outcome."""
        proxy = self._chance.choice(self._world.proxies)
        if not proxy.is_alive or proxy.gateway is None:
            return False
        proxy_id = proxy.proxy_id
        try:
            waiter = proxy.gateway.submit(command, wait_ms=self._chance.choice(_WAITS_MS))
            result = await _unless_gone(waiter, proxy)
        except NoRoom:
            return False
        if result is None:
            return False
        self.answer_count += 1
        self.on_answer(Answered(command, proxy_id, result, self._world.now_s()))
        return True


async def _unless_gone(waiter: asyncio.Future[Result | None], proxy: ProxyProcess) -> Result | None:
    """What the proxy says, or None when it dies before it says anything."""
    life = proxy.gone
    gone = asyncio.ensure_future(life.wait())
    awaited: list[asyncio.Future[Any]] = [waiter, gone]
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if life.is_set():
        waiter.cancel()
        return None
    return waiter.result()
