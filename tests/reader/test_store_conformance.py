"""What every read store promises, in a file or in a database."""

import pytest

from contracts.chain import Tip, genesis
from contracts.coordination import Coordination
from contracts.events import (
    Event,
    StepRefused,
    StepTaken,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferStarted,
)
from contracts.rejections import NOT_REMEMBERED
from reader.core.rows import BEFORE_ANY_TIME, Cursor, Group
from reader.ports import Stored, StoreUnfit
from tests.reader.desk import Place, StoreDesk
from tests.reader.histories import busy_writer, incoming, transfer
from tests.reader.journal_writer import GoOn, Writer


def test_a_new_store_is_at_the_genesis_of_its_partition(place: Place) -> None:
    place.partition = 3
    store = place.open()
    assert store.load() == Stored(Cursor(genesis(3), 0), BEFORE_ANY_TIME, [], [])
    store.close()


def test_what_was_stored_is_found_again(place: Place) -> None:
    writer = busy_writer(200)
    _store_all(place, writer)
    desk = StoreDesk(place.open())
    assert desk.stored.cursor.tip == writer.tip
    for fact in writer.facts:
        row = desk.history.row(fact.sequence)
        assert (row is not None) == _has_row(fact.event)
        assert row is None or (row.sequence, row.at_ms) == (fact.sequence, fact.at_ms)
    desk.close()


def test_several_rows_are_found_as_each_of_them_is(place: Place) -> None:
    writer = busy_writer(100)
    _store_all(place, writer)
    store = place.open()
    store.load()
    reading, sequences = store.reading(), range(-1, writer.tip.sequence + 3)
    each = {sequence: reading.row(sequence) for sequence in sequences}
    assert reading.rows(sequences) == {at: row for at, row in each.items() if row is not None}
    store.close()


def test_a_restart_anywhere_ends_in_the_same_store(place: Place) -> None:
    writer, at = busy_writer(120), 0
    while at < len(writer.frames):
        desk = StoreDesk(place.open())
        assert desk.stored.cursor.stream_sequence == at
        desk.take_all(writer.frames[at : at + 3])
        desk.store_pending()
        desk.close()
        at += 3
    whole = place.beside()
    _store_all(whole, writer)
    assert place.dump() == whole.dump()


def test_names_are_found_from_the_first_moment_on(place: Place) -> None:
    writer = busy_writer(60)
    desk = StoreDesk(place.open())
    for frame in writer.frames:
        desk.take(frame)
        desk.store_pending()
        for fact in writer.facts[: desk.projection.cursor.tip.sequence]:
            if isinstance(fact.event, TransferCompleted):
                name = (fact.event.from_account_id, fact.event.transaction_id)
                payer = desk.projection.account(name[0])
                assert payer is not None
                row = desk.history.outcome(name, payer.number)
                assert row is not None
                assert row.sequence == fact.sequence
    desk.close()


def test_a_group_of_which_one_row_is_refused_leaves_nothing(place: Place) -> None:
    """Its transfers come before the moment that is there already."""
    writer = busy_writer(10)
    store = place.open()
    desk = StoreDesk(store)
    desk.take_all(writer.frames)
    moment = desk.unstored.pending.moments[0]
    desk.store_pending()
    before = store.load()
    sequence = writer.tip.sequence + 1
    row = (sequence, writer.at_ms, 0, 1, "t", 1, -1, 1, 0, 0)
    cursor = Cursor(Tip(sequence, b"h" * 32, 1, writer.at_ms), len(writer.frames) + 1)
    strange = (sequence, moment[1])  # the time that another moment has
    group = Group(cursor, tips=[cursor.tip], transfers=[row], moments=[strange])
    with pytest.raises(StoreUnfit):
        store.write(group)
    assert desk.history.row(sequence) is None
    assert store.load() == before
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE accounts SET posted_minor = posted_minor + 256 WHERE number = 0",
        "UPDATE accounts SET posted_minor = posted_minor + 1 - 2 * number WHERE number < 2",
        "UPDATE accounts SET currency = 'XAU' WHERE number = 0",
        "UPDATE accounts SET newest_sequence = newest_sequence + 1 WHERE number = 0",
    ],
)
def test_balances_that_do_not_add_up_are_not_believed(place: Place, damage: str) -> None:
    """A flipped bit would be read as a balance."""
    _store_all(place, busy_writer(200))
    _is_not_believed(place, damage)


_NAMES_FOR_DAMAGE = """
CREATE TEMP VIEW newest AS SELECT max(newest_sequence) AS sequence FROM accounts;
CREATE TEMP VIEW holds AS SELECT sequence FROM unfinished JOIN steps ON sequence = newest_sequence
WHERE step = 11;
CREATE TEMP VIEW captures AS SELECT sequence AS taken, previous_step AS tried FROM unfinished
JOIN steps ON sequence = newest_sequence WHERE step = 13;
"""


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM inflow",
        "UPDATE steps SET moved_minor = 0 WHERE sequence IN (SELECT sequence FROM newest)",
        (
            "UPDATE steps SET balance_minor = balance_minor + 1 "
            "WHERE sequence IN (SELECT sequence FROM newest)"
        ),
        "DELETE FROM unfinished WHERE newest_sequence IN (SELECT sequence FROM holds)",
        (
            "UPDATE unfinished SET newest_sequence = started_sequence "
            "WHERE newest_sequence IN (SELECT sequence FROM holds)"
        ),
        "UPDATE unfinished SET newest_sequence = tried FROM captures WHERE newest_sequence = taken",
        "UPDATE unfinished SET newest_sequence = newest_sequence + 1",
        (
            "UPDATE unfinished SET started_sequence = 1 "
            "WHERE newest_sequence IN (SELECT min(sequence) FROM holds)"
        ),
        "DELETE FROM steps WHERE sequence IN (SELECT started_sequence FROM unfinished)",
        "DELETE FROM steps WHERE sequence IN (SELECT newest_sequence FROM unfinished)",
        (
            "UPDATE steps SET amount_minor = amount_minor + 1 "
            "WHERE sequence IN (SELECT sequence FROM holds)"
        ),
        "UPDATE held SET held_minor = held_minor + 1",
        "DELETE FROM held",
    ],
)
def test_steps_that_do_not_add_up_are_not_believed(place: Place, damage: str) -> None:
    """With money held, captured, in flight, and come from elsewhere last of all."""
    writer = busy_writer(100)
    tried = [transfer("anna", "far-1", 1, name, Coordination.TCC) for name in ("capture", "hold")]
    writer.write([("p", 1, [*tried, transfer("anna", "far-1", 1, "flight")])])
    count = len(writer.books.unfinished())
    writer.write([("w", 1, [GoOn(count - at, 0) for at in (2, 3, 3)])])
    writer.write([("w", 1, [incoming("bert", 5, "last", Coordination.CHOREOGRAPHY)])])
    _store_all(place, writer)
    _is_not_believed(place, _NAMES_FOR_DAMAGE + damage)


def _is_not_believed(place: Place, damage: str) -> None:
    place.open().close()
    assert place.run(damage) > 0
    store = place.open()
    with pytest.raises(StoreUnfit, match="not agree with") as refusal:
        store.load()
    assert "reader rebuild" in str(refusal.value)
    store.close()


def _store_all(place: Place, writer: Writer) -> None:
    desk = StoreDesk(place.open())
    desk.take_all(writer.frames)
    desk.store_pending()
    desk.close()


def _has_row(event: Event) -> bool:
    if isinstance(event, TransferRejected):
        return event.reason not in NOT_REMEMBERED
    return isinstance(
        event, TransferCompleted | TransferStarted | TransferFinished | StepTaken | StepRefused
    )
