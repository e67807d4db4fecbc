"""A snapshot is what a replay of the journal gives, bit for bit, or it is not used."""

import gc
import inspect
import sys
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.chain import Chained
from contracts.commands import OpenAccount
from contracts.coordination import Coordination
from contracts.limits import AMOUNT_MINOR_MAX, FRAME_BYTES_MAX
from contracts.parties import COORDINATOR
from contracts.partitioning import SlotMap
from contracts.rejections import Rejection
from simulation.states import state_of
from tests.writer.world import Rules, World, opened, shake, transfer
from writer.core.blocks import encoded
from writer.core.coordinator import Coordinator
from writer.core.idempotency import DecidedTransfers, Fingerprints
from writer.core.machine import Machine
from writer.core.partition import Partition
from writer.core.snapshot import Damaged, Head, Seal, Thawing, freeze

WAYS = [way for way in Coordination if way is not Coordination.NONE]
STREAM_SEQUENCE = 7


def fresh(party: int, slots: SlotMap) -> Machine[Rules]:
    rules = Coordinator(party, slots) if party == COORDINATOR else Partition(party, slots)
    return Machine(party, rules)


def restored(blocks: list[bytes], party: int, slots: SlotMap) -> Machine[Rules]:
    machine = fresh(party, slots)
    assert thawed(machine, party, blocks).stream_sequence == STREAM_SEQUENCE
    machine.rules.check()
    return machine


def thawed(machine: Machine[Rules], party: int, blocks: Iterable[bytes]) -> Head:
    thawing = Thawing(machine, party)
    for block in blocks:
        thawing.add(block)
    return thawing.end()


def sealed(blocks: list[bytes]) -> list[bytes]:
    """With another seal, as if they had been made so."""
    seal = Seal()
    for block in blocks:
        seal.add(block)
    return [*blocks, seal.digest()]


def replayed(world: World, party: int) -> Machine[Rules]:
    machine = fresh(party, world.slots)
    for data in world.journals[party]:
        assert isinstance(machine.replay(data), Chained)
    return machine


def frozen(world: World, party: int) -> Iterator[bytes]:
    return freeze(world.machines[party], party, STREAM_SEQUENCE)


def shaken(seed: int, turns: int) -> World:
    """A wallet in the middle of its work."""
    chance, world = Random(seed), World(3)
    ids = list(opened(world, alice=0, bob=1, carol=2, dave=0).values())
    for number in range(turns):
        payer, payee = chance.sample(ids, 2)
        amount = chance.choice([1, 7, 60, 101])
        world.command(transfer(payer, payee, amount, f"t{number}", chance.choice(WAYS)))
        shake(world, chance, 3)
    return world


def small() -> list[bytes]:
    """A snapshot of a partition with one of everything."""
    world = World(2)
    ids = opened(world, alice=0, bob=1, carol=0, dave=0)
    world.command(transfer(ids["dave"], ids["alice"], 5, "t0"))
    for number, (payer, way) in enumerate(zip(("alice", "carol", "dave"), WAYS[1:], strict=True)):
        world.command(transfer(ids[payer], ids["bob"], 9, f"t{number + 1}", way))
    for _ in range(4):
        world.deliver_all()
    world.command(transfer(ids["dave"], ids["bob"], 5, "t9", WAYS[0]))
    return list(frozen(world, 0))


# --- restored == replayed ---


@settings(max_examples=60)
@given(st.integers(min_value=0, max_value=2**32), st.integers(min_value=0, max_value=25))
def test_a_restored_machine_equals_the_live_and_the_replayed_one(seed: int, turns: int) -> None:
    world = shaken(seed, turns)
    for party, live in world.machines.items():
        blocks = list(frozen(world, party))
        again = replayed(world, party)
        machine = restored(blocks, party, world.slots)
        assert state_of(machine) == state_of(again) == state_of(live)
        assert list(freeze(again, party, STREAM_SEQUENCE)) == blocks, "equal states, equal bytes"
        assert list(freeze(machine, party, STREAM_SEQUENCE)) == blocks


def test_every_kind_of_state_is_in_a_snapshot() -> None:
    """The property above says nothing about a kind that its histories never have."""
    worlds = [shaken(seed, 25) for seed in range(12)]
    sides = [rules.sides for world in worlds for rules in world.partitions()]
    assert any(each.locked_rows for each in sides)
    assert any(each.expired(2**62) for each in sides)
    assert any(each.payers for each in sides)
    assert any(each.payee_count for each in sides)
    assert any(each.net_sent_minor for each in sides)
    running = [each for world in worlds for each in world.coordinator().running.values()]
    assert any(each.reason for each in running)
    assert {each.coordination for each in running} == set(WAYS[1:])


@settings(max_examples=30)
@given(st.integers(min_value=0, max_value=2**32))
def test_a_restored_machine_goes_on_as_the_one_that_was_frozen(seed: int) -> None:
    """All parties, into the same future: the journals stay the same, byte for byte."""
    world, other = shaken(seed, 12), shaken(seed, 12)
    for party in world.machines:
        blocks = list(frozen(other, party))
        other.machines[party] = restored(blocks, party, other.slots)
        # What a machine keeps in memory only comes again; here, to both at once.
        world.machines[party] = replayed(world, party)
    for each in (world, other):
        chance = Random(seed)
        shake(each, chance, 40)
        each.settle()
        each.check_settled()
    assert world.journals == other.journals


@settings(max_examples=40)
@given(st.integers(min_value=0, max_value=2**32), st.integers(min_value=0, max_value=12))
def test_what_happens_after_the_freeze_is_not_in_the_snapshot(seed: int, later: int) -> None:
    world = shaken(seed, 10)
    at_once = {party: list(frozen(world, party)) for party in world.machines}
    waiting = {party: frozen(world, party) for party in world.machines}
    made: dict[int, list[bytes]] = {party: [] for party in waiting}
    chance = Random(seed)
    for number in range(later):
        world.command(OpenAccount(world.account(f"new{number}", 0), "EUR", number))
        shake(world, chance, 2)
        for party, blocks in waiting.items():
            made[party] += [block for block in [next(blocks, None)] if block is not None]
    for party, blocks in waiting.items():
        assert made[party] + list(blocks) == at_once[party]


def test_balances_and_sums_beyond_64_bits_are_kept() -> None:
    world = World(2)
    top = AMOUNT_MINOR_MAX
    payers = [world.account(f"payer{number}", 0) for number in range(3)]
    payees = [world.account(f"payee{number}", 1) for number in range(3)]
    for number, (payer, payee) in enumerate(zip(payers, payees, strict=True)):
        world.command(OpenAccount(payer, "USD", top))
        world.command(OpenAccount(payee, "USD", 0))
        world.command(transfer(payer, payee, top, f"t{number}"))
    world.deliver_all()
    assert world.partitions()[0].sides.net_sent_minor == {"USD": 3 * top}
    for party in (0, 1):
        machine = restored(list(frozen(world, party)), party, world.slots)
        assert state_of(machine) == state_of(world.machines[party])


def test_a_machine_without_any_history_has_a_snapshot_too() -> None:
    slots = SlotMap.even(2)
    for party in (0, COORDINATOR):
        machine = fresh(party, slots)
        blocks = list(freeze(machine, party, STREAM_SEQUENCE))
        assert state_of(restored(blocks, party, slots)) == state_of(machine)


# --- many ids and accounts ---


def test_a_table_that_grows_while_it_is_frozen_keeps_both_states() -> None:
    """Over many pages, and over splits of buckets on shared pages."""
    fingerprints, content = Fingerprints(b"k" * 32), b"content"[:6]
    table, number = DecidedTransfers(), 0
    snapshots: list[tuple[int, Iterator[bytes]]] = []
    while number < 60_000:
        number += 1
        table.remember(fingerprints.name("payer", str(number)), number, content, None)
        if number % 15_000 == 0:
            snapshots.append((number, table.freeze()))
    for count, blocks in snapshots:
        again = DecidedTransfers()
        thaw = again.thaw()
        next(thaw)
        for block in blocks:
            with suppress(StopIteration):
                thaw.send(block)
        assert inspect.getgeneratorstate(thaw) == inspect.GEN_CLOSED, "it ends with its last block"
        alone = DecidedTransfers()
        for each in range(1, count + 1):
            alone.remember(fingerprints.name("payer", str(each)), each, content, None)
        assert state_of(again) == state_of(alone)
        assert again.find(fingerprints.name("payer", str(count + 1))) is None
        again.remember(fingerprints.name("payer", "x"), 1, content, Rejection.SAME_ACCOUNT)
        assert len(again) == count + 1


def test_accounts_of_many_blocks_and_currencies_come_back_in_their_rows() -> None:
    slots = SlotMap.even(1)
    partition = Partition(0, slots)
    for number in range(5_000):
        partition.accounts.open(f"a{number}", f"C{number % 300}", number, number + 1)
    machine: Machine[Rules] = Machine(0, partition)
    again = restored(list(freeze(machine, 0, STREAM_SEQUENCE)), 0, slots)
    assert state_of(again) == state_of(machine)


def test_no_block_is_too_large_for_a_message() -> None:
    """With the longest ids that a frame may carry."""
    partition = Partition(0, SlotMap.even(1))
    for number in range(2_100):
        partition.accounts.open("\N{GRINNING FACE}" * 60 + str(number), "USD", 0, 1)
    assert all(len(block) <= FRAME_BYTES_MAX for block in partition.freeze())


# --- damage ---


def test_every_flipped_bit_is_noticed_whatever_it_does_on_the_way() -> None:
    blocks, slots = small(), SlotMap.even(2)
    for at, block in enumerate(blocks):
        for bit in range(8 * len(block)):
            flipped = bytearray(block)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Damaged):
                thawed(fresh(0, slots), 0, [*blocks[:at], bytes(flipped), *blocks[at + 1 :]])


def test_every_cut_and_every_block_out_of_its_place_is_noticed() -> None:
    blocks, slots = small(), SlotMap.even(2)
    changed = [blocks[:at] for at in range(len(blocks))]
    changed += [blocks[:at] + blocks[at + 1 :] for at in range(len(blocks))]
    changed += [[*blocks[:at], *blocks[at:][:1], *blocks[at:]] for at in range(len(blocks))]
    for at, block in enumerate(blocks):
        changed += [[*blocks[:at], block[:end], *blocks[at + 1 :]] for end in range(len(block))]
    for at in range(len(blocks) - 1):
        one, two = blocks[at : at + 2]
        changed.append([*blocks[:at], two, one, *blocks[at + 2 :]])
        changed.append([*blocks[:at], one + two, *blocks[at + 2 :]])
    for each in changed:
        with pytest.raises(Damaged):
            thawed(fresh(0, slots), 0, each)


def test_what_a_damaged_snapshot_was_thawed_into_is_let_go_at_once() -> None:
    """It may be as large as all memory that is left, and the older snapshot comes next."""
    head, accounts, *_ = small()
    for broken in (b"", accounts[:-1], encoded([["a"], [], bytes(2), *[bytes(8)] * 5])):
        machine = fresh(0, SlotMap.even(2))
        left = weakref.ref(machine)
        gc.disable()
        try:
            with pytest.raises(Damaged):
                thawed(machine, 0, [head, encoded([1]), broken, b"no seal"])
            del machine
            assert left() is None
        finally:
            gc.enable()


def test_a_snapshot_of_another_party_version_or_byte_order_is_not_used() -> None:
    world = World(2)
    first, *rest, _ = list(frozen(world, 0))
    machine = fresh(0, world.slots)
    with pytest.raises(Damaged, match="Partition 0"):
        thawed(machine, 1, sealed([first, *rest]))
    other = {"little": b"bigend", "big": b"little"}[sys.byteorder]
    for head, why in (
        (first.replace(b"snapshot \x01", b"snapshot \x02"), "version 2"),
        (first.replace(sys.byteorder.encode(), other), "byte order"),
        (first + b"more", "head can't be read"),
        (b"something else", "no snapshot"),
    ):
        with pytest.raises(Damaged, match=why):
            thawed(machine, 0, sealed([head, *rest]))


def test_a_sealed_snapshot_of_parts_that_are_not_known_is_not_used() -> None:
    """As a version would leave it that forgot to change its number."""
    world = World(2)
    *blocks, _ = list(frozen(world, 0))
    for changed, why in (
        ([blocks[0], encoded({"new": 1}), *blocks[2:]], "block 1 can't be read"),
        ([*blocks, b""], f"block {len(blocks) + 1} belongs to nothing"),
        (blocks[:-1], f"block {len(blocks) - 1} can't be read"),
        ([], "no snapshot"),
    ):
        with pytest.raises(Damaged, match=why):
            thawed(fresh(0, world.slots), 0, sealed(changed))


def test_what_a_bug_does_to_a_whole_snapshot_is_not_called_damage() -> None:
    world = World(1)
    opened(world, alice=0)
    head, *_, seal = frozen(world, 0)
    accounts = [encoded([2]), encoded([["a", "a"], ["USD"], bytes(4), *[bytes(16)] * 5])]
    with pytest.raises(AssertionError, match="a row for each account"):
        thawed(fresh(0, world.slots), 0, sealed([head, *accounts, seal]))


def test_money_that_does_not_sum_up_never_gets_into_a_snapshot() -> None:
    world = World(1)
    opened(world, alice=0)
    world.partitions()[0].accounts.posted_minor[0] += 1
    with pytest.raises(AssertionError, match="money was made"):
        list(frozen(world, 0))
