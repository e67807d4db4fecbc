"""One partition's side of transfers between partitions: what moves, what is held, who is told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.commands import OpenAccount, Transfer
from contracts.coordination import Coordination, Step
from contracts.events import StepRefused, StepTaken, TransferFinished
from contracts.frames import Source
from contracts.rejections import Rejection
from contracts.results import Result
from reader.core.coordinated import ASKERS_MAX
from reader.core.projection import Projection
from reader.core.rows import StepRow
from tests.reader.books import Fact
from tests.reader.desk import Desk
from tests.reader.histories import incoming, opened_writer, transfer
from tests.reader.journal_writer import CREDIT_WAYS, DEBIT_WAYS, Cause, GoOn, Writer

CHOREOGRAPHY, ORCHESTRATION, TCC, TWO_PHASE = [way for way in Coordination if way]
EXPIRED, SHORT = Rejection.HOLD_EXPIRED, Rejection.INSUFFICIENT_FUNDS
FULL, LATE = Rejection.BALANCE_LIMIT_EXCEEDED, Rejection.COORDINATION_TIMED_OUT
UNKNOWN = Rejection.TO_ACCOUNT_NOT_FOUND


def out(coordination: Coordination) -> Transfer:
    return transfer("anna", "far-1", 30, "t", coordination)


def on(way: int) -> GoOn:
    return GoOn(0, way)


@pytest.mark.parametrize(
    ("coordination", "rows"),
    [
        (CHOREOGRAPHY, [(None, 70, 0), (0, 70, 0, None)]),
        (CHOREOGRAPHY, [(None, 70, 0), (1, 100, 0, UNKNOWN)]),
        (ORCHESTRATION, [(None, 100, 0), (0, 70, 0), (0, 70, 0, None)]),
        (ORCHESTRATION, [(None, 100, 0), (0, 70, 0), (1, 100, 0, FULL)]),
        (ORCHESTRATION, [(None, 100, 0), (1, 100, 0, SHORT)]),
        (TCC, [(None, 100, 0), (0, 100, 30), (0, 70, 0), (0, 70, 0, None)]),
        (TCC, [(None, 100, 0), (0, 100, 30), (1, 100, 0, FULL)]),
        (TCC, [(None, 100, 0), (0, 100, 30), (2, 100, 0, EXPIRED)]),
        (TCC, [(None, 100, 0), (2, 100, 0, SHORT)]),
        (TCC, [(None, 100, 0), (3, 100, 0, LATE)]),
        (TWO_PHASE, [(None, 100, 0), (0, 100, 0), (0, 70, 0, None)]),
        (TWO_PHASE, [(None, 100, 0), (0, 100, 0), (1, 100, 0, FULL)]),
        (TWO_PHASE, [(None, 100, 0), (1, 100, 0, SHORT)]),
        (TWO_PHASE, [(None, 100, 0), (2, 100, 0, LATE)]),
    ],
)
def test_a_payer_has_what_the_step_leaves_it(
    tmp_path: Path, coordination: Coordination, rows: Sequence[tuple[Any, ...]]
) -> None:
    """Anna has 100 and pays 30. Rows: (way that is gone, posted, held[, the outcome])."""
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    writer.write([("p", 1, [transfer("issuer", "anna", 100, "fund")])])
    desk.take_all(writer.frames)
    for way, posted, held, *outcome in rows:
        cause = out(coordination) if way is None else on(way)
        results = desk.take(writer.write([("p" if way is None else "w", 1, [cause])]))
        told = [
            Result(2, each, posted, len(writer.facts), writer.at_ms, False, coordination)  # noqa: FBT003  # a row
            for each in outcome
        ]
        assert results == ({"p": told} if told else {})
        assert columns(desk.projection, "anna") == (posted, held)
    assert desk.projection.coordinated.unfinished_count == 0
    desk.store.close()


@pytest.mark.parametrize(
    ("coordination", "rows"),
    [
        (CHOREOGRAPHY, [(0, 30)]),
        (CHOREOGRAPHY, [(1, 0)]),
        (ORCHESTRATION, [(0, 30)]),
        (TCC, [(0, 0), (0, 30)]),
        (TCC, [(0, 0), (1, 0)]),
        (TCC, [(1, 0)]),
        (TCC, [(2, 0)]),
        (TWO_PHASE, [(0, 0), (0, 30)]),
        (TWO_PHASE, [(0, 0), (1, 0)]),
        (TWO_PHASE, [(2, 0)]),
    ],
)
def test_a_payee_has_what_the_step_gives_it(
    tmp_path: Path, coordination: Coordination, rows: Sequence[tuple[int, int]]
) -> None:
    """Rows: (way that is gone, posted). Nobody is told."""
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    for way, posted in rows:
        cause = incoming("anna", 30, "t", coordination, way)
        assert desk.take(writer.write([("w", 1, [cause])])) == {}
        assert columns(desk.projection, "anna") == (posted, 0)
    desk.store.close()


def test_a_credit_to_an_account_that_was_never_opened_is_refused_there(tmp_path: Path) -> None:
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    causes = [incoming("nobody", 5, f"t{way}", way, 2) for way in (CHOREOGRAPHY, TCC)]
    writer.write([("w", 1, causes)])
    desk.take_all(writer.frames)
    kinds = [type(fact.event) for fact in writer.facts[-2:]]
    assert kinds == [StepRefused, StepTaken], "refused, and cancelled before it was tried"
    for name in (("far-1", "t1"), ("far-1", "t3")):
        (row,) = desk.history.credit_steps(name)
        assert row.unopened_id == "nobody"
    desk.store.close()


def test_everybody_who_asked_is_told_the_outcome(tmp_path: Path) -> None:
    """In the frame of the finish, whatever else is in it; the first as of the first time."""
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    assert desk.take(writer.write([("p1", 1, [out(TCC)])])) == {}
    assert desk.take(writer.write([("p2", 1, [out(TCC)]), ("w", 1, [on(0)])])) == {}
    assert desk.take(writer.write([("w", 1, [on(0)])])) == {}, "the payee has nothing yet"
    near: list[Cause] = [transfer("issuer", "anna", 1, "near")]
    data = writer.write([("p1", 1, [out(TCC), *near]), ("w", 0, [on(0)]), ("p3", 0, [out(TCC)])])
    finished = len(writer.facts) - 1
    results = desk.take(data)
    assert results == writer.expected[-1]
    told = {
        proxy_id: [(result.sequence, result.repeated) for result in answers]
        for proxy_id, answers in results.items()
    }
    assert told == {
        "p1": [(finished - 1, False), (finished, False), (finished, True)],
        "p2": [(finished, True)],
        "p3": [(finished, True)],
    }
    desk.store.close()


def test_another_transfer_of_that_name_is_a_conflict_that_is_told_at_once(tmp_path: Path) -> None:
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    other = transfer("anna", "far-1", 31, "t")
    results = desk.take(writer.write([("p", 1, [out(CHOREOGRAPHY), other])]))
    (result,) = results["p"]
    assert (result.rejection, result.balance_minor) == (Rejection.IDEMPOTENCY_CONFLICT, -30)
    assert result.coordination is Coordination.NONE
    desk.store.close()


@pytest.mark.parametrize("is_stored", [False, True])
@pytest.mark.parametrize("way", [0, 1])
def test_a_repeat_after_the_end_gets_the_outcome_again(
    tmp_path: Path, way: int, *, is_stored: bool
) -> None:
    """With the payer's balance of then, though it changed since."""
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    writer.write([("p", 1, [out(CHOREOGRAPHY)])])
    desk.take_all(writer.frames)
    (first,) = desk.take(writer.write([("w", 5, [on(way)])]))["p"]
    desk.take(writer.write([("p", 5, [transfer("issuer", "anna", 9, "later")])]))
    if is_stored:
        desk.store_pending()
    (again,) = desk.take(writer.write([("p", 5, [out(CHOREOGRAPHY)])]))["p"]
    assert (first.repeated, again.repeated) == (False, True)
    assert again == Result(
        request_number=again.request_number,
        rejection=[None, UNKNOWN][way],
        balance_minor=[-30, 0][way],
        sequence=7,
        at_ms=first.at_ms,
        repeated=True,
        coordination=CHOREOGRAPHY,
    )
    desk.store.close()


@pytest.mark.parametrize(
    ("steps", "before"),
    [([Step.TRY_DEBIT], (0, 30)), ([Step.TRY_DEBIT, Step.CONFIRM_DEBIT], (-30, 0))],
)
def test_a_restart_forgets_who_asked_and_nothing_else(
    tmp_path: Path, steps: Sequence[Step], before: tuple[int, int]
) -> None:
    """The proxies ask again each second for what they still hold."""
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    writer.write([("p1", 1, [out(TCC)])])
    writer.write([("w", 1, [on(0)] * len(steps))])
    desk.take_all(writer.frames)
    desk.store_pending()
    desk.store.close()
    desk = Desk(tmp_path / "store.sqlite")
    assert columns(desk.projection, "anna") == before
    (transfer_,) = desk.projection.coordinated.oldest_unfinished(9)
    assert transfer_.newest.step == steps[-1]
    assert desk.take(writer.write([("p2", 1, [out(TCC)])])) == {}
    results = desk.take(writer.write([("w", 1, [on(0)] * (3 - len(steps)))]))
    assert results == {"p2": writer.expected[-1]["p2"]}
    assert columns(desk.projection, "anna") == (-30, 0)
    desk.store.close()


@pytest.mark.parametrize("where", ["pending", "written", "indexed"])
def test_steps_names_and_holds_are_found_wherever_they_are(tmp_path: Path, where: str) -> None:
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    writer.write([("p", 1, [out(TCC)])])
    credit = incoming("bert", 5, "in", TCC)
    causes: list[Cause] = [on(0), on(0), on(0), credit, credit]
    for cause in causes:
        writer.write([("w", 1, [cause])])
    desk.take_all(writer.frames)
    if where != "pending":
        desk.store_pending()
    if where == "indexed":
        desk.store.tidy(at_once=True)
    anna = desk.projection.account("anna")
    assert anna is not None
    outcome = desk.history.outcome(("anna", "t"), anna.number)
    assert isinstance(outcome, StepRow)
    assert [row.step for row in desk.history.steps_until(outcome)] == [
        0,
        Step.TRY_DEBIT,
        Step.CONFIRM_DEBIT,
        Step.COMPLETE,
    ]
    credited = desk.history.credit_steps(("far-1", "in"))
    assert [row.step for row in credited] == [Step.TRY_CREDIT, Step.CONFIRM_CREDIT]
    for sequence in range(len(writer.facts) + 1):
        held = desk.history.held_at(anna.number, sequence)
        assert held == writer.books.held("anna", sequence)
        entry = desk.history.newest_before(anna.number, anna.newest_sequence, sequence + 1)
        posted = 0 if entry is None else entry.balance_of(anna.number)
        assert posted == writer.books.posted("anna", sequence)
    desk.store.close()


def test_the_first_asker_and_the_newest_are_remembered(tmp_path: Path) -> None:
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    desk.take(writer.write([("p", 1, [out(CHOREOGRAPHY)] * (2 * ASKERS_MAX))]))
    results = desk.take(writer.write([("w", 1, [on(0)])]))
    first, *others = writer.expected[-1]["p"]
    assert results == {"p": [first, *others[1 - ASKERS_MAX :]]}
    desk.store.close()


def test_sources_without_events_leave_times_as_they_are(tmp_path: Path) -> None:
    """The tip's time is that of the last source; an event later than it may have the same."""
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    one: list[Cause] = [transfer("issuer", "anna", 1, "t1")]
    desk.take(writer.write([("w", 1, []), ("w", 1, []), ("p", 1, one), ("w", 4, [])]))
    assert desk.projection.cursor.tip.at_ms == desk.projection.at_ms + 4
    desk.store_pending()
    desk.store.close()
    desk = Desk(tmp_path / "store.sqlite")
    desk.take(writer.write([("p", 0, [transfer("issuer", "anna", 1, "t2")]), ("w", 3, [])]))
    for fact in writer.facts:
        assert desk.history.time_of(fact.sequence) == fact.at_ms
    desk.store_pending()
    desk.store.close()


def test_a_finish_without_a_start_is_a_bug(tmp_path: Path) -> None:
    writer, desk = opened_writer(), Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    writer.facts.append(Fact(6, writer.at_ms, TransferFinished("anna", "t", Step.COMPLETE, None)))
    with pytest.raises(KeyError):
        desk.take(writer.frame([Source("w", 1, writer.at_ms, 1)], 1, writer.tip.epoch, {}))
    desk.store.close()


def test_amounts_between_partitions_reach_the_bounds_of_64_bits(tmp_path: Path) -> None:
    """Also their sum beyond them, which the store checks when it is opened."""
    most = 2**63 - 1
    writer, desk = Writer(), Desk(tmp_path / "store.sqlite")
    ids = ["mint-1", "mint-2", "mint-3"]
    writer.write([("p", 1, [OpenAccount(each, "USD", most) for each in ids])])
    for number, way in ((1, CHOREOGRAPHY), (2, TCC), (3, TWO_PHASE)):
        writer.write([("p", 1, [Transfer(f"mint-{number}", "far-1", most, "USD", "t", way)])])
        while writer.books.unfinished():
            writer.write([("w", 1, [on(0)])])
    desk.take_all(writer.frames)
    desk.store_pending()
    desk.store.close()
    desk = Desk(tmp_path / "store.sqlite")
    assert [columns(desk.projection, each) for each in ids] == [(-most, 0)] * 3
    desk.store.close()


def test_the_tables_of_the_writer_know_every_step() -> None:
    """So random histories reach each of them."""
    tables = (*DEBIT_WAYS.values(), *CREDIT_WAYS.values())
    assert {way.step for ways in tables for way in ways} == set(Step)


def columns(projection: Projection, account_id: str) -> tuple[int, int]:
    account = projection.account(account_id)
    assert account is not None
    return account.posted_minor, account.held_minor
