"""Held requests: sent in groups, sent again when late, answered once or given up."""

from collections.abc import Iterator
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.commands import OpenAccount
from contracts.frames import CommandFrame
from contracts.limits import COMMAND_FRAME_COMMANDS_MAX, RESEND_AFTER_MS
from proxy.core.held import LANDED_AFTER_MS, HeldRequests

WAIT_MS = 10_000


def table(*, in_flight_max: int = 1, partitions: int = 1) -> HeldRequests[str]:
    return HeldRequests("proxy", partitions, in_flight_max)


def add(held: HeldRequests[str], name: str, now_ms: int = 0, wait_ms: int = WAIT_MS) -> None:
    held.add(OpenAccount(name, "USD", 0), 0, name, now_ms=now_ms, wait_ms=wait_ms)


def names(held: HeldRequests[str], now_ms: int = 0) -> tuple[int, list[str]] | None:
    sent = held.next_frame(0, now_ms)
    if sent is None:
        return None
    commands = sent.frame.commands
    return sent.frame.first_number, [command.routing_account_id for command in commands]


def test_what_arrives_while_a_frame_is_out_leaves_together() -> None:
    held = table()
    add(held, "a")
    assert names(held) == (1, ["a"])
    add(held, "b")
    add(held, "c")
    assert names(held) is None
    answered = held.answered(1)
    assert answered is not None
    assert answered.waiter == "a"
    assert names(held) == (2, ["b", "c"])


def test_a_result_settles_its_request_once() -> None:
    held = table()
    add(held, "a")
    names(held)
    assert held.answered(1) is not None
    assert held.answered(1) is None
    assert held.answered(99) is None
    assert len(held) == 0


def test_a_late_frame_is_sent_again_under_new_numbers_and_the_old_ones_still_count() -> None:
    held = table()
    add(held, "a")
    add(held, "b")
    names(held)
    held.answered(2)
    held.keep_time(RESEND_AFTER_MS - 1)
    assert not held.has_work(0)
    held.keep_time(RESEND_AFTER_MS)
    assert names(held, RESEND_AFTER_MS) == (3, ["a"])
    answered = held.answered(1)
    assert answered is not None
    assert answered.waiter == "a"
    assert held.answered(3) is None
    assert len(held) == 0


def test_only_what_was_never_sent_is_refused() -> None:
    held = table()
    add(held, "sent")
    names(held)
    held.keep_time(RESEND_AFTER_MS)
    add(held, "new", RESEND_AFTER_MS)
    sent = held.next_frame(0, RESEND_AFTER_MS)
    assert sent is not None
    assert sent.is_repeat
    held.not_sent(sent)
    assert [each.waiter for each in held.refuse_unsent(0)] == ["new"]
    assert len(held) == 1
    assert names(held, RESEND_AFTER_MS) == (4, ["sent"])


def test_what_is_late_already_counts_as_sent() -> None:
    held = table()
    add(held, "a")
    sent = held.next_frame(0, 0)
    assert sent is not None
    assert not sent.is_repeat
    held.keep_time(RESEND_AFTER_MS)
    held.not_sent(sent)
    assert held.refuse_unsent(0) == []
    assert names(held, RESEND_AFTER_MS) == (2, ["a"])


def test_a_request_is_sent_again_as_often_as_its_frame_is_late() -> None:
    held = table()
    add(held, "a")
    assert held.next_deadline_ms() == WAIT_MS
    for send in range(5):
        now_ms = send * RESEND_AFTER_MS
        assert names(held, now_ms) == (send + 1, ["a"])
        assert held.next_deadline_ms() == now_ms + LANDED_AFTER_MS
        held.keep_time(now_ms + LANDED_AFTER_MS)
        assert held.next_deadline_ms() == now_ms + RESEND_AFTER_MS
        held.keep_time(now_ms + RESEND_AFTER_MS)


def test_a_frame_that_waits_for_other_partitions_keeps_nobody_back() -> None:
    """It lands with its first answer, and without any when its time has come."""
    held = table()
    add(held, "local")
    add(held, "slow")
    names(held)
    add(held, "next")
    assert not held.has_work(0)
    held.answered(1)
    assert names(held) == (3, ["next"])
    add(held, "last")
    held.keep_time(LANDED_AFTER_MS - 1)
    assert not held.has_work(0)
    held.keep_time(LANDED_AFTER_MS)
    assert names(held, LANDED_AFTER_MS) == (4, ["last"])
    held.keep_time(RESEND_AFTER_MS)
    again = held.next_frame(0, RESEND_AFTER_MS)
    assert again is not None
    assert {request.waiter for request in again.held} == {"slow", "next"}


def test_an_answer_to_an_old_frame_does_not_land_the_new_one() -> None:
    held = table()
    add(held, "a")
    add(held, "b")
    names(held)
    held.keep_time(RESEND_AFTER_MS)
    assert names(held, RESEND_AFTER_MS) == (3, ["a", "b"])
    add(held, "c")
    held.answered(1)
    assert not held.has_work(0)
    held.answered(4)
    assert held.has_work(0)


def test_a_frame_that_never_left_waits_as_before() -> None:
    held = table()
    add(held, "a")
    add(held, "b")
    sent = held.next_frame(0, 0)
    assert sent is not None
    add(held, "c")
    held.not_sent(sent)
    assert names(held) == (3, ["a", "b", "c"])
    assert held.answered(1) is None
    (given_up, *_) = held.give_up(WAIT_MS)
    assert given_up.sends == [3]


def test_requests_given_up_make_room_for_those_behind_them() -> None:
    held = table()
    add(held, "hasty", wait_ms=500)
    names(held)
    add(held, "patient")
    assert not held.has_work(0)
    held.give_up(500)
    assert names(held, 500) == (2, ["patient"])


def test_one_long_wait_does_not_keep_the_requests_that_were_answered() -> None:
    held = table(in_flight_max=9)
    add(held, "stuck")
    assert names(held) == (1, ["stuck"])
    for number in range(2, 10_000):
        add(held, "quick")
        names(held)
        held.answered(number)
    assert len(held) == 1
    assert len(held._by_wait_ms[WAIT_MS]) < 2_000  # noqa: SLF001  # nothing may pile up


def test_a_request_is_given_up_at_its_own_deadline() -> None:
    held = table()
    add(held, "patient", wait_ms=2_000)
    add(held, "hasty", wait_ms=500)
    names(held)
    held.keep_time(LANDED_AFTER_MS)
    assert held.next_deadline_ms() == 500
    assert [request.waiter for request in held.give_up(499)] == []
    assert [request.waiter for request in held.give_up(500)] == ["hasty"]
    assert [request.waiter for request in held.give_up(2_000)] == ["patient"]
    assert len(held) == 0


def test_a_request_given_up_before_it_was_sent_is_never_sent() -> None:
    held = table()
    add(held, "out")
    names(held)
    add(held, "late", wait_ms=100)
    (given_up,) = held.give_up(100)
    assert given_up.sends == []
    held.answered(1)
    assert names(held) is None


def test_a_frame_holds_no_more_than_its_limit() -> None:
    held = table(in_flight_max=9)
    for number in range(COMMAND_FRAME_COMMANDS_MAX + 1):
        add(held, f"a{number}")
    sizes = [len(frame.commands) for frame in frames(held)]
    assert sizes == [COMMAND_FRAME_COMMANDS_MAX, 1]


def frames(held: HeldRequests[str], now_ms: int = 0) -> Iterator[CommandFrame]:
    while (sent := held.next_frame(0, now_ms)) is not None:
        yield sent.frame


@given(
    st.lists(st.sampled_from(["add", "send", "answer", "wait"]), max_size=80),
    st.integers(0, 2**32),
)
@settings(max_examples=200)
def test_every_request_ends_exactly_once_and_nothing_is_kept(steps: list[str], seed: int) -> None:
    held, now, chance = table(in_flight_max=2), 0, Random(seed)
    added, ended, sent = 0, [], 0
    for step in [*steps, *["wait"] * 300]:
        match step:
            case "add":
                added += 1
                add(held, str(added), now)
            case "send":
                frame = next(frames(held, now), None)
                if frame is not None:
                    sent = frame.first_number + len(frame.commands) - 1
            case "answer":
                number = chance.randint(1, sent + 1)
                answered = held.answered(number)
                ended += [answered.waiter] if answered else []
            case _:
                now += chance.choice([LANDED_AFTER_MS, 700])
                held.keep_time(now)
                ended += [request.waiter for request in held.give_up(now)]
    assert sorted(ended, key=int) == [str(number) for number in range(1, added + 1)]
    assert len(held) == 0
    assert held._sent == {}  # noqa: SLF001  # nothing may leak
