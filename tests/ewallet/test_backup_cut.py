"""A backup is a state from which every way of coordination goes on, whenever it is taken."""

from random import Random

import pytest

from contracts.coordination import Coordination
from contracts.parties import parties
from tests.ewallet.backup_world import (
    PARTITIONS,
    History,
    by_party,
    check_goes_on,
    cut_of,
    history,
    restored,
    tips,
)
from tests.writer.world import opened, transfer
from writer.core.coordination import WAYS


@pytest.mark.parametrize("seed", range(40))
async def test_a_wallet_goes_on_from_a_backup_of_any_moment(seed: int) -> None:
    world, chance = history(seed), Random(f"{seed} tips")
    for _ in range(6):
        begun = chance.randrange(len(world.written))
        before, at = tips(world.written, chance, begun)
        seen, _ = tips(world.written, chance, at)
        kept = by_party(await cut_of(seen))
        for party in parties(PARTITIONS):
            assert len(kept[party]) >= len(before[party]), "all that was durable when it began"
            assert kept[party] == seen[party][: len(kept[party])]
        check_goes_on(restored(kept), world.transfers)


@pytest.mark.parametrize("way", WAYS)
async def test_every_beginning_of_a_backup_is_a_state_to_go_on_from(way: Coordination) -> None:
    world = History(PARTITIONS)
    ids = opened(world, alice=0, bob=1, carol=2)
    world.transfers = [
        transfer(ids["alice"], ids["bob"], 30, "t1", way),
        transfer(ids["carol"], ids["bob"], 101, "t2", way),
        transfer(ids["bob"], world.account("nobody", 0), 5, "t3", way),
    ]
    for command in world.transfers:
        world.command(command)
    world.settle()
    frames = await cut_of(by_party(world.written))
    assert sorted(frames) == sorted(world.written)
    for length in range(len(frames) + 1):
        check_goes_on(restored(by_party(frames[:length])), [])


@pytest.mark.parametrize("way", WAYS)
async def test_what_follows_from_nothing_in_the_backup_is_left_out(way: Coordination) -> None:
    """Each party's journal in turn ends early, and those of all others are whole."""
    world = History(PARTITIONS)
    ids = opened(world, alice=0, bob=1)
    command = transfer(ids["alice"], ids["bob"], 30, "t1", way)
    opened_at = len(world.written)
    world.command(command)
    world.settle()
    whole = by_party(world.written)
    first = by_party(world.written[:opened_at])
    for party in parties(PARTITIONS):
        for length in range(len(first[party]), len(whole[party])):
            kept = by_party(await cut_of({**whole, party: whole[party][:length]}))
            assert len(kept[party]) <= length
            check_goes_on(restored(kept), [command])


async def test_a_beginning_of_each_journal_would_not_do() -> None:
    """What the cut is for: without it, money is made and lost."""
    broken = 0
    for seed in range(10):
        world, chance = history(seed), Random(f"{seed} tips")
        for _ in range(6):
            seen, _ = tips(world.written, chance, chance.randrange(len(world.written)))
            try:
                check_goes_on(restored(seen), world.transfers)
            except (AssertionError, KeyError):
                broken += 1
    assert broken > 0
