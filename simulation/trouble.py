"""The faults of one run: what breaks when, drawn from its seed.

Some come at a time, some right after a message was stored, so that between any two steps of
anything something can break. Crashes come before, between and after all of it.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from contracts.limits import HOLD_MS
from contracts.parties import parties
from simulation.processes import PARTITION_COUNT, Process, WriterProcess
from simulation.world import Appended, World

_SPLIT_S: Final = (0.05, 0.5, 3.0, 9.0)
_PAUSE_S: Final = (0.3, 2.0, 6.0, 9.0)
_PAST_ALL_HOLDS_S: Final = 1.2 * HOLD_MS / 1_000
_JUMP_S: Final = (-3_600.0, -20.0, -0.5, 0.5, 4.0, 40.0)


class Trouble:
    """Breaks things until it is over."""

    def __init__(self, world: World, chance: Random) -> None:
        self._world = world
        self._chance = chance
        self._per_s = chance.choice((0.0, 0.1, 0.4, 1.0))
        """Faults at times."""
        self._per_message = chance.choice((0.0, 0.005, 0.02, 0.05))
        """Crashes after stored messages."""
        self._kinds: list[tuple[int, Callable[[], None]]] = [
            (6, self._crash_writer),
            (2, self._crash_reader),
            (2, self._crash_proxy),
            (3, self._split),
            (2, self._pause),
            (4, self._depose),
            (2, self._crash_server),
            (2, self._lose_queues_leader),
            (2, self._jump_clock),
            (1, self._repeat_frame),
            (3, self._damage_snapshot),
        ]
        self._is_over = False
        world.listeners.append(self._after_message)

    async def run(self, for_s: float) -> None:
        """Break things for so long; afterwards everything comes back and stays."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + for_s
        while self._per_s and loop.time() < end_s:
            await asyncio.sleep(self._chance.expovariate(self._per_s))
            self._break_something()
        await asyncio.sleep(max(0.0, end_s - loop.time()))
        self._is_over = True
        self._world.weather.is_over = True
        self._world.story.tell("the faults are over")

    def _break_something(self) -> None:
        weights = [weight for weight, _ in self._kinds]
        _, kind = self._chance.choices(self._kinds, weights)[0]
        kind()

    def _after_message(self, appended: Appended) -> None:
        if self._is_over or self._chance.random() >= self._per_message:
            return
        kind = self._chance.random()
        if kind < 0.1:
            self._world.jump_clock(_PAST_ALL_HOLDS_S)
            return
        if kind < 0.3:  # while it is busy, so that frames of its are in flight
            self._depose(self._busiest_writer())
            return
        process: Process = self._writer()
        if not appended.stream.startswith("EVT_") or self._chance.random() < 0.3:
            process = self._chance.choice(self._world.processes)
        # Not within the server's own work; and sometimes an acknowledgement later.
        later_s = self._chance.choice((0.0, 0.0, 0.001, 0.02))
        asyncio.get_running_loop().call_later(later_s, self._world.crash, process)

    # --- kinds ---

    def _crash_writer(self) -> None:
        self._world.crash(self._chance.choice(self._world.present_writers))

    def _crash_reader(self) -> None:
        self._world.crash(self._chance.choice(self._world.readers))

    def _crash_proxy(self) -> None:
        self._world.crash(self._chance.choice(self._world.proxies))

    def _crash_server(self) -> None:
        self._world.crash_server(self._chance.choice((0.1, 1.0, 4.0)))

    def _lose_queues_leader(self) -> None:
        party = self._chance.choice(parties(PARTITION_COUNT))
        self._world.lose_queues_leader(party, self._length_s(_SPLIT_S))

    def _split(self) -> None:
        self._world.split(self._chance.choice(self._world.processes), self._length_s(_SPLIT_S))

    def _pause(self) -> None:
        self._world.pause(self._chance.choice(self._world.processes), self._length_s(_PAUSE_S))

    def _depose(self, writer: WriterProcess | None = None) -> None:
        """A writer can't be heard, and another one is started meanwhile."""
        writer = writer or self._writer()
        unheard_s = self._length_s(_PAUSE_S)
        if self._chance.random() < 0.8:
            self._world.pause(writer, unheard_s)
        else:
            self._world.split(writer, unheard_s)
        loop = asyncio.get_running_loop()
        loop.call_later(self._chance.random() * unheard_s, self._world.start_rival, writer)

    def _busiest_writer(self) -> WriterProcess:
        """The one with the most frames in flight."""
        return max(
            self._world.present_writers,
            key=lambda writer: max((reign.in_flight for reign in writer.reigns), default=0),
        )

    def _writer(self) -> WriterProcess:
        return self._chance.choice(self._world.present_writers)

    def _jump_clock(self) -> None:
        self._world.jump_clock(self._chance.choice(_JUMP_S))

    def _repeat_frame(self) -> None:
        party = self._chance.choice(parties(PARTITION_COUNT))
        self._world.repeat_frame(party, self._chance)

    def _damage_snapshot(self) -> None:
        self._world.damage_snapshot(self._chance)

    def _length_s(self, lengths: tuple[float, ...]) -> float:
        return self._chance.choice(lengths) * (0.5 + self._chance.random())
