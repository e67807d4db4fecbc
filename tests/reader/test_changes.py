"""Changes that are pushed are those of the naive books: for who listens, and for nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.port import NoResponse, StreamState
from contracts.chain import Chained, follow
from contracts.changes import Change, ChangeFrame, Listen, slots_to_bytes
from contracts.frames import CHANGE_FRAME, LISTEN
from contracts.limits import (
    CHANGE_FRAME_CHANGES_MAX,
    LISTENING_PROXIES_MAX,
    LISTENS_UNTIL_MS,
    REPLAY_CHANGES_MAX,
    SLOT_COUNT,
)
from contracts.partitioning import slot_of
from contracts.queries import AccountQuery, ChangesAnswer, ChangesQuery, Mark, Missing, NotFound
from contracts.subjects import change_subject, journal_stream, listen_subject
from reader.core.changes import Mark as RowsMark
from reader.core.changes import changes_since
from reader.core.listening import Listening, joined
from tests.reader.changed_books import all_changes, changes
from tests.reader.desk import Desk
from tests.reader.histories import (
    ACCOUNT_IDS,
    OPENED,
    busy_writer,
    opened_writer,
    transfer,
    written,
    written_frames,
)
from tests.reader.journal_writer import Writer
from tests.reader.running import Journals, Running

EVERY_SLOT = bytes([255]) * (SLOT_COUNT // 8)


def slots_of(*account_ids: str) -> bytes:
    return slots_to_bytes({slot_of(account_id) for account_id in account_ids})


def change(sequence: int, account_id: str = "anna") -> Change:
    return Change(account_id, sequence, 1, 2, 3, "t", 4, direction=1)  # type: ignore[arg-type]


# --- out of rows ---


@settings(max_examples=150)
@given(written_frames, st.sets(st.sampled_from(ACCOUNT_IDS)), st.data())
def test_a_frames_changes_are_those_of_the_books(
    frames: list,  # type: ignore[type-arg] # drawn
    listened: set[str],
    data: st.DataObject,
) -> None:
    """Each frame's, wherever the rows before it are just then."""
    writer = written(frames)
    pushed: list[Change] = []
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "store.sqlite")
        listening = Listening(0)
        listening.heard(Listen("p", 1, slots_of(*listened) if listened else b""), 0, 0)
        for frame in writer.frames:
            step = follow(desk.projection.cursor.tip, frame)
            assert isinstance(step, Chained)
            pending = desk.unstored.pending
            mark = RowsMark(pending, step.frame.first_sequence)
            desk.take(frame)
            pushed += changes_since(mark, pending, desk.projection.accounts, listening)
            if data.draw(st.booleans()):
                desk.store_pending()
        desk.close()
    expected = all_changes(writer.books, writer.tip.sequence)
    assert pushed == [each for each in expected if each.account_id in listened]


# --- who listens ---


def test_frames_continue_each_other_whoever_comes_to_listen() -> None:
    """What a new one listens to was not collected before it was heard, and no frame says so."""
    listening = Listening(0)
    assert not listening
    assert _outlines(listening.heard(Listen("p", 1, slots_of("anna")), 0, 10)) == [
        (10, 10, {"p": 1})
    ]
    assert listening
    assert _outlines(listening.frames([change(12)], 13)) == [(10, 13, {"p": 1})]
    assert _outlines(listening.heard(Listen("q", 5, slots_of("bert")), 0, 20)) == [
        (13, 20, {"p": 1}),
        (20, 20, {"p": 1, "q": 5}),
    ]
    assert listening.includes("anna")
    assert listening.includes("bert")
    assert not listening.includes("carl")


def test_who_falls_silent_is_forgotten() -> None:
    listening = Listening(0)
    listening.heard(Listen("p", 1, slots_of("anna")), 0, 10)
    listening.heard(Listen("q", 1, slots_of("bert")), 1_000, 10)
    listening.forget_silent(LISTENS_UNTIL_MS)
    assert not listening.includes("anna")
    assert listening.includes("bert")
    listening.forget_silent(LISTENS_UNTIL_MS + 1_000)
    assert not listening


def test_who_says_goodbye_is_forgotten_and_may_come_back() -> None:
    listening = Listening(0)
    listening.heard(Listen("p", 3, slots_of("anna")), 0, 10)
    listening.heard(Listen("p", 3, b""), 0, 11)
    assert not listening
    frames = listening.heard(Listen("p", 4, slots_of("anna")), 0, 50)
    assert _outlines(frames) == [(50, 50, {"p": 4})], "nothing was collected meanwhile"


def test_what_a_proxy_said_before_its_last_word_does_not_count() -> None:
    listening = Listening(0)
    listening.heard(Listen("p", 2, slots_of("anna", "bert")), 0, 10)
    listening.heard(Listen("p", 1, slots_of("anna")), 0, 10)
    assert listening.includes("bert")


def test_the_number_of_listening_proxies_is_bounded() -> None:
    listening = Listening(0)
    for number in range(LISTENING_PROXIES_MAX + 1):
        listening.heard(Listen(f"p{number}", 1, slots_of("anna")), 0, 1)
    (frame,) = listening.frames([], 1)
    assert len(frame.versions) == LISTENING_PROXIES_MAX
    listening.heard(Listen("p0", 2, slots_of("anna")), 0, 1)
    (frame,) = listening.frames([], 1)
    assert frame.versions["p0"] == 2, "who is known is heard"


@given(st.lists(st.integers(1, 2), min_size=1, max_size=2_200), st.integers(0, 3))
@settings(max_examples=20)
def test_many_changes_leave_in_frames_that_join(counts: list[int], more: int) -> None:
    """An event's changes are never in two frames."""
    listening = Listening(0)
    listening.heard(Listen("p", 1, EVERY_SLOT), 0, 0)
    made = [change(at, name) for at, n in enumerate(counts, 1) for name in ("anna", "bert")[:n]]
    tip = len(counts) + more
    frames = listening.frames(made, tip)
    _check_joining(frames, made, tip)
    _check_joining(joined(frames + listening.frames([], tip)), made, tip)


def _check_joining(frames: list[ChangeFrame], made: list[Change], tip: int) -> None:
    assert [each for frame in frames for each in frame.changes] == made
    reached = 0
    for frame in frames:
        assert frame.after_sequence == reached
        assert len(frame.changes) <= CHANGE_FRAME_CHANGES_MAX
        assert all(reached < each.sequence <= frame.tip_sequence for each in frame.changes)
        reached = frame.tip_sequence
    assert reached == tip


def _outlines(frames: list[ChangeFrame]) -> list[tuple[int, int, dict[str, int]]]:
    return [(frame.after_sequence, frame.tip_sequence, frame.versions) for frame in frames]


# --- a whole reader ---


class Heard:
    """What a proxy hears on a partition's subject of changes."""

    def __init__(self, reader: Running) -> None:
        self.frames: list[ChangeFrame] = []
        self._reader = reader
        self._came = asyncio.Event()

    async def start(self) -> None:
        await self._reader.client.subscribe(change_subject(0), self._note)

    async def listen(self, version: int, slots: bytes) -> None:
        data = LISTEN.encode(Listen("p1", version, slots))
        await self._reader.client.publish(listen_subject(0), data)

    async def reach(self, sequence: int) -> None:
        async with asyncio.timeout(10):
            while not self.frames or self.frames[-1].tip_sequence < sequence:
                self._came.clear()
                await self._came.wait()

    def _note(self, data: bytes) -> None:
        self.frames.append(CHANGE_FRAME.decode(data))
        self._came.set()


async def test_a_reader_pushes_nothing_until_somebody_listens(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(20)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        heard = Heard(reader)
        await heard.start()
        await journals.append([writer.write([("p1", 1, [transfer("issuer", "anna", 7, "n1")])])])
        await reader.reach(writer.tip.sequence)
        assert heard.frames == []
        tip = writer.tip.sequence
        await heard.listen(1, slots_of("anna"))
        await heard.reach(tip)
        await journals.append([writer.write([("p1", 2, [transfer("issuer", "anna", 7, "n2")])])])
        await heard.reach(tip + 1)
    expected = changes(writer.books, "anna", tip, tip + 1)
    assert len(expected) == 1
    assert heard.frames == [
        ChangeFrame(0, tip, tip, {"p1": 1}, []),
        ChangeFrame(0, tip, tip + 1, {"p1": 1}, expected),
    ]


async def test_a_reader_that_starts_says_that_it_is_there(tmp_path: Path) -> None:
    """So that proxies tell it at once what they listen to."""
    journals, writer = Journals(), busy_writer(20)
    await journals.append(writer.frames)
    frames: list[ChangeFrame] = []
    reader = Running(journals, tmp_path)
    note = partial(_note_frame, frames)
    await reader.client.subscribe(change_subject(0), note)
    async with reader:
        await reader.reach(writer.tip.sequence)
    tip = writer.tip.sequence
    assert frames == [ChangeFrame(0, tip, tip, {}, [])]


def _note_frame(frames: list[ChangeFrame], data: bytes) -> None:
    frames.append(CHANGE_FRAME.decode(data))


async def test_what_a_reader_can_not_understand_stops_nothing(tmp_path: Path) -> None:
    journals, writer = Journals(), busy_writer(5)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        heard = Heard(reader)
        await heard.start()
        await reader.client.publish(listen_subject(0), b"nonsense")
        await heard.listen(1, b"short")
        await heard.reach(writer.tip.sequence)
        await journals.append([writer.write([("p1", 1, [transfer("issuer", "anna", 7, "n1")])])])
        await reader.reach(writer.tip.sequence)


async def test_accounts_that_do_not_fit_into_an_answer_are_left_out(tmp_path: Path) -> None:
    """They are the last ones; whoever asked asks for them again."""
    journals, writer = Journals(), busy_writer(900)
    await journals.append(writer.frames)
    tip = writer.tip.sequence
    marks = [Mark("anna", 0)] * 200
    async with Running(journals, tmp_path) as reader:
        answer = await reader.ask(ChangesQuery(marks, REPLAY_CHANGES_MAX))
    assert isinstance(answer, ChangesAnswer)
    assert 1 < len(answer.accounts) < len(marks)
    expected = changes(writer.books, "anna", 0, tip)
    assert all(each is not None and each.changes == expected for each in answer.accounts)


@contextmanager
def held_back(journals: Journals) -> Iterator[None]:
    """Whoever reads the journal gets nothing more of it until the end of this."""
    stream = journals.server.stream(journal_stream(0))
    readings, stream.readings = stream.readings, []
    yield
    stream.readings = readings
    for reading in readings:
        reading.deliver()


async def test_a_reader_that_lags_denies_no_account_that_its_journal_holds(tmp_path: Path) -> None:
    """Who watches it may have seen it opened, as another reader is further."""
    journals, writer = Journals(), Writer()
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        with held_back(journals):
            await journals.append([writer.write([("p1", 1, OPENED)])])
            asking = asyncio.create_task(reader.ask(ChangesQuery([Mark("anna", None)], 1)))
            assert await reader.ask(AccountQuery("anna")) == NotFound(0, 1, Missing.ACCOUNT)
        answer = await asking
    assert isinstance(answer, ChangesAnswer)
    assert answer.sequence == writer.tip.sequence
    assert answer.accounts != [None]
    assert answer.is_up_to_date


@pytest.mark.parametrize("account_ids", [["anna", "nobody"], ["nobody", "anna"], ["nobody"]])
async def test_a_reader_that_does_not_catch_up_denies_nothing_and_tells_what_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account_ids: list[str]
) -> None:
    """Else who watches an unknown account would hold up those that are asked about beside it."""
    monkeypatch.setattr("reader.service.answering.QUERY_WAIT_S", 0.01)
    journals, writer = Journals(), opened_writer()
    await journals.append(writer.frames)
    tip = writer.tip.sequence
    async with Running(journals, tmp_path) as reader:
        with held_back(journals):
            await journals.append([writer.write([("p1", 9, [transfer("issuer", "anna", 7, "n")])])])
            answer = await reader.ask(ChangesQuery([Mark(each, None) for each in account_ids], 1))
    assert isinstance(answer, ChangesAnswer)
    assert (answer.sequence, answer.is_up_to_date) == (tip, False)
    assert [each is None for each in answer.accounts] == [each == "nobody" for each in account_ids]


async def test_what_is_known_counts_while_nobody_says_where_the_journal_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who watches an unknown account would hold up those that are asked about beside it."""
    journals, writer = Journals(), opened_writer()
    await journals.append(writer.frames)

    async def silent(stream: str) -> StreamState:
        raise NoResponse(f"no leader of {stream}")

    async with Running(journals, tmp_path) as reader:
        monkeypatch.setattr(reader.connection, "stream_state", silent)
        answer = await reader.ask(ChangesQuery([Mark("nobody", None), Mark("anna", None)], 1))
    assert isinstance(answer, ChangesAnswer)
    assert [each is None for each in answer.accounts] == [True, False]
    assert answer.is_up_to_date
