"""The tables of the four ways, looked at as tables."""

from contracts.coordination import Step
from tests.writer.world import COORDINATED
from writer.core.coordination import FINAL, GIVING_UP, MOVES, WAYS, SideState


def test_every_phase_leads_to_the_end_and_every_step_is_asked_for() -> None:
    for way in COORDINATED:
        lifecycle = WAYS[way].lifecycle
        assert lifecycle is not None
        ends = {lifecycle.finished}
        while True:
            more = {
                phase
                for (phase, _, _), then in lifecycle.transitions.items()
                if then in ends and phase not in ends
            }
            if not more:
                break
            ends |= more
        assert set(lifecycle.awaits) | {lifecycle.finished} == ends
        for phase, steps in lifecycle.awaits.items():
            for step in steps:
                assert (phase, step, True) in lifecycle.transitions
                refusable = (
                    any(move.may_be_refused for (_, each), move in MOVES.items() if each is step)
                    or step is Step.CONFIRM_DEBIT
                )
                assert ((phase, step, False) in lifecycle.transitions) == refusable


def test_every_side_that_is_begun_can_end_both_ways() -> None:
    for move in MOVES.values():
        if move.to not in FINAL:
            ends = {after.to for (state, _), after in MOVES.items() if state is move.to}
            no_return = move.to is SideState.CAPTURED
            assert ends & FINAL == ({SideState.DONE} if no_return else set(FINAL) & ends)
            assert SideState.UNDONE in ends or no_return
    assert Step.REFUND in GIVING_UP
