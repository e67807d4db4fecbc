"""A following of which nobody takes what comes."""

import pytest

from broker import nats_delivered, nats_following
from tests.broker.copies_of_journal import WHOLE, Copies, read

pytestmark = pytest.mark.server


async def test_what_nobody_takes_is_bounded_however_often_a_new_consumer_is_made(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_delivered, "_BUFFERED_BYTES_MAX", 2 * len(b"frame"))
    following = await copies.follow(WHOLE)
    copies.answers_after = 2
    for made in (2, 3, 4):
        following.reset()
        await copies.until_made(made)
        await copies.until_copied(WHOLE)  # so long, what the consumer delivers comes too
    assert following.backlog == 2
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await following.close()


async def test_who_takes_nothing_is_not_without_a_consumer(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beats are not heard while there is no room; another's silence tells how long."""
    other = Copies(copies.broker)
    copies.answers_after = 5
    following = await copies.follow(WHOLE)
    also = await other.follow(WHOLE)
    assert await read(also, 5) == [1, 2, 3, 4, 5]
    monkeypatch.setattr(nats_delivered, "_BUFFERED_BYTES_MAX", 5 * len(b"frame"))
    monkeypatch.setattr(nats_following, "_SILENCE_S", 0.05)
    following.reset()
    also.reset()
    await other.until_made(6)
    assert copies.read == 2 * [WHOLE]
    await following.close()
    await also.close()
