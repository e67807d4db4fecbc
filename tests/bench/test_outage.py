"""What clients and journals say of a death."""

import pytest

from bench.clients import Answer
from bench.outage import UnderWay, stall, takeover_s, wait
from bench.settings import BenchError
from contracts.coordination import Coordination, Step
from contracts.events import Event, StepTaken, TransferFinished, TransferStarted

DIED_S = 100.0


def answer(asked_s: float, answered_s: float, *, crosses: bool = False) -> Answer:
    return Answer(asked_s, answered_s, 201, crosses=crosses, is_hot=True)


def steady(first_s: float, last_s: float) -> list[Answer]:
    """One answer each 10 ms, in the middle of it."""
    count = round((last_s - first_s) * 100)
    moments = [first_s + 0.005 + number / 100 for number in range(count)]
    return [answer(moment - 0.001, moment) for moment in moments]


def test_waits_are_ranked() -> None:
    held = wait(answer(0, number / 1000) for number in range(1, 101))
    assert (held.p50_ms, held.p99_ms, held.answers) == (50, 99, 100)
    assert wait([]).answers == 0


def test_a_stall_is_the_longest_silence_that_ends_after_the_death() -> None:
    early_gap = [*steady(90, 95), *steady(98, DIED_S)]
    seen = stall([*early_gap, *steady(DIED_S + 0.5, DIED_S + 5)], DIED_S)
    assert seen.silence_s == 0.51
    assert seen.half_speed_s == 0.5


def test_the_timeline_counts_answers_per_100_ms_from_a_second_before() -> None:
    seen = stall([*steady(98, DIED_S), *steady(DIED_S + 0.5, DIED_S + 8)], DIED_S)
    assert seen.timeline == [10] * 10 + [0] * 5 + [10] * 65


def test_speed_that_never_comes_back_is_told() -> None:
    seen = stall([*steady(98, DIED_S), answer(DIED_S - 1, DIED_S + 1)], DIED_S)
    assert seen.half_speed_s is None


def test_held_requests_are_those_that_were_out_at_the_death() -> None:
    seen = stall(
        [
            *steady(98, DIED_S),
            answer(DIED_S - 0.1, DIED_S + 0.4),
            answer(DIED_S - 0.2, DIED_S + 0.7, crosses=True),
            answer(DIED_S + 0.1, DIED_S + 0.2),
        ],
        DIED_S,
    )
    assert (seen.held, seen.held_answered_s) == (2, 0.7)
    assert (seen.longest_near_s, seen.longest_far_s) == (0.5, 0.9)


def taken(step: Step, transaction_id: str = "t") -> StepTaken:
    return StepTaken(step, "payer", "payee", 1, "USD", transaction_id)


def started(transaction_id: str = "t") -> TransferStarted:
    way = Coordination.TWO_PHASE_COMMIT
    return TransferStarted("payer", "payee", 1, "USD", transaction_id, way)


def test_a_prepared_account_is_locked_until_it_is_told() -> None:
    under_way = UnderWay()
    locks = []
    events: list[Event] = [
        started(),
        taken(Step.PREPARE_DEBIT),
        taken(Step.PREPARE_CREDIT),
        taken(Step.COMMIT_CREDIT),
        TransferFinished("payer", "t", Step.COMMIT_DEBIT, None),
    ]
    for event in events:
        under_way.note(event)
        locks.append(len(under_way.locks))
    assert locks == [0, 1, 2, 1, 0]
    assert under_way.transfers == set()


def test_one_transfers_end_does_not_unlock_anothers_account() -> None:
    under_way = UnderWay()
    events: list[Event] = [
        started("a"),
        started("b"),
        taken(Step.PREPARE_DEBIT, "a"),
        TransferFinished("payer", "b", Step.ABORT_DEBIT, None),
    ]
    for event in events:
        under_way.note(event)
    assert under_way.transfers == {("payer", "a")}
    assert len(under_way.locks) == 1


def test_a_party_is_taken_over_when_its_next_epoch_is_opened() -> None:
    epochs_ns = [1_000_000_000, 2_700_000_000, 2_900_000_000]
    assert takeover_s(epochs_ns, 2_000_000_000) == 0.7
    with pytest.raises(BenchError):
        takeover_s(epochs_ns, 2_900_000_000)
