"""What is shown of recorded transfers: both sides' steps in one order, the oldest first."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from contracts.coordination import CREDIT_STEPS, Coordination, Step
from contracts.queries import (
    StepRecord,
    TransferAnswer,
    TransferQuery,
    UnfinishedAnswer,
    UnfinishedTransfer,
)
from contracts.rejections import Rejection
from proxy.core.recorded import RecordedPending, recorded_transfer, unfinished_transfers

QUERY = TransferQuery("ann", "t1")


def answer(
    steps: list[StepRecord], rejection: Rejection | None = None, *, is_finished: bool = True
) -> TransferAnswer:
    return TransferAnswer(
        partition=2,
        sequence=9,
        at_ms=4_000,
        to_account_id="bob",
        amount_minor=105,
        currency="USD",
        rejection=rejection,
        balance_minor=-105,
        coordination=Coordination.CHOREOGRAPHY,
        is_finished=is_finished,
        steps=steps,
    )


def test_steps_of_both_sides_stand_in_the_order_of_time_the_payers_first() -> None:
    debit = [
        StepRecord(None, 2, 7, 1_000, None),
        StepRecord(Step.TRY_DEBIT, 2, 8, 1_000, None),
        StepRecord(Step.CONFIRM_DEBIT, 2, 9, 2_000, None),
    ]
    credit = [
        StepRecord(Step.TRY_CREDIT, 0, 70, 1_000, None),
        StepRecord(Step.CONFIRM_CREDIT, 0, 71, 2_001, None),
    ]
    shown = recorded_transfer(QUERY, answer(debit), credit)["steps"]
    assert [(step["name"], step["partition"], step["sequence"]) for step in shown] == [
        ("start", 2, 7),
        ("try_debit", 2, 8),
        ("try_credit", 0, 70),
        ("confirm_debit", 2, 9),
        ("confirm_credit", 0, 71),
    ]
    assert [step["at"][-7:] for step in shown] == ["01.000Z"] * 3 + ["02.000Z", "02.001Z"]


def names(debit: list[StepRecord], credit: list[StepRecord]) -> list[str]:
    shown = recorded_transfer(QUERY, answer(debit), credit)["steps"]
    return [step["name"] for step in shown]


@pytest.mark.parametrize(
    "steps",
    [
        [None, Step.CREDIT, Step.COMPLETE],
        [None, Step.CREDIT, Step.REFUND],
        [None, Step.DEBIT, Step.CREDIT, Step.COMPLETE],
        [
            *(None, Step.TRY_DEBIT, Step.TRY_CREDIT),
            *(Step.CONFIRM_DEBIT, Step.CONFIRM_CREDIT, Step.COMPLETE),
        ],
        [None, Step.TRY_DEBIT, Step.TRY_CREDIT, Step.CANCEL_DEBIT, Step.CANCEL_CREDIT],
        [None, Step.TRY_DEBIT, Step.TRY_CREDIT, Step.EXPIRE_DEBIT, Step.CANCEL_CREDIT],
        [None, Step.PREPARE_DEBIT, Step.PREPARE_CREDIT, Step.COMMIT_CREDIT, Step.COMMIT_DEBIT],
        [None, Step.PREPARE_DEBIT, Step.PREPARE_CREDIT, Step.ABORT_DEBIT, Step.ABORT_CREDIT],
    ],
)
def test_steps_of_one_millisecond_stand_as_they_follow_from_each_other(
    steps: list[Step | None],
) -> None:
    """Sequences of different partitions say nothing about each other."""
    records = [StepRecord(step, 2, 9 + at, 1_000, None) for at, step in enumerate(steps)]
    credit = [record for record in records if record.step in CREDIT_STEPS]
    debit = [record for record in records if record not in credit]
    expected = ["start" if step is None else step.name.lower() for step in steps]
    assert names(debit, [replace(record, partition=0, sequence=3) for record in credit]) == expected


@pytest.mark.parametrize(
    ("payer", "locks"),
    [("ann", ["prepare_debit", "prepare_credit"]), ("carl", ["prepare_credit", "prepare_debit"])],
)
def test_by_2pc_the_smaller_account_id_is_locked_first(payer: str, locks: list[str]) -> None:
    """The payee is bob."""
    debit = [(None, 7), (Step.PREPARE_DEBIT, 8), (Step.COMMIT_DEBIT, 9)]
    credit = [(Step.PREPARE_CREDIT, 70), (Step.COMMIT_CREDIT, 71)]
    found = replace(
        answer([StepRecord(step, 2, sequence, 1_000, None) for step, sequence in debit]),
        coordination=Coordination.TWO_PHASE_COMMIT,
    )
    records = [StepRecord(step, 0, sequence, 1_000, None) for step, sequence in credit]
    shown = recorded_transfer(TransferQuery(payer, "t1"), found, records)["steps"]
    assert [step["name"] for step in shown] == ["start", *locks, "commit_credit", "commit_debit"]


@pytest.mark.parametrize("step", Step)
def test_every_step_can_be_shown_after_the_start(step: Step) -> None:
    start, other = StepRecord(None, 2, 7, 1_000, None), StepRecord(step, 2, 8, 1_000, None)
    expected = ["start", step.name.lower()]
    if step in CREDIT_STEPS:
        assert names([start], [other]) == expected
    else:
        assert names([start, other], []) == expected


def test_one_sides_steps_stay_in_the_order_of_their_sequences() -> None:
    """A cancel that overtook its try is no less the first."""
    debit = [StepRecord(None, 2, 7, 1_000, None), StepRecord(Step.EXPIRE_DEBIT, 2, 8, 1_000, None)]
    refused = Rejection.COORDINATION_TIMED_OUT
    credit = [
        StepRecord(Step.CANCEL_CREDIT, 0, 70, 1_000, None),
        StepRecord(Step.TRY_CREDIT, 0, 71, 1_000, refused),
    ]
    assert names(debit, credit) == ["start", "expire_debit", "cancel_credit", "try_credit"]


def test_time_comes_before_rank() -> None:
    debit = [StepRecord(None, 2, 7, 1_000, None), StepRecord(Step.COMPLETE, 2, 8, 1_001, None)]
    credit = [StepRecord(Step.CREDIT, 0, 70, 1_002, None)]
    assert names(debit, credit) == ["start", "complete", "credit"]


def test_a_refused_step_says_why_and_others_say_nothing() -> None:
    reason = Rejection.TO_ACCOUNT_NOT_FOUND
    debit = [StepRecord(None, 2, 8, 1_000, None), StepRecord(Step.REFUND, 2, 9, 3_000, reason)]
    credit = [StepRecord(Step.CREDIT, 0, 70, 2_000, reason)]
    shown = recorded_transfer(QUERY, answer(debit, reason), credit)
    assert shown["status"] == "rejected"
    assert [step.get("code", "") for step in shown["steps"]] == [
        "",
        "to_account_not_found",
        "to_account_not_found",
    ]


def test_a_transfer_under_way_is_pending_since_its_start() -> None:
    debit = [StepRecord(None, 2, 9, 4_000, None)]
    shown = recorded_transfer(QUERY, answer(debit, is_finished=False), [])
    expected: RecordedPending = {
        "status": "pending",
        "transaction_id": "t1",
        "from_account_id": "ann",
        "to_account_id": "bob",
        "amount": "1.05",
        "currency": "USD",
        "coordination": "choreography",
        "partition": 2,
        "sequence": 9,
        "started_at": "1970-01-01T00:00:04.000Z",
        "steps": [
            {"name": "start", "partition": 2, "sequence": 9, "at": "1970-01-01T00:00:04.000Z"}
        ],
    }
    assert shown == expected


def started(transaction_id: str, at_ms: int, last_step: Step | None = None) -> UnfinishedTransfer:
    return UnfinishedTransfer(
        from_account_id="ann",
        to_account_id="bob",
        amount_minor=105,
        currency="USD",
        transaction_id=transaction_id,
        coordination=Coordination.TCC,
        started_sequence=3,
        started_at_ms=at_ms,
        last_step=last_step,
    )


def test_unfinished_transfers_of_all_partitions_come_oldest_first_with_their_age() -> None:
    quiet = UnfinishedAnswer(0, 5, 2_000, 9, [started("t1", 2_000, Step.TRY_DEBIT)])
    busy = UnfinishedAnswer(1, 6, 9_000, 2, [started("t0", 1_500), started("t2", 8_000)])
    shown = unfinished_transfers([quiet, busy], limit=2, now_ms=69_000)
    assert (shown["count"], shown["as_of"]) == (11, "1970-01-01T00:01:09.000Z")
    ages = [(each["transaction_id"], each["age_ms"]) for each in shown["transfers"]]
    assert ages == [("t0", 67_500), ("t1", 67_000)]
    assert [each["last_step"] for each in shown["transfers"]] == ["start", "try_debit"]
    assert shown["transfers"][1] == {
        "transaction_id": "t1",
        "from_account_id": "ann",
        "to_account_id": "bob",
        "amount": "1.05",
        "currency": "USD",
        "coordination": "tcc",
        "partition": 0,
        "sequence": 3,
        "started_at": "1970-01-01T00:00:02.000Z",
        "age_ms": 67_000,
        "last_step": "try_debit",
    }


def test_no_age_is_negative_when_the_broker_s_clock_is_ahead() -> None:
    found = UnfinishedAnswer(0, 5, 2_000, 1, [started("t1", 2_000)])
    [shown] = unfinished_transfers([found], limit=2, now_ms=1_500)["transfers"]
    assert shown["age_ms"] == 0
