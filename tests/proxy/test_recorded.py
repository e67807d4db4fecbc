"""What is shown of recorded transfers: both sides' steps in one order, the oldest first."""

from __future__ import annotations

from contracts.coordination import Coordination, Step
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
    shown = unfinished_transfers([quiet, busy], limit=2)
    assert (shown["count"], shown["as_of"]) == (11, "1970-01-01T00:00:09.000Z")
    ages = [(each["transaction_id"], each["age_ms"]) for each in shown["transfers"]]
    assert ages == [("t0", 7_500), ("t1", 7_000)]
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
        "age_ms": 7_000,
        "last_step": "try_debit",
    }
