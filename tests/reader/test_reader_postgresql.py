"""Whole readers on a memory broker that share a real PostgreSQL, also while it is away."""

import asyncio
import logging
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import pytest

from contracts.queries import AccountQuery, EntriesQuery, Query, TransferQuery
from contracts.status import ReaderStatus, decode_status
from contracts.subjects import status_subject
from reader.adapters.store_postgresql_database import Database, connected
from reader.adapters.store_postgresql_migrating import REBUILDING, migrate, try_lock
from reader.adapters.store_postgresql_version import is_current
from reader.bootstrap import rebuild_database_on, serve_on
from reader.config import DatabaseAddress
from reader.ports import JournalInDoubt, ReaderUnfit, StoreFault, StoreUnfit
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.reader.desk import PostgresqlPlace, StoreDesk
from tests.reader.histories import busy_writer, transfer
from tests.reader.journal_writer import Writer
from tests.reader.running import Journals, Running

pytestmark = pytest.mark.server

DEADLINE_S: Final = 20.0

T = TypeVar("T")


async def test_two_readers_on_one_database_push_and_answer_both(
    tmp_path: Path, database: DatabaseAddress, postgresql_place: PostgresqlPlace
) -> None:
    journals, writer = Journals(), busy_writer(200)
    one = Running(journals, tmp_path / "1", database=database)
    two = Running(journals, tmp_path / "2", database=database)
    async with one, two:
        await journals.append(writer.frames)
        await _is_stored(one, writer, readers=2)
        for reader in (one, two):
            await _check_entries(reader, writer)
        for proxy_id in ("p1", "p2"):
            results = [result for each in writer.expected for result in each.get(proxy_id, [])]
            assert Counter(one.pushed[proxy_id]) == Counter(2 * results)
    whole = postgresql_place.beside()
    _store_all(whole, writer)
    assert postgresql_place.dump() == whole.dump()


async def test_a_reader_that_starts_continues_where_others_have_stored(
    tmp_path: Path, database: DatabaseAddress
) -> None:
    """With a data folder of its own, in which there is nothing."""
    journals, writer = Journals(), busy_writer(100)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path / "1", database=database) as reader:
        await _is_stored(reader, writer)
    async with Running(journals, tmp_path / "2", database=database) as reader:
        assert reader.pushed == {}
        await _check_entries(reader, writer)


async def test_an_old_repeat_is_answered_from_the_database(
    tmp_path: Path, database: DatabaseAddress
) -> None:
    journals, writer = Journals(), busy_writer(10)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path, database=database) as reader:
        await _is_stored(reader, writer)
    async with Running(journals, tmp_path, database=database) as reader:
        await journals.append([_repeats(writer)])
        await reader.pushes({"p2": writer.expected[-1]["p2"]})
        assert [result.repeated for result in reader.pushed["p2"]] == [True, True]


@pytest.mark.faults
async def test_a_killed_postgresql_delays_what_needs_it_and_nothing_else(
    tmp_path: Path, own_server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    database = own_server.new_database()
    journals, writer = Journals(), busy_writer(100)
    await journals.append(writer.frames[:10])
    tip = writer.facts[0].sequence
    with caplog.at_level(logging.INFO):
        async with Running(journals, tmp_path, database=database) as reader:
            await _until(lambda: _stored_sequence(reader), lambda sequence: sequence > tip)
            own_server.kill()
            await journals.append(writer.frames[10:])
            await reader.reach(writer.tip.sequence)
            now = await reader.ask_once(AccountQuery("anna"))
            assert now == writer.books.account("anna", writer.tip.sequence, tip=writer.tip.sequence)
            for query in (EntriesQuery("anna", 500), TransferQuery("issuer", "t0")):
                assert await reader.ask_once(query) is None, "it can't know"
                assert await reader.ask_with_others(query) == [], "another one may"
            await journals.append([_repeats(writer)])
            await reader.reach(writer.tip.sequence)
            again = writer.expected[-1]["p2"]
            assert not set(again) & set(reader.pushed["p2"]), "nobody is told what is not known"
            own_server.start()
            await _is_stored(reader, writer)
            await _answered(reader, TransferQuery("issuer", "t0"))
            await _check_entries(reader, writer)
            before = {proxy_id: list(results) for proxy_id, results in reader.pushed.items()}
            await journals.append([_repeats(writer)])
            await reader.pushes(before | {"p2": before["p2"] + writer.expected[-1]["p2"]})
    assert "not stored, tried again" in caplog.text
    assert PASSWORD not in caplog.text
    _equals_a_whole_one(own_server, database, writer)


@pytest.mark.faults
async def test_a_restarted_postgresql_loses_nothing_and_stores_nothing_twice(
    tmp_path: Path, own_server: PostgresqlServer
) -> None:
    """Again and again, while two readers write."""
    database = own_server.new_database()
    journals, writer = Journals(), busy_writer(210)
    one = Running(journals, tmp_path / "1", database=database)
    two = Running(journals, tmp_path / "2", database=database)
    async with one, two:
        for first in range(0, len(writer.frames), 8):
            await journals.append(writer.frames[first : first + 8])
            await asyncio.to_thread(own_server.restart)
        for reader in (one, two):
            await _is_stored(reader, writer, readers=2)
            await _answered(reader, TransferQuery("issuer", "t0"))
    _equals_a_whole_one(own_server, database, writer)


async def test_a_rebuild_takes_the_place_of_damaged_rows_while_readers_go_on(
    tmp_path: Path, database: DatabaseAddress, postgresql_place: PostgresqlPlace
) -> None:
    journals, writer = Journals(), busy_writer(300)
    await journals.append(writer.frames[:10])
    one = Running(journals, tmp_path / "1", database=database)
    two = Running(journals, tmp_path / "2", database=database)
    async with one, two:
        await journals.append(writer.frames[10:20])
        await _until(lambda: _stored_sequence(one, readers=2), lambda sequence: sequence > 10)
        assert postgresql_place.run("UPDATE transfers SET amount_minor = amount_minor + 1") > 0
        rebuilding = asyncio.create_task(
            rebuild_database_on(journals.server.connect(), one.settings, database)
        )
        await journals.append(writer.frames[20:])
        await rebuilding
        for reader in (one, two):
            await _is_stored(reader, writer, readers=2)
            await _check_entries(reader, writer)
    whole = postgresql_place.beside()
    _store_all(whole, writer)
    assert postgresql_place.dump() == whole.dump()


async def test_one_rebuild_at_a_time(tmp_path: Path, database: DatabaseAddress) -> None:
    journals = Journals()
    async with Running(journals, tmp_path, database=database) as reader:
        with connected(database) as other:
            assert try_lock(other, REBUILDING)
            with pytest.raises(ReaderUnfit, match="Another rebuild"):
                await rebuild_database_on(journals.server.connect(), reader.settings, database)


async def test_a_database_that_knows_another_journal_is_refused(
    tmp_path: Path, database: DatabaseAddress
) -> None:
    """As when two wallets are given the same one."""
    journals, writer = Journals(), busy_writer(20)
    await journals.append(writer.frames)
    async with Running(journals, tmp_path / "1", database=database) as reader:
        await _is_stored(reader, writer)
    others = Journals()
    await others.append(busy_writer(70, per_frame=3).frames)
    running = Running(others, tmp_path / "2", database=database)
    with pytest.raises(ExceptionGroup) as refusal:
        await serve_on(
            running.connection, running.settings, asyncio.Event(), lambda: None, database
        )
    assert refusal.group_contains(JournalInDoubt, match="known from the read store postgresql://")


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"password": "wrong-hush"}, StoreUnfit, "refuses this reader.*password"),
        ({"database": "nowhere"}, StoreUnfit, "refuses this reader.*does not exist"),
        ({"port": 1}, StoreFault, "can't be reached now"),
        ({"host": "nowhere.invalid"}, StoreFault, "can't be reached now"),
    ],
)
async def test_a_database_that_can_not_be_used_is_named_without_the_password(
    tmp_path: Path,
    database: DatabaseAddress,
    changes: dict[str, str | int],
    kind: type[Exception],
    words: str,
) -> None:
    wrong = msgspec.structs.replace(database, **changes)
    with pytest.raises(kind, match=words) as refusal:
        await _refused(tmp_path, wrong)
    assert "EWALLET_READ_STORE" in str(refusal.value)
    told = "".join(traceback.format_exception(refusal.value))
    assert PASSWORD not in told
    assert "hush" not in told


async def test_a_schema_of_a_newer_version_is_refused(
    tmp_path: Path, database: DatabaseAddress
) -> None:
    migrate(database)
    with connected(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '99'")
    with pytest.raises(StoreUnfit, match="schema version 99, this program knows 1: a newer"):
        await _refused(tmp_path, database)


async def test_a_user_without_rights_is_told_which(
    tmp_path: Path, database: DatabaseAddress
) -> None:
    with connected(database) as connection:
        connection.execute("DROP ROLE IF EXISTS nobody_special")
        connection.execute("CREATE ROLE nobody_special LOGIN PASSWORD 'hush'")
    guest = msgspec.structs.replace(database, user="nobody_special", password="hush")  # noqa: S106  # a test's
    with pytest.raises(StoreUnfit, match="GRANT CREATE ON DATABASE"):
        await _refused(tmp_path, guest)


async def test_readers_that_start_at_once_make_the_tables_once(database: DatabaseAddress) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, database) for _ in range(6)))
    with connected(database) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("1",)]


def test_the_version_known_is_that_of_the_newest_migration(database: DatabaseAddress) -> None:
    assert not is_current(database)
    migrate(database)
    assert is_current(database)


async def _refused(folder: Path, database: DatabaseAddress) -> None:
    running = Running(Journals(), folder, database=database)
    await serve_on(running.connection, running.settings, asyncio.Event(), lambda: None, database)


def _repeats(writer: Writer) -> bytes:
    again = [transfer("issuer", "anna", 1, "t0"), transfer("anna", "bert", 10**6, "refused-5")]
    return writer.write([("p2", 1, again)])


async def _stored_sequence(reader: Running, readers: int = 1) -> int:
    """How far all readers have stored."""
    answers = await reader.client.request_all(status_subject("reader"), b"", timeout_s=0.2)
    found = [decode_status(answer) for answer in answers]
    assert len(found) == readers
    partitions = [status.partitions[0] for status in found if isinstance(status, ReaderStatus)]
    return min(partition.stored_sequence for partition in partitions)


async def _is_stored(reader: Running, writer: Writer, readers: int = 1) -> None:
    tip = writer.tip.sequence
    await _until(lambda: _stored_sequence(reader, readers), lambda sequence: sequence == tip)


async def _answered(reader: Running, query: Query) -> None:
    await _until(lambda: reader.ask_once(query), lambda answer: answer is not None)


async def _check_entries(reader: Running, writer: Writer) -> None:
    tip = writer.tip.sequence
    for account_id in ("issuer", "anna", "bert", "carl"):
        page = await reader.ask(EntriesQuery(account_id, 500, min_sequence=tip))
        assert page == writer.books.entries(account_id, 500, None, tip=tip)


def _store_all(place: PostgresqlPlace, writer: Writer) -> None:
    desk = StoreDesk(place.open())
    desk.take_all(writer.frames)
    desk.store_pending()


def _equals_a_whole_one(
    server: PostgresqlServer, database: DatabaseAddress, writer: Writer
) -> None:
    """What is stored is what one reader stores that nobody disturbs."""
    whole = server.new_database()
    migrate(whole)
    with ExitStack() as at_end:
        places = [
            PostgresqlPlace(at_end.enter_context(closing(Database(address, 1))), at_end)
            for address in (database, whole)
        ]
        _store_all(places[1], writer)
        assert places[0].dump() == places[1].dump()


async def _until(ask: Callable[[], Awaitable[T]], is_met: Callable[[T], bool]) -> None:
    """Ask until the answer is as wanted; the deadline only ends a hang."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_met(await ask()):  # noqa: ASYNC110  # nobody tells what another process stored
            await asyncio.sleep(0.02)
