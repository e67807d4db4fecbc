"""A stream of which a copy gets no more, though its server goes on to beat: another is followed."""

import pytest

from broker import nats_following, nats_stillness
from tests.broker.copies_of_journal import WHOLE, Copies, read
from tests.broker.implementations import DEADLINE_S

pytestmark = pytest.mark.server


async def test_a_copy_that_gets_no_more_is_left_though_its_server_goes_on_to_beat(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that lags behind: its consumer does not know that there is more."""
    monkeypatch.setattr(nats_stillness, "_STILL_S", 0.3)
    await copies.make("FOUR", 5)
    following = await copies.follow("FOUR", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == ["FOUR", WHOLE]
    await following.close()


async def test_a_new_consumer_that_brings_nothing_is_looked_behind_sooner(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the second one."""
    monkeypatch.setattr(nats_stillness, "_NEW_S", 0.1)
    monkeypatch.setattr(nats_stillness, "_STILL_S", 10 * DEADLINE_S)
    monkeypatch.setattr(nats_following, "_ON_ITS_WAY_S", 0.1)
    await copies.make("NONE", 1, 2, 3, 4, 5)
    following = await copies.follow("NONE", "NONE", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == ["NONE", "NONE", WHOLE]
    await following.close()


async def test_a_server_whose_copy_lags_is_not_waited_for_again(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consumers are placed by chance: one that is on it again is left at once, some times."""
    monkeypatch.setattr(nats_stillness, "_NEW_S", 0.1)
    monkeypatch.setattr(nats_following, "_ON_ITS_WAY_S", 0.1)
    await copies.make("NONE", 1, 2, 3, 4, 5)
    following = await copies.follow("NONE", "NONE", "NONE", "NONE", WHOLE)
    await copies.until_asked(1)
    copies.leader_answers.clear()  # once is enough
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == [*4 * ["NONE"], WHOLE]
    await following.close()


async def test_where_all_copies_lag_one_is_followed_nevertheless(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_often(monkeypatch)
    await copies.make("NONE", 1, 2, 3, 4, 5)
    following = await copies.follow("NONE")
    await copies.until_asked(3)
    copies.next = [WHOLE]
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await following.close()


async def test_a_copy_that_has_all_there_is_is_not_left(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_often(monkeypatch)
    following = await copies.follow(WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await copies.until_asked(10)
    await copies.append(5)
    assert await read(following, 6) == [6]
    assert copies.read == [WHOLE]
    await following.close()


async def test_a_copy_whose_messages_are_gone_everywhere_is_not_left(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a queue that nobody needed for longer than it keeps anything: it still counts them."""
    ask_often(monkeypatch)
    copies.leads = WHOLE
    await copies.purge(WHOLE)
    following = await copies.follow(WHOLE)
    await copies.until_asked(5)
    assert copies.read == [WHOLE]
    await following.close()


async def test_a_new_consumer_is_made_while_the_streams_leader_is_asked(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_often(monkeypatch)
    copies.leader_answers.clear()
    following = await copies.follow(WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await copies.until_asked(1)
    following.reset()
    await copies.until_made(2)
    await following.close()


def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_stillness, "_NEW_S", 0.02)
    monkeypatch.setattr(nats_stillness, "_STILL_S", 0.02)
    monkeypatch.setattr(nats_stillness, "_STILL_S_MAX", 0.02)
    monkeypatch.setattr(nats_following, "_ON_ITS_WAY_S", 0.02)
