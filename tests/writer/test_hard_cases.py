"""The hard cases of transfers between partitions, by name."""

import pytest

from contracts.commands import OpenAccount
from contracts.coordination import Coordination, Step
from contracts.events import (
    CoordinationTimedOut,
    Event,
    StepRefused,
    StepTaken,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferRepeated,
    TransferStarted,
)
from contracts.frames import EVENT_FRAME
from contracts.limits import (
    AMOUNT_MINOR_MAX,
    DUE_EVENTS_MAX,
    HOLD_MS,
    PARTY_ANSWER_TICKS_MAX,
    UNFINISHED_TRANSFERS_MAX,
    WAITING_COMMANDS_MAX,
)
from contracts.parties import COORDINATOR
from contracts.rejections import Rejection
from contracts.steps import StepAnswered, TakeStep, Tick
from tests.writer.world import COORDINATED, World, opened, outcomes, transfer
from writer.core.coordination import WAYS


@pytest.mark.parametrize(
    ("way", "asks", "gives_up"),
    [
        (Coordination.TCC, Step.TRY_CREDIT, Step.CANCEL_CREDIT),
        (Coordination.TCC, Step.TRY_DEBIT, Step.CANCEL_DEBIT),
        (Coordination.TWO_PHASE_COMMIT, Step.PREPARE_CREDIT, Step.ABORT_CREDIT),
        (Coordination.TWO_PHASE_COMMIT, Step.PREPARE_DEBIT, Step.ABORT_DEBIT),
    ],
)
def test_a_cancel_may_overtake_its_try_which_then_comes_to_nothing(
    way: Coordination, asks: Step, gives_up: Step
) -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    world.command(transfer(ids["alice"], ids["bob"], 30, way=way))
    world.deliver()  # to the coordinator
    suspended: TakeStep | None = None
    for _ in range(4):
        for each in list(world.bag):
            if isinstance(each.message, TakeStep) and each.message.step is asks:
                suspended, party = each.message, each.party
                world.bag.remove(each)
        if world.bag:
            world.deliver()
    assert suspended is not None
    world.give_up()
    world.bag = [each for each in world.bag if getattr(each.message, "step", None) is not asks]
    world.deliver(gives_up)
    world.bag.clear()
    assert world.step(party, suspended) == []
    (answer,) = (each.message for each in world.bag)
    assert isinstance(answer, StepAnswered)
    assert answer.reason is not None
    world.settle()
    assert outcomes(world, ids["alice"]) == [Rejection.COORDINATION_TIMED_OUT]
    world.check_settled()


@pytest.mark.parametrize("way", [Coordination.TCC, Coordination.TWO_PHASE_COMMIT])
def test_who_never_answers_is_given_up_however_often_it_is_asked_again(way: Coordination) -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    world.command(transfer(ids["alice"], ids["bob"], 30, way=way))
    world.deliver()  # to the coordinator
    events: list[Event] = []
    for _ in range(PARTY_ANSWER_TICKS_MAX + 1):
        world.lose_all()
        assert list(world.machines[COORDINATOR].rules.unanswered())
        events += world.tick(COORDINATOR)
    assert [type(event) for event in events] == [CoordinationTimedOut]


def test_a_hold_is_not_available_and_expires_on_its_own() -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    world.command(transfer(ids["alice"], ids["bob"], 30, way=Coordination.TCC))
    world.deliver()
    world.deliver(Step.TRY_DEBIT)
    assert world.columns(ids["alice"]) == (0, 30, 0)
    world.lose_all()
    other = world.account("other", 0)
    world.command(OpenAccount(other, "USD", 0))
    (event,) = world.command(transfer(ids["alice"], other, 71, "t2"))
    assert isinstance(event, TransferRejected)
    assert event.reason is Rejection.INSUFFICIENT_FUNDS
    world.now_ms += HOLD_MS
    (expired, done) = world.command(transfer(ids["alice"], other, 71, "t3"))
    assert expired == TransferFinished(
        ids["alice"], "t1", Step.EXPIRE_DEBIT, Rejection.HOLD_EXPIRED
    )
    assert isinstance(done, TransferCompleted)
    world.settle()
    assert world.columns(ids["alice"]) == (-71, 0, 0)
    world.check_settled()


def test_a_capture_that_comes_after_the_hold_expired_is_refused_and_the_payee_gets_nothing() -> (
    None
):
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    world.command(transfer(ids["alice"], ids["bob"], 30, way=Coordination.TCC))
    while not any(
        isinstance(each.message, TakeStep) and each.message.step is Step.CONFIRM_DEBIT
        for each in world.bag
    ):
        world.deliver()
    world.now_ms += HOLD_MS
    world.settle()
    assert outcomes(world, ids["alice"]) == [Rejection.HOLD_EXPIRED]
    assert world.columns(ids["alice"]) == world.columns(ids["bob"]) == (0, 0, 0)
    world.check_settled()


def test_commands_on_a_locked_account_wait_in_order() -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1, carol=0)
    world.command(transfer(ids["alice"], ids["bob"], 60, way=Coordination.TWO_PHASE_COMMIT))
    while not any(isinstance(event, StepTaken) for event in world.deliver()):
        pass
    first = transfer(ids["alice"], ids["carol"], 30, "t2")
    second = transfer(ids["alice"], ids["carol"], 30, "t3")
    free = transfer(ids["carol"], ids["bob"], 1, "t4")
    assert world.command(first, second, free, first) == [
        TransferStarted(ids["carol"], ids["bob"], 1, "USD", "t4", Coordination.CHOREOGRAPHY)
    ]
    events = world.deliver_all()
    outcome = [type(each) for each in events if getattr(each, "transaction_id", "") in {"t2", "t3"}]
    assert outcome == [TransferCompleted, TransferRejected]
    assert world.columns(ids["alice"]) == (-90, 0, 0)
    assert world.machines[0].waiting_count == 0
    world.settle()
    world.check_settled()


def test_opposite_transfers_by_2pc_do_not_wait_for_each_other() -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    way = Coordination.TWO_PHASE_COMMIT
    for number in range(5):
        world.command(transfer(ids["alice"], ids["bob"], 10, f"there{number}", way))
        world.command(transfer(ids["bob"], ids["alice"], 1, f"back{number}", way))
    world.deliver_all()  # no time passes
    assert world.is_settled()
    assert world.columns(ids["alice"]) == (-45, 0, 0)


def test_waiting_commands_are_bounded() -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1, carol=0)
    world.command(transfer(ids["alice"], ids["bob"], 60, way=Coordination.TWO_PHASE_COMMIT))
    while not any(isinstance(event, StepTaken) for event in world.deliver()):
        pass
    for number in range(WAITING_COMMANDS_MAX + 10):
        world.command(transfer(ids["alice"], ids["carol"], 1, f"w{number}"))
    assert world.machines[0].waiting_count == WAITING_COMMANDS_MAX
    world.settle()
    assert world.columns(ids["carol"])[0] == 40


def test_a_refund_always_fits() -> None:
    """What the payer receives meanwhile leaves room for the amount that may come back."""
    world = World(2)
    top = world.account("top", 0)
    bank = world.account("bank", 0)
    world.command(OpenAccount(top, "USD", 0), OpenAccount(bank, "USD", AMOUNT_MINOR_MAX))
    world.command(transfer(bank, top, AMOUNT_MINOR_MAX, "all"))
    world.command(transfer(top, bank, 10, "ten"))
    world.command(transfer(bank, top, 10, "ten"))
    world.command(transfer(top, world.account("nobody", 1), 10, "refused"))
    (event,) = world.command(transfer(bank, top, 1, "more"))
    assert isinstance(event, TransferRejected)
    world.settle()
    assert outcomes(world, top) == [Rejection.TO_ACCOUNT_NOT_FOUND]
    assert world.columns(top) == (AMOUNT_MINOR_MAX, 0, 0)


@pytest.mark.parametrize("way", [Coordination.TCC, Coordination.CHOREOGRAPHY])
def test_what_is_set_aside_stays_in_64_bits(way: Coordination) -> None:
    """Funds may be almost 2^64: a balance of 2^63 - 1 with an overdraft of as much."""
    world = World(2)
    top, bank = world.account("top", 0), world.account("bank", 0)
    world.command(*(OpenAccount(each, "USD", AMOUNT_MINOR_MAX) for each in (top, bank)))
    world.command(transfer(bank, top, AMOUNT_MINOR_MAX, "all"))
    payees = [world.account(name, 1) for name in ("x", "y")]
    world.command(*(OpenAccount(each, "USD", 0) for each in payees))
    for payee in payees:
        world.command(transfer(top, payee, AMOUNT_MINOR_MAX, f"to-{payee}", way))
    world.deliver_all()
    refused = [
        event.reason
        for event in world.events(0)
        if isinstance(event, TransferFinished | TransferRejected) and event.reason is not None
    ]
    assert refused == [Rejection.BALANCE_LIMIT_EXCEEDED]
    world.settle()
    assert world.columns(top) == (0, 0, 0)


def test_a_refused_credit_stays_refused_when_the_account_is_opened_later() -> None:
    world = World(2)
    ids = opened(world, alice=0)
    late = world.account("late", 1)
    world.command(transfer(ids["alice"], late, 10))
    (credit,) = world.bag
    assert isinstance(world.deliver()[0], StepRefused)
    world.command(OpenAccount(late, "USD", 0))
    assert world.step(credit.party, credit.message) == []
    world.settle()
    assert world.columns(late) == world.columns(ids["alice"]) == (0, 0, 0)


def test_the_coordinator_dies_in_each_phase_of_each_way_and_goes_on() -> None:
    reached = set()
    for way in COORDINATED:
        for payee in ("bob", "nobody"):
            for dies_at in range(12):
                world = World(2)
                ids = opened(world, alice=0, bob=1) | {"nobody": world.account("nobody", 1)}
                world.command(transfer(ids["alice"], ids[payee], 10, way=way))
                world.command(transfer(ids["alice"], ids[payee], 10, "t2", way))
                for _ in range(dies_at):
                    if world.bag:
                        world.deliver()
                running = [each.phase for each in world.coordinator().running.values()]
                reached |= {(way, phase) for phase in running}
                world.restart(COORDINATOR)
                world.lose_all()
                assert [each.phase for each in world.coordinator().running.values()] == running
                world.settle()
                world.check_settled()
    missing = {
        (way, phase)
        for way in COORDINATED
        for phase in WAYS[way].lifecycle.awaits  # type: ignore[union-attr]
    } - reached
    # Reached only by other orders of messages: the simulation counts them.
    assert len(missing) <= 8, missing


def test_a_coordinator_that_was_away_gives_nobody_up_before_asking() -> None:
    """A failover must look like latency: its own absence is nobody's delay."""
    for way in (Coordination.TCC, Coordination.TWO_PHASE_COMMIT):
        world = World(2)
        ids = opened(world, alice=0, bob=1)
        world.command(transfer(ids["alice"], ids["bob"], 30, way=way))
        begin = world.bag.pop()
        world.now_ms += 60_000
        stale = [Tick(world.machines[COORDINATOR].tip.epoch) for _ in range(240)]
        world.restart(COORDINATOR)
        world.step(COORDINATOR, begin.message, *stale)
        world.settle()
        assert outcomes(world, ids["alice"]) == [None]


def test_a_coordinator_that_leads_once_more_waits_as_long_as_one_that_is_new() -> None:
    """Nor does what it waited for in its earlier reign count against the others."""
    for way in (Coordination.TCC, Coordination.TWO_PHASE_COMMIT):
        world = World(2)
        ids = opened(world, alice=0, bob=1)
        world.command(transfer(ids["alice"], ids["bob"], 30, way=way))
        world.deliver()
        for _ in range(PARTY_ANSWER_TICKS_MAX):
            world.tick(COORDINATOR)
        world.hand_over(COORDINATOR)
        world.hand_over(COORDINATOR)
        for _ in range(PARTY_ANSWER_TICKS_MAX - 1):
            assert world.tick(COORDINATOR) == []
        world.settle()
        assert outcomes(world, ids["alice"]) == [None]


def test_what_waits_for_a_lock_is_forgotten_with_the_reign() -> None:
    """As if it were still queued: its sender sends it again, to whoever leads then."""
    world = World(2)
    ids = opened(world, alice=0, bob=1, carol=0)
    world.command(transfer(ids["alice"], ids["bob"], 60, way=Coordination.TWO_PHASE_COMMIT))
    while not any(isinstance(event, StepTaken) for event in world.deliver()):
        pass
    late = transfer(ids["alice"], ids["carol"], 30, "t2")
    assert world.command(late) == []
    world.hand_over(0)
    world.hand_over(0)
    world.settle()
    assert world.columns(ids["carol"]) == (0, 0, 0)
    (done,) = world.command(late)
    assert isinstance(done, TransferCompleted)


def test_many_holds_that_end_at_once_end_in_frames_of_bounded_size() -> None:
    world = World(2)
    ids = opened(world, bob=1)
    rich = world.account("rich-with-a-long-name-" + "x" * 30, 0)
    world.command(OpenAccount(rich, "USD", AMOUNT_MINOR_MAX))
    count = 3 * DUE_EVENTS_MAX
    for number in range(count):
        name = f"{number:04}" + "n" * 60
        world.command(transfer(rich, ids["bob"], 1, name, Coordination.TCC))
        world.step(0, TakeStep(Step.TRY_DEBIT, rich, ids["bob"], 1, "USD", name, COORDINATOR))
    world.bag.clear()
    world.now_ms += HOLD_MS
    epoch = world.machines[0].tip.epoch
    for _ in range(2):  # a frame may come late: each lets the time pass
        world.step(0, *[Tick(epoch) for _ in range(500)])
    frames = [EVENT_FRAME.decode(data) for data in world.journals[0][-2:]]
    assert [len(frame.events) for frame in frames] == [DUE_EVENTS_MAX, DUE_EVENTS_MAX]
    assert [len(frame.sources) for frame in frames] == [2, 2]


@pytest.mark.parametrize("way", [Coordination.CHOREOGRAPHY, Coordination.TCC])
def test_what_is_under_way_is_bounded(way: Coordination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("writer.core.machine.UNFINISHED_TRANSFERS_MAX", 10)
    assert UNFINISHED_TRANSFERS_MAX > 10
    world = World(2)
    ids = opened(world, alice=0, bob=1, carol=0)
    sent = [transfer(ids["alice"], ids["bob"], 1, f"t{number}", way) for number in range(12)]
    started = [event for each in sent for event in world.command(each)]
    assert len(started) == 10
    assert len(world.command(sent[0])) == 1, "a repeat is noted"
    assert len(world.command(transfer(ids["alice"], ids["carol"], 1, "near"))) == 1
    world.settle()
    assert len([event for each in sent for event in world.command(each)]) == 12
    world.settle()
    assert world.columns(ids["bob"])[0] == 12


def test_what_was_decided_before_needs_no_lock() -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1, carol=0)
    near = transfer(ids["alice"], ids["carol"], 5, "near")
    far = transfer(ids["bob"], ids["alice"], 5, "far")
    world.command(near)
    world.command(far)
    credit = world.bag[0]
    world.settle()
    world.command(transfer(ids["alice"], ids["bob"], 60, way=Coordination.TWO_PHASE_COMMIT))
    while not world.partitions()[0].sides.locked_rows:
        world.deliver()
    (again,) = world.command(near)
    assert isinstance(again, TransferRepeated)
    before = len(world.bag)
    assert world.step(credit.party, credit.message) == []
    assert len(world.bag) == before + 1, "the credit is answered again"
    world.settle()
