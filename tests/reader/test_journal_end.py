"""How often a journal is asked where it ends, for who asks about accounts that are unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.queries import Answer, ChangesAnswer, ChangesQuery, Mark
from reader.service.answering import Answering
from reader.service.progress import Progress
from reader.service.threads import Threads
from tests.reader.desk import Desk

MANY = 50
READ = 7
"""The stream sequence up to which this reader has read."""


class Leader:
    """The leader of a journal, which says where it ends when the test lets it."""

    def __init__(self) -> None:
        self.end = READ
        self.calls = 0
        self.was_asked = asyncio.Event()
        self.may_say = asyncio.Event()

    async def ask(self) -> int:
        self.calls += 1
        end = self.end
        self.was_asked.set()
        await self.may_say.wait()
        return end


class Scene:
    """A reader that has read some of a journal, in which nobody's account is opened."""

    def __init__(self, path: Path) -> None:
        self.leader = Leader()
        self.position = Progress(READ)
        self._desk = Desk(path)
        self._threads = ThreadPoolExecutor(1)
        self._answering = Answering(
            0,
            self._desk.projection,
            Progress(0),
            self.position,
            self.leader.ask,
            present=self._desk.history,
            past=self._desk.past(),
            threads=Threads(self._threads, self._threads, None),
        )

    async def ask(self) -> Answer:
        return await self._answering.answer(ChangesQuery([Mark("nobody", None)], 1))

    def close(self) -> None:
        self._threads.shutdown()
        self._desk.close()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("reader.service.journal_end.JOURNAL_END_S", 60.0)
    scene = Scene(tmp_path / "store.sqlite")
    yield scene
    scene.close()


async def test_all_who_come_while_a_question_is_out_share_the_next(scene: Scene) -> None:
    """That one brings where the journal ends when they ask, the one that is out may not."""
    first = asyncio.create_task(scene.ask())
    await scene.leader.was_asked.wait()
    scene.leader.end = READ + 1
    others = [asyncio.create_task(scene.ask()) for _ in range(MANY)]
    scene.leader.may_say.set()
    assert await first == denied()
    assert not any(each.done() for each in others)
    scene.position.advance(READ + 1)
    assert await asyncio.gather(*others) == [denied()] * MANY
    assert scene.leader.calls == 2


async def test_who_gives_up_while_its_question_is_out_leaves_nobody_without_an_answer(
    scene: Scene,
) -> None:
    first = asyncio.create_task(scene.ask())
    await scene.leader.was_asked.wait()
    others = [asyncio.create_task(scene.ask()) for _ in range(MANY)]
    first.cancel()
    scene.leader.may_say.set()
    assert await asyncio.gather(*others) == [denied()] * MANY
    assert scene.leader.calls == 2


async def test_what_a_query_waits_for_does_not_add_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked would have given up: also where the journal ends is told in time or not."""
    monkeypatch.setattr("reader.service.answering.QUERY_WAIT_S", 0.01)
    async with asyncio.timeout(10):
        assert await scene.ask() == denied(is_up_to_date=False)


def denied(*, is_up_to_date: bool = True) -> ChangesAnswer:
    return ChangesAnswer(0, 0, -1, [None], is_up_to_date)
