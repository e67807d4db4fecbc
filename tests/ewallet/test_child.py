"""How a child's death is judged; what happens then is in test_supervision."""

import pytest

from ewallet.child import RESTART_DELAY_S_MAX, exit_reason, restart_delay_s


@pytest.mark.parametrize(
    ("early_deaths", "delay_s"), [(0, 0.0), (1, 0.0), (2, 0.1), (3, 0.2), (4, 0.4), (7, 3.2)]
)
def test_first_restart_is_immediate_and_the_next_ones_wait(
    early_deaths: int, delay_s: float
) -> None:
    assert restart_delay_s(early_deaths) == pytest.approx(delay_s)


@pytest.mark.parametrize("early_deaths", [8, 100, 10_000])
def test_delay_is_bounded(early_deaths: int) -> None:
    assert restart_delay_s(early_deaths) == RESTART_DELAY_S_MAX


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-200, "was killed by signal 200"),
    ],
)
def test_exit_is_told_in_words(code: int, reason: str) -> None:
    assert exit_reason(code) == reason
