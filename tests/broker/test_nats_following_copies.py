"""A stream whose copies are damaged: which one is followed, and when none."""

import pytest

from broker import nats_copies_tried, nats_following
from broker.nats_following import NatsFollowing
from broker.port import BrokerUnfit
from tests.broker.copies_of_journal import WHOLE, Copies, read

pytestmark = pytest.mark.server


async def test_where_a_copy_has_a_gap_another_one_is_followed(copies: Copies) -> None:
    await copies.make("GAP", 3)
    following = await copies.follow("GAP", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == ["GAP", WHOLE]
    await following.close()


async def test_what_a_copy_still_brings_when_it_is_left_does_not_cost_the_next_one(
    copies: Copies, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A long journal goes on to come behind the gap, until the old consumer is dropped."""
    monkeypatch.setattr(nats_following, "_RETRY_S", 0.5)
    await copies.make("GAP", 3)
    following = await copies.follow("GAP", WHOLE, "GAP")
    assert await read(following, 2) == [1, 2]
    await copies.append(5)
    await copies.until_copied("GAP")
    assert await read(following, 6) == [3, 4, 5, 6]
    assert copies.read == ["GAP", WHOLE]
    assert "gap before" not in caplog.text, "then another consumer would be made at once"
    await following.close()


async def test_a_copy_that_lacks_its_beginning_is_left_too(copies: Copies) -> None:
    await copies.make("LATE", 1, 2)
    following = await copies.follow("LATE", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == ["LATE", WHOLE]
    await following.close()


async def test_copies_with_gaps_in_different_places_are_a_whole_one(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gap is looked for in all copies anew."""
    monkeypatch.setattr(nats_copies_tried, "_COPIES_TRIED_MAX", 2)
    for lost in (2, 3, 4):
        await copies.make(f"WITHOUT_{lost}", lost)
    following = await copies.follow("WITHOUT_2", "WITHOUT_3", "WITHOUT_4", "WITHOUT_2")
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await following.close()


async def test_what_no_copy_holds_ends_the_following_with_what_to_do(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_copies_tried, "_COPIES_TRIED_MAX", 3)
    await copies.make("GAP", 3, 4)
    following = await copies.follow("GAP")
    assert await read(following, 2) == [1, 2]
    with pytest.raises(
        BrokerUnfit,
        match=r"messages 3 to 4 of EVT_0 .* tried 3 times.* Stop it and check its files",
    ):
        await read(following, 5)
    assert copies.read == 3 * ["GAP"]
    await following.close()


async def test_what_is_delivered_before_the_consumer_is_known_to_be_made_is_no_single_copys(
    copies: Copies,
) -> None:
    """Whether the stream has other copies is told with that."""
    await copies.make("GAP", 3)
    copies.answers_after = 2
    following = await copies.follow("GAP", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await following.close()


LACKING = {"it ends before": (4, 5), "it lacks it": (4,), "it has another": ()}
"""What a copy is without whose last message was read from another one: the fourth."""


async def follow_to_the_fourth(copies: Copies, *names: str) -> NatsFollowing:
    """On a copy that ends there; the next consumers are made on these."""
    await copies.make("FOUR", 5)
    following = await copies.follow("FOUR")
    assert await read(following, 4) == [1, 2, 3, 4]
    copies.next = list(names)
    following.reset()
    return following


async def make_lacking(copies: Copies, lost: tuple[int, ...]) -> None:
    if lost:
        await copies.make("LACKING", *lost)
    else:
        await copies.make_other("LACKING", 6)


@pytest.mark.parametrize("lost", LACKING.values(), ids=LACKING)
async def test_a_copy_without_the_last_message_that_was_read_is_left(
    copies: Copies, lost: tuple[int, ...]
) -> None:
    await make_lacking(copies, lost)
    following = await follow_to_the_fourth(copies, "LACKING", "LACKING", WHOLE)
    assert await read(following, 5) == [5]
    assert copies.read == ["FOUR", "LACKING", "LACKING", WHOLE]
    await following.close()


@pytest.mark.parametrize("lost", LACKING.values(), ids=LACKING)
async def test_a_message_that_was_read_and_is_in_no_copy_ends_the_following(
    copies: Copies, monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]
) -> None:
    """What follows another history, or none, must not be taken for the same journal's."""
    monkeypatch.setattr(nats_copies_tried, "_SHORT_COPIES_TRIED_MAX", 3)
    await make_lacking(copies, lost)
    following = await follow_to_the_fourth(copies, "LACKING")
    with pytest.raises(
        BrokerUnfit, match=r"message 4 of EVT_0, which was read before, .* tried 3 times"
    ):
        await read(following, 5)
    assert copies.read == ["FOUR", *3 * ["LACKING"]]
    await following.close()
