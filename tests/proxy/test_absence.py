"""An absent queue: noticed at once, given up after what a failover takes at most."""

from contracts.limits import ABSENCE_MS_MAX
from proxy.core.absence import Absence


def test_an_absence_counts_from_when_it_was_noticed_until_somebody_takes_something() -> None:
    absence = Absence()
    assert not absence.is_noticed
    assert not absence.not_taken(5)
    assert absence.is_noticed
    assert not absence.not_taken(5 + ABSENCE_MS_MAX - 1)
    assert absence.not_taken(5 + ABSENCE_MS_MAX)
    absence.taken()
    assert not absence.is_noticed
    assert not absence.not_taken(5 + ABSENCE_MS_MAX)
