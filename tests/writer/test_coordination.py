"""Transfers between partitions, by each of the four ways: all or nothing, and once."""

from random import Random

import pytest

from contracts.commands import OpenAccount, Transfer
from contracts.coordination import Coordination
from contracts.events import (
    TransferAwaited,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferRepeated,
    TransferStarted,
)
from contracts.limits import (
    AMOUNT_MINOR_MAX,
)
from contracts.parties import COORDINATOR
from contracts.rejections import Rejection
from tests.writer.world import World, opened, outcomes, shake, transfer
from writer.core.coordination import WAYS

ALL_WAYS = pytest.mark.parametrize("way", WAYS)


@ALL_WAYS
def test_a_transfer_reaches_another_partition(way: Coordination) -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    world.command(transfer(ids["alice"], ids["bob"], 30, way=way))
    world.settle()
    assert (world.columns(ids["alice"]), world.columns(ids["bob"])) == ((-30, 0, 0), (30, 0, 0))
    assert outcomes(world, ids["alice"]) == [None]
    world.check_settled()


@ALL_WAYS
@pytest.mark.parametrize(
    ("amount", "payee", "reason"),
    [
        (101, "bob", Rejection.INSUFFICIENT_FUNDS),
        (30, "nobody", Rejection.TO_ACCOUNT_NOT_FOUND),
        (30, "euro", Rejection.CURRENCY_MISMATCH),
        (30, "full", Rejection.BALANCE_LIMIT_EXCEEDED),
    ],
)
def test_a_refused_transfer_moves_nothing(
    way: Coordination, amount: int, payee: str, reason: Rejection
) -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    ids |= {name: world.account(name, 1) for name in ("nobody", "euro", "full", "rich")}
    world.command(OpenAccount(ids["euro"], "EUR", 0))
    world.command(OpenAccount(ids["full"], "USD", 0), OpenAccount(ids["rich"], "USD", 2**63 - 1))
    world.command(transfer(ids["rich"], ids["full"], AMOUNT_MINOR_MAX))
    command = transfer(ids["alice"], ids[payee], amount, way=way)
    (first,) = world.command(command)
    world.settle()
    if isinstance(first, TransferRejected):
        assert first.reason is reason
    else:
        assert outcomes(world, ids["alice"]) == [reason]
    assert world.columns(ids["alice"]) == (0, 0, 0)
    (again,) = world.command(command)
    assert isinstance(again, TransferRepeated)
    world.check_settled()


@ALL_WAYS
def test_a_repeat_under_way_waits_for_the_same_outcome_and_a_later_one_gets_it(
    way: Coordination,
) -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    command = transfer(ids["alice"], ids["bob"], 30, way=way)
    other_way = transfer(ids["alice"], ids["bob"], 30)
    conflict = transfer(ids["alice"], ids["bob"], 31, way=way)
    assert isinstance(world.command(command)[0], TransferStarted)
    assert isinstance(world.command(other_way)[0], TransferAwaited)
    (refused,) = world.command(conflict)
    assert isinstance(refused, TransferRejected)
    assert refused.reason is Rejection.IDEMPOTENCY_CONFLICT
    world.settle()
    (repeated,) = world.command(command)
    assert isinstance(repeated, TransferRepeated)
    finished = world.events(0)[repeated.first_sequence - 1]
    assert isinstance(finished, TransferFinished)
    (refused,) = world.command(conflict)
    assert isinstance(refused, TransferRejected)
    assert world.columns(ids["alice"])[0] == -30


@ALL_WAYS
def test_every_step_may_come_twice(way: Coordination) -> None:
    world = World(2)
    ids = opened(world, alice=0, bob=1)
    world.command(transfer(ids["alice"], ids["bob"], 30, way=way))
    while world.bag:
        sent = world.bag.pop(0)
        world.step(sent.party, sent.message)
        assert world.step(sent.party, sent.message) == []
    world.settle()
    assert world.columns(ids["bob"]) == (30, 0, 0)
    assert outcomes(world, ids["alice"]) == [None]
    world.check_settled()


@ALL_WAYS
@pytest.mark.parametrize("amount", [30, 101])
@pytest.mark.parametrize("payee", ["bob", "nobody"])
def test_any_party_may_die_after_any_message(way: Coordination, amount: int, payee: str) -> None:
    """Each run crashes one party after one more message than the run before."""
    for crash_at in range(20):
        for party in (0, 1, COORDINATOR):
            world = World(2)
            ids = opened(world, alice=0, bob=1) | {"nobody": "nobody"}
            if world.slots.partition_of(ids["nobody"]) != 1:
                ids["nobody"] = world.account("nobody", 1)
            world.command(transfer(ids["alice"], ids[payee], amount, way=way))
            for _ in range(crash_at):
                if world.bag:
                    world.deliver()
            world.lose_all()
            world.restart(party)
            world.settle()
            done = amount == 30 and payee == "bob"
            assert world.columns(ids["alice"]) == (-30 if done else 0, 0, 0)
            world.check_settled()


@ALL_WAYS
@pytest.mark.parametrize("party", [0, 1, COORDINATOR])
def test_a_party_that_comes_back_asks_at_once_for_what_it_waits_for(
    way: Coordination, party: int
) -> None:
    """No time passes here: without that, everybody would wait for the next ticks."""
    for dies_at in range(12):
        world = World(2)
        ids = opened(world, alice=0, bob=1)
        world.command(transfer(ids["alice"], ids["bob"], 30, way=way))
        for _ in range(dies_at):
            if world.bag:
                world.deliver()
        world.bag = [each for each in world.bag if each.party != party]
        for each in (0, 1, COORDINATOR):
            world.restart(each)
        world.deliver_all()
        assert world.columns(ids["bob"]) == (30, 0, 0)


@ALL_WAYS
@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_lost_doubled_delayed_or_dies(way: Coordination, seed: int) -> None:
    chance = Random(seed)
    world = World(3)
    ids = opened(world, a=0, b=1, c=2, d=0)
    sent: list[Transfer] = []
    for number in range(12):
        payer, payee = chance.sample(list(ids.values()), 2)
        chosen = way if chance.random() < 0.8 else chance.choice(list(WAYS))
        sent.append(transfer(payer, payee, chance.choice([1, 40, 90]), f"t{number}", chosen))
        world.command(sent[-1])
        shake(world, chance, 8)
        world.command(chance.choice(sent))
    world.settle()
    for command in sent:  # what waited for a lock when its writer died is sent again by its proxy
        world.command(command)
    world.settle()
    world.check_settled()
    check_books(world, sent)


def check_books(world: World, sent: list[Transfer]) -> None:
    """Balances are what the outcomes in the journals say, and each name has one outcome."""
    books: dict[str, int] = {}
    by_name = {(each.from_account_id, each.transaction_id): each for each in sent}
    decided = set()
    for party in range(world.partition_count):
        for event in world.events(party):
            if isinstance(event, TransferCompleted | TransferFinished | TransferRejected):
                name = (event.from_account_id, event.transaction_id)
                assert name not in decided
                decided.add(name)
                if getattr(event, "reason", None) is None:
                    command = by_name[name]
                    payer, payee = command.from_account_id, command.to_account_id
                    books[payer] = books.get(payer, 0) - command.amount_minor
                    books[payee] = books.get(payee, 0) + command.amount_minor
    assert decided == set(by_name)
    for account_id, posted in books.items():
        assert world.columns(account_id) == (posted, 0, 0)
