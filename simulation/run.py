"""One run: a seed, a world, trouble, and the checks."""

import asyncio
import gc
import logging
import tempfile
import traceback
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from msgspec import Struct

from broker.port import BrokerFault
from contracts.parties import parties
from contracts.subjects import journal_stream
from simulation.answers import Answers
from simulation.auditor import Auditor
from simulation.books import Violated
from simulation.clients import Clients
from simulation.finish import Finish
from simulation.loop import Deadlock, Overtime, VirtualLoop
from simulation.processes import EVEN_SLOTS, PARTITION_COUNT
from simulation.questions import Questions
from simulation.story import StoryHandler
from simulation.trouble import Trouble
from simulation.workload import Workload
from simulation.world import Appended, World

_TIME_MAX_S: Final = 600.0
_SETTLING_S_MAX: Final = 120.0

_T = TypeVar("_T")


class Outcome(Struct):
    """What came of one seed."""

    seed: int
    failure: str | None
    story: list[str]
    virtual_s: float
    faults: dict[str, int]
    cases: dict[str, int]
    outcomes: dict[str, int]
    answers: int
    questions: int
    journals: bytes
    """Hash of all journals."""


def run_seed(seed: int, listener: Callable[[Appended], None] | None = None) -> Outcome:
    """Run one seed from the beginning to its last check.

    A listener is told of everything that a stream stores, in order.
    """
    gc.disable()  # what is freed when is a part of the run
    try:
        with tempfile.TemporaryDirectory(prefix="ewallet-sim-", dir=_memory_folder()) as folder:
            return _run(seed, Path(folder), listener)
    finally:
        gc.enable()
        gc.collect()


def _memory_folder() -> str | None:
    """Files of a run need no disk."""
    shm = Path("/dev/shm")  # noqa: S108  # the run's own folder is made in it
    return str(shm) if shm.is_dir() else None


def _run(seed: int, folder: Path, listener: Callable[[Appended], None] | None) -> Outcome:
    pauses = Random(f"{seed} threads")
    loop = VirtualLoop(_TIME_MAX_S, lambda: pauses.random() * 0.01)
    asyncio.set_event_loop(loop)
    run = _Run(seed, folder, loop)
    if listener is not None:
        run.listen(listener)
    failure = None
    try:
        loop.run_until_complete(run.play())
    except (Violated, Deadlock, Overtime) as violation:
        failure = f"{type(violation).__name__}: {violation}"
    except Exception as bug:  # noqa: BLE001  # of the simulation itself, or an assert
        failure = "".join(traceback.format_exception(bug))
    finally:
        run.end()
        loop.close()
        asyncio.set_event_loop(None)
    return run.outcome(failure)


class _Run:
    """The parts of one run."""

    def __init__(self, seed: int, folder: Path, loop: VirtualLoop) -> None:
        self._seed = seed
        self._loop = loop
        self._world = world = World(seed, folder, loop)
        chance = self._chance = Random(f"{seed} run")
        workload = Workload(
            Random(f"{seed} workload"), EVEN_SLOTS, transfers=chance.choice((60, 120, 240))
        )
        self._trouble = Trouble(world, Random(f"{seed} trouble"))
        self._auditor = Auditor(EVEN_SLOTS, world.cases)
        self._answers = Answers(self._auditor)
        self._questions = Questions(self._auditor)
        self._clients = Clients(world, workload, self._questions, Random(f"{seed} clients"))
        self._violated: asyncio.Future[None] = loop.create_future()
        self._handler = StoryHandler(world.story)
        logging.getLogger().addHandler(self._handler)
        world.listeners.insert(0, self._guarded(self._auditor.take))
        world.on_violation = self._violate
        self._clients.on_answer = self._guarded(self._answers.take)
        loop.set_exception_handler(self._note_unhandled)

    def listen(self, listener: Callable[[Appended], None]) -> None:
        """Tell a listener of everything that is stored."""
        self._world.listeners.append(listener)

    async def play(self) -> None:
        """Work under trouble, settle, check; raise the first violation."""
        playing = asyncio.create_task(self._play())
        await asyncio.wait({playing, self._violated}, return_when=asyncio.FIRST_COMPLETED)
        if self._violated.done():
            playing.cancel()
            self._violated.result()
        playing.result()

    async def _play(self) -> None:
        self._world.start()
        working = asyncio.create_task(self._clients.run(self._chance.choice((4, 12))))
        await self._trouble.run(self._chance.choice((5.0, 15.0, 40.0)))
        try:
            async with asyncio.timeout(_SETTLING_S_MAX):
                await working
        except TimeoutError:
            raise Violated(
                f"{self._clients.waiting} commands have no outcome {_SETTLING_S_MAX} s after the "
                "faults"
            ) from None
        finish = Finish(self._world, self._auditor, self._questions, Random(f"{self._seed} finish"))
        await finish.check()

    def _guarded(self, take: Callable[[_T], None]) -> Callable[[_T], None]:
        """Let a check that fails end the run instead of whoever called it."""

        def guarded(what: _T) -> None:
            try:
                take(what)
            except Violated as violation:
                self._violate(violation)

        return guarded

    def _violate(self, violation: Violated) -> None:
        self._world.story.tell(f"VIOLATED: {violation}")
        if not self._violated.done():
            self._violated.set_exception(violation)

    def end(self) -> None:
        """Kill everything, so that no task outlives the run."""
        logging.getLogger().removeHandler(self._handler)
        for process in self._world.alive:
            process.crash()
        if self._violated.done():
            self._violated.exception()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        for _ in range(20):
            self._loop.run_until_complete(_turn())

    def outcome(self, failure: str | None) -> Outcome:
        """What is to be told of it."""
        return Outcome(
            seed=self._seed,
            failure=failure,
            story=[] if failure is None else self._world.story.about([], last=200),
            virtual_s=self._loop.time(),
            faults=dict(self._world.faults),
            cases=dict(self._world.cases),
            outcomes=dict(self._auditor.books.outcomes),
            answers=self._clients.answer_count,
            questions=self._questions.count,
            journals=self._journals_hash(),
        )

    def _journals_hash(self) -> bytes:
        digest = blake2b(digest_size=16)
        for party in parties(PARTITION_COUNT):
            stream = self._world.server.streams.get(journal_stream(party))
            for message in stream.messages if stream is not None else ():
                digest.update(b"%d %d %d " % (party, message.at_ns, len(message.data)))
                digest.update(message.data)
        return digest.digest()

    def _note_unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A callback failed, or a task's error was never looked at.

        A fault of the broker that nobody looked at is one that came after nobody cared any more.
        """
        if isinstance(context.get("exception"), BrokerFault):
            return
        self._violate(Violated(f"{context.get('message')}: {context.get('exception')!r}"))


async def _turn() -> None:
    """Let everything that is ready happen."""
