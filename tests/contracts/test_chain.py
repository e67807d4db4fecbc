"""Only frames that chain on the tip count, whatever else lies in the stream."""

import msgspec
import pytest
from msgspec import structs

from contracts.chain import Chained, MadeByAnotherVersion, Tip, Unchained, follow, genesis
from contracts.events import EpochOpened, Event, TransferRepeated
from contracts.frames import EVENT_FRAME, EventFrame, Source, frame_hash

TIP = Tip(sequence=7, hash=b"h" * 32, epoch=3, at_ms=1_000)
EVENTS: list[Event] = [TransferRepeated("payer", "t1", 1), TransferRepeated("payer", "t2", 2)]
FRAME = EventFrame(
    epoch=3,
    first_sequence=8,
    prev_hash=TIP.hash,
    command_sequence=5,
    sources=[Source("proxy", 1, 1_000, 1), Source("proxy", 2, 1_001, 1)],
    events=EVENTS,
)


def test_the_next_frame_moves_the_tip() -> None:
    data = EVENT_FRAME.encode(FRAME)
    link = follow(TIP, data)
    assert link == Chained(Tip(9, frame_hash(data), 3, 1_001), FRAME)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"prev_hash": b"x" * 32}, "follows"),
        ({"first_sequence": 7}, "starts at sequence 7"),
        ({"first_sequence": 9}, "starts at sequence 9"),
        ({"epoch": 2}, "epoch"),
        ({"epoch": 4}, "epoch"),
        ({"events": EVENTS[:1]}, "sources"),
        ({"events": [], "sources": []}, "sources"),
        ({"sources": [Source("proxy", 1, 999, 2)]}, "backwards"),
        ({"sources": [Source("p", 1, 2_000, 1), Source("p", 2, 1_500, 1)]}, "backwards"),
        ({"events": [EpochOpened("w", b"k"), EVENTS[0]]}, "epoch"),
    ],
)
def test_a_frame_that_does_not_follow_does_not_count(change: dict[str, object], why: str) -> None:
    link = follow(TIP, EVENT_FRAME.encode(structs.replace(FRAME, **change)))
    assert isinstance(link, Unchained)
    assert why in link.why


def test_a_new_epoch_is_opened_by_its_own_event() -> None:
    opened = structs.replace(FRAME, epoch=4, events=[EpochOpened("w", b"k"), EVENTS[0]])
    assert isinstance(follow(TIP, EVENT_FRAME.encode(opened)), Chained)


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x02", b"garbage", EVENT_FRAME.encode(FRAME)[:-1]]
)
def test_garbage_does_not_count(data: bytes) -> None:
    assert isinstance(follow(TIP, data), Unchained)


def test_journals_of_two_partitions_can_not_be_swapped() -> None:
    assert genesis(0).hash != genesis(1).hash


def test_a_frame_that_follows_but_holds_unknown_things_is_never_dropped() -> None:
    """An older or newer version's events count: to skip them would lose money."""
    body = msgspec.msgpack.decode(EVENT_FRAME.encode(FRAME)[1:])
    body[5][0][0] = 99  # the tag of an event that does not exist
    data = b"\x01" + msgspec.msgpack.encode(body)
    with pytest.raises(MadeByAnotherVersion, match="after sequence 7"):
        follow(TIP, data)
    body[2] = b"x" * 32
    assert isinstance(follow(TIP, b"\x01" + msgspec.msgpack.encode(body)), Unchained)
