"""Turns: who may append when, with futures for the frames that are out."""

import asyncio

from broker.port import AppendUnknown
from writer.service.turns import Turns

Frame = asyncio.Future[int]


async def test_who_comes_in_one_turn_of_the_loop_leaves_together() -> None:
    turns, out = Turns(), []

    async def append() -> None:
        await turns.join()
        out.append(_send(turns))

    appends = [asyncio.create_task(append()) for _ in range(3)]
    await _let_others_run()
    assert len(out) == 3
    await asyncio.gather(*appends)


async def test_who_comes_later_waits_until_all_frames_have_landed() -> None:
    turns = Turns()
    first, second = _send(turns), _send(turns)
    await _let_others_run()
    late = asyncio.create_task(turns.join())
    first.set_result(1)
    await _let_others_run()
    assert not late.done()
    second.set_exception(AppendUnknown("no answer"))
    await _let_others_run()
    assert late.done()


async def test_a_frame_that_is_given_up_holds_up_nobody() -> None:
    turns = Turns()
    _send(turns).cancel()
    await _let_others_run()
    await turns.join()


async def test_a_frame_that_stalls_holds_up_one_turn() -> None:
    turns = Turns()
    stalled = _send(turns)
    await _let_others_run()
    async with asyncio.timeout(10):
        await turns.join()
    for _ in range(3):
        frame = _send(turns)
        await _let_others_run()
        joining = asyncio.create_task(turns.join())
        frame.set_result(1)
        await _let_others_run()
        assert joining.done(), "nobody waits for the stalled frame again"
    stalled.cancel()


def _send(turns: Turns) -> Frame:
    frame: Frame = asyncio.get_running_loop().create_future()
    turns.sent(frame)
    return frame


async def _let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
