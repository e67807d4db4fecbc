"""Every answer is what the naive books say, wherever the rows are just then."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    Answer,
    ChangesQuery,
    CreditStepsQuery,
    EntriesAnswer,
    EntriesQuery,
    Mark,
    Missing,
    NotFound,
    Query,
    TransferAnswer,
    TransferQuery,
    UnfinishedQuery,
)
from contracts.rejections import Rejection
from reader.core.accounts import MARK_DISTANCE
from reader.service.answering import Answering
from reader.service.progress import Progress
from reader.service.threads import Threads
from tests.reader.books import Books
from tests.reader.changed_books import changes_answer
from tests.reader.desk import Desk, Place, PostgresqlPlace, StoreDesk
from tests.reader.histories import (
    ACCOUNT_IDS,
    TRANSACTION_IDS,
    busy_writer,
    issuer_and_anna,
    transfer,
    written,
    written_frames,
)
from tests.reader.journal_writer import FAR_IDS
from tests.reader.running import Journals, Running

account_ids = st.sampled_from((*ACCOUNT_IDS, "nobody"))
sequences = st.integers(-1, 60)
moments = st.integers(-2, 30).map(lambda passed: 1_700_000_000_000 + passed)

queries = st.lists(
    st.one_of(
        st.builds(AccountQuery, account_ids),
        st.builds(AccountQuery, account_ids, at_ms=moments),
        st.builds(AccountQuery, account_ids, at_sequence=sequences),
        st.builds(
            EntriesQuery, account_ids, st.integers(1, 4), st.one_of(st.none(), st.integers(-1, 60))
        ),
        st.builds(TransferQuery, account_ids, st.sampled_from(TRANSACTION_IDS)),
        st.builds(
            CreditStepsQuery,
            account_ids,
            st.sampled_from((*FAR_IDS, "anna")),
            st.sampled_from(TRANSACTION_IDS),
        ),
        st.builds(UnfinishedQuery, st.integers(0, 4)),
        st.builds(
            ChangesQuery,
            st.lists(
                st.builds(Mark, account_ids, st.one_of(st.none(), st.integers(0, 60))), max_size=4
            ),
            st.integers(1, 12),
        ),
    ),
    min_size=10,
    max_size=20,
)


@settings(max_examples=80)
@given(written_frames, queries, st.data())
def test_answers_are_those_of_the_books(frames: list, asked: list, data: st.DataObject) -> None:  # type: ignore[type-arg] # drawn
    writer = written(frames)
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "store.sqlite")
        for frame in writer.frames:
            desk.take(frame)
            _store_some(desk, data.draw(st.integers(0, 3)))
        asyncio.run(_check(desk, writer.books, asked))
        desk.store.close()


def _store_some(desk: Desk, choice: int) -> None:
    """Leave rows pending, being written, written or indexed."""
    unstored = desk.unstored
    if choice and unstored.writing is not None:
        desk.store.write(unstored.writing)
        unstored.written()
    if choice and unstored.pending.cursor is not None:
        group = unstored.take()
        if choice > 1:
            desk.store.write(group)
            unstored.written()
    if choice > 2 and unstored.writing is None:
        desk.store.tidy(at_once=True)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written_frames, st.data())
def test_the_past_is_that_of_the_books_after_restarts(
    place: Place,
    frames: list,  # type: ignore[type-arg] # drawn
    data: st.DataObject,
) -> None:
    """Every account at every past sequence, with reopened stores between some of the groups.

    Where a store is shared, another reader is ahead some of the times.
    """
    writer = written(frames)
    tip = writer.tip.sequence
    place.clear()
    if isinstance(place, PostgresqlPlace) and data.draw(st.booleans()):
        other = StoreDesk(place.open())
        other.take_all(writer.frames)
        desk = StoreDesk(place.open())
        assert desk.stored.cursor.stream_sequence == 0
        other.store_pending()
    else:
        desk = StoreDesk(place.open())
    while (at := desk.projection.cursor.stream_sequence) < len(writer.frames):
        desk.take(writer.frames[at])
        if data.draw(st.booleans()):
            desk.store_pending()
            desk.close()
            desk = StoreDesk(place.open())
    past = [
        AccountQuery(account_id, at_sequence=sequence)
        for account_id in ACCOUNT_IDS
        for sequence in range(tip + 1)
    ]
    names = [(payer, t) for payer in (*ACCOUNT_IDS, *FAR_IDS) for t in TRANSACTION_IDS]
    steps = [CreditStepsQuery("anna", *name) for name in names]
    outcomes = [TransferQuery(*name) for name in names]
    pages = [EntriesQuery(account_id, 500) for account_id in ACCOUNT_IDS]
    changed = [
        ChangesQuery([Mark(account_id, after) for account_id in ACCOUNT_IDS], 500)
        for after in range(tip)
    ]
    asked: list[Query] = [*past, *steps, *outcomes, *pages, *changed, UnfinishedQuery(500)]
    asyncio.run(_check(desk, writer.books, asked))
    desk.close()


async def _check(desk: StoreDesk, books: Books, asked: list[Query]) -> None:
    tip, tip_ms = len(books.facts), desk.projection.cursor.tip.at_ms
    with ThreadPoolExecutor(1) as threads:
        answering = Answering(
            0,
            desk.projection,
            Progress(tip),
            Progress(0),
            _no_further,
            present=desk.history,
            past=desk.past(),
            threads=Threads(threads, threads, desk.lookups(threads)),
        )
        for query in asked:
            if isinstance(query, AccountQuery) and (query.at_sequence or 0) > tip:
                continue  # it waits, see below
            assert await answering.answer(query) == _expected(books, query, tip, tip_ms), query


async def _no_further() -> int:
    return 0


def _expected(books: Books, query: Query, tip: int, tip_ms: int) -> Answer:
    match query:
        case AccountQuery():
            sequence = tip
            if query.at_ms is not None:
                sequence = books.sequence_at(query.at_ms)
            elif query.at_sequence is not None:
                sequence = max(query.at_sequence, 0)
            return books.account(query.account_id, sequence, tip=tip)
        case EntriesQuery():
            if books.opening(query.account_id) is None:
                return NotFound(0, tip, Missing.ACCOUNT)
            return books.entries(query.account_id, query.limit, query.before_sequence, tip=tip)
        case ChangesQuery():
            at_ms = books.facts[-1].at_ms
            return changes_answer(books, query, tip=tip, tip_ms=at_ms)
        case _:
            return _expected_transfers(books, query, tip, tip_ms)


def _expected_transfers(
    books: Books,
    query: TransferQuery | CreditStepsQuery | UnfinishedQuery,
    tip: int,
    tip_ms: int,
) -> Answer:
    match query:
        case TransferQuery():
            return books.transfer(query.from_account_id, query.transaction_id, tip=tip)
        case CreditStepsQuery():
            return books.credit_steps(
                query.to_account_id, query.from_account_id, query.transaction_id, tip=tip
            )
        case UnfinishedQuery():
            return books.unfinished_answer(query.limit, tip=tip, at_ms=tip_ms)


@pytest.mark.parametrize("limit", [1, 7, 50, 500])
async def test_pages_of_a_long_statement_join_without_a_gap(tmp_path: Path, limit: int) -> None:
    """Each page goes on where the one before ended, to the first entry of all."""
    journals, writer = Journals(), busy_writer(300)
    await journals.append(writer.frames)
    tip = writer.tip.sequence
    async with Running(journals, tmp_path) as reader:
        for account_id in ACCOUNT_IDS:
            before, entries = None, []
            while True:
                page = await reader.ask(EntriesQuery(account_id, limit, before))
                assert page == writer.books.entries(account_id, limit, before, tip=tip)
                assert isinstance(page, EntriesAnswer)
                entries += page.entries
                if page.next_before_sequence is None:
                    break
                before = page.next_before_sequence
            everything = writer.books.entries(account_id, 1_000, None, tip=tip)
            assert entries == everything.entries


@pytest.mark.parametrize("before", [None, 0, -1, 1, 99])
async def test_an_account_without_entries_has_one_empty_page(
    tmp_path: Path, before: int | None
) -> None:
    """Found by the property above: before 0 once looked for an entry of sequence 0."""
    journals, writer = Journals(), issuer_and_anna()
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        page = await reader.ask(EntriesQuery("anna", 10, before))
        assert page == EntriesAnswer(0, writer.tip.sequence, "USD", [], None)


def test_a_page_deep_in_a_long_statement_is_found_in_few_steps(tmp_path: Path) -> None:
    """The marks lead there: it does not matter how many entries came after."""
    writer = busy_writer(400)
    desk = Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    desk.store_pending()
    issuer = desk.projection.account("issuer")
    assert issuer is not None
    reads: list[str] = []
    desk.store._connections[-1].set_trace_callback(reads.append)  # noqa: SLF001  # counts what is read
    for before in range(issuer.newest_sequence + 1):
        reads.clear()
        desk.history.newest_before(issuer.number, issuer.newest_sequence, before)
        # Each row is looked for among transfers first, and then among steps.
        assert len(reads) <= 2 * (MARK_DISTANCE + 1)
    desk.store.close()


async def test_a_balance_at_every_past_sequence(tmp_path: Path) -> None:
    """Half of the journal is stored and indexed, the rest is new."""
    journals, writer = Journals(), busy_writer(300)
    tip = writer.tip.sequence
    await journals.append(writer.frames[:20])
    async with Running(journals, tmp_path):
        pass
    await journals.append(writer.frames[20:])
    async with Running(journals, tmp_path) as reader:
        for sequence in range(tip + 1):
            answer = await reader.ask(AccountQuery("anna", at_sequence=sequence))
            assert answer == writer.books.account("anna", sequence, tip=tip)


async def test_a_refused_transfer_is_found_by_its_name(tmp_path: Path) -> None:
    """Also when neither account exists, and after a restart."""
    journals, writer = Journals(), issuer_and_anna()
    writer.write([("p1", 1, [transfer("nobody", "no-one", 7, "t1")])])
    await journals.append(writer.frames)
    for _ in range(2):
        async with Running(journals, tmp_path) as reader:
            answer = await reader.ask(TransferQuery("nobody", "t1"))
            assert isinstance(answer, TransferAnswer)
            assert answer.rejection is Rejection.FROM_ACCOUNT_NOT_FOUND
            assert answer.to_account_id == "no-one"


async def test_a_future_time_is_now(tmp_path: Path) -> None:
    journals, writer = Journals(), issuer_and_anna()
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        for at_ms in (writer.at_ms, 2**63 - 1):
            answer = await reader.ask(AccountQuery("anna", at_ms=at_ms))
            assert isinstance(answer, AccountAnswer)
            assert answer.sequence == writer.tip.sequence


async def test_numbers_beyond_any_column_are_answered_too(tmp_path: Path) -> None:
    journals, writer = Journals(), issuer_and_anna()
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        lowest = -(2**63)
        page = await reader.ask(EntriesQuery("anna", 10**9, 2**64 - 1))
        assert page == writer.books.entries("anna", 10, None, tip=writer.tip.sequence)
        moment = await reader.ask(AccountQuery("anna", at_sequence=lowest))
        assert moment == NotFound(0, 0, Missing.MOMENT)
        moment = await reader.ask(AccountQuery("anna", at_ms=lowest))
        assert moment == NotFound(0, 0, Missing.MOMENT)
