"""What is left of a group when another reader stored a part of it."""

from dataclasses import fields

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.chain import Chained, Tip, follow, genesis
from reader.core.overlap import rest_of
from reader.core.projection import Projection
from reader.core.rows import BEFORE_ANY_TIME, Cursor, Group
from reader.core.touched import Touched, touched_accounts
from reader.core.unstored import Unstored
from tests.reader.histories import busy_writer, written, written_frames


@settings(max_examples=150)
@given(written_frames, st.data())
def test_the_rest_of_a_group_is_what_a_group_from_there_would_be(
    frames: list,  # type: ignore[type-arg] # drawn
    data: st.DataObject,
) -> None:
    writer = written(frames)
    places = sorted(data.draw(st.integers(0, len(writer.frames))) for _ in range(3))
    first, middle, last = places
    _, whole = _groups(writer.frames, [first, last])
    begun, part, rest = _groups(writer.frames, [first, middle, last])
    stored = _unfinished_after({}, begun)
    left = rest_of(whole, _tip(writer.frames, middle).sequence)
    for field in fields(Group):
        if field.name not in ("unfinished", "cursor"):
            assert getattr(left, field.name) == getattr(rest, field.name), field.name
    at_middle = _unfinished_after(stored, part)
    assert _unfinished_after(at_middle, left) == _unfinished_after(at_middle, rest)


def test_a_transfer_that_begins_and_ends_in_a_group_does_not_stay_unfinished() -> None:
    """Who stored up to the middle of it left it there; the group itself does not mention it."""
    writer = busy_writer(40)
    (whole,) = _groups(writer.frames, [len(writer.frames)])
    starts = {row.sequence for row in whole.steps if row.kind == 0}
    ended = starts - whole.unfinished.keys()
    assert ended
    at = max(ended)
    tip = next(tip.sequence for tip in whole.tips if tip.sequence >= at)
    assert rest_of(whole, tip).unfinished[at] == 0


def test_accounts_are_touched_by_transfers_and_steps_in_any_order() -> None:
    transfers = [(5, 0, 1, 2, "t", 7, -7, 7, 0, 0), (9, 0, 2, 1, "u", 3, 4, -4, 5, 5)]
    assert sorted(touched_accounts(Group(transfers=transfers))) == [
        Touched(1, -4, 9, 2, None),
        Touched(2, 4, 9, 2, None),
    ]


def _groups(frames: list[bytes], ends: list[int]) -> list[Group]:
    """The groups of a reader that stores after so many frames, and so on."""
    unstored, groups, stored = Unstored(), [], Unstored()
    tip, at = genesis(0), 0
    projection = Projection([], [], Cursor(tip, 0), unstored, stored.row, at_ms=BEFORE_ANY_TIME)
    for end in ends:
        for data in frames[at:end]:
            step = follow(projection.cursor.tip, data)
            assert isinstance(step, Chained)
            at += 1
            projection.apply(step.frame, Cursor(step.tip, at))
        group = unstored.take()
        unstored.written()
        stored.pending.transfers += group.transfers
        stored.pending.steps += group.steps
        stored.pending.rejections += group.rejections
        groups.append(group)
    return groups


def _tip(frames: list[bytes], count: int) -> Tip:
    tip = genesis(0)
    for data in frames[:count]:
        step = follow(tip, data)
        assert isinstance(step, Chained)
        tip = step.tip
    return tip


def _unfinished_after(before: dict[int, int], group: Group) -> dict[int, int]:
    """As a store keeps it."""
    after = before | group.unfinished
    return {start: newest for start, newest in after.items() if newest}
