"""Starting the children in order, keeping them running, and stopping them in order.

`supervise` is the whole of it. It ends in one of two ways: somebody asked for the end, or one
child refused to run. Either way every child has ended when it returns.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ewallet.child import Child

_LOG = logging.getLogger("ewallet")

Stages = Sequence[Sequence[Child]]
"""Children of one stage start or stop together; the next stage waits for all of them."""


@dataclass(frozen=True)
class Crew:
    """The children of one wallet, and the tasks that run those which were started."""

    start_order: Stages
    stop_order: Stages
    tasks: dict[Child, asyncio.Task[None]] = field(default_factory=dict)


async def supervise(crew: Crew, stop: asyncio.Event, when_ready: Callable[[], None]) -> bool:
    """Run the children until `stop` is set; say whether all of them stopped by themselves.

    `when_ready` is called once, when each child is ready for the first time. Raises
    Unfit when a child refuses to run, after the others have stopped.
    """
    asked = asyncio.create_task(stop.wait())
    try:
        if await _start(crew, asked):
            when_ready()
            await asyncio.wait({asked, *crew.tasks.values()}, return_when="FIRST_COMPLETED")
    finally:
        asked.cancel()
        await _stop(crew)
    for task in crew.tasks.values():
        task.result()
    return all(child.stopped_cleanly for child in crew.tasks)


async def _start(crew: Crew, asked: asyncio.Task[bool]) -> bool:
    """Start stage by stage; False when a child refused or the end was asked for meanwhile."""
    for stage in crew.start_order:
        crew.tasks.update({child: asyncio.create_task(child.run()) for child in stage})
        ready = asyncio.create_task(_all_ready(stage))
        try:
            await asyncio.wait({ready, asked, *crew.tasks.values()}, return_when="FIRST_COMPLETED")
            if not ready.done():
                return False
        finally:
            ready.cancel()
    return True


async def _all_ready(stage: Sequence[Child]) -> None:
    for child in stage:
        await child.ready.wait()


async def _stop(crew: Crew) -> None:
    for stage in crew.stop_order:
        tasks = [crew.tasks[child] for child in stage if child in crew.tasks]
        for child in stage:
            child.stop()
        if tasks:
            await asyncio.wait(tasks)
    _LOG.info("stopped")
