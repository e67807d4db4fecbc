"""What a series of runs reached, for people to read."""

from collections import Counter
from collections.abc import Iterable, Iterator

from simulation.cases import NEEDED
from simulation.run import Outcome

SEEDS_THAT_MUST_REACH_ALL: int = 200
"""A shorter series need not have reached every hard case."""


class Totals:
    """Sums over the outcomes of many seeds."""

    def __init__(self) -> None:
        self.seeds = 0
        self.virtual_s = 0.0
        self.answers = 0
        self.questions = 0
        self.faults = Counter[str]()
        self.cases = Counter[str]()
        self.outcomes = Counter[str]()
        self.failed: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Count one seed."""
        self.seeds += 1
        self.virtual_s += outcome.virtual_s
        self.answers += outcome.answers
        self.questions += outcome.questions
        self.faults.update(outcome.faults)
        self.cases.update(outcome.cases)
        self.outcomes.update(outcome.outcomes)
        if outcome.failure is not None:
            self.failed.append(outcome)

    @property
    def never_reached(self) -> list[str]:
        """Hard cases that this series should have reached and did not."""
        if self.seeds < SEEDS_THAT_MUST_REACH_ALL:
            return []
        return [case for case in NEEDED if not self.cases[case]]

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed and nothing was missed."""
        return not self.failed and not self.never_reached

    def lines(self) -> Iterator[str]:
        """The report."""
        yield f"{self.seeds} seeds, {self.virtual_s / 3_600:.1f} simulated hours"
        yield f"{self.answers} answers to clients and {self.questions} of readers, all as predicted"
        yield from _table("outcomes of transfers", self.outcomes)
        yield from _table("faults", self.faults)
        yield from _table("hard cases", self.cases, NEEDED)
        for case in self.never_reached:
            yield f"NEVER REACHED: {case}"
        for outcome in self.failed:
            yield f"FAILED: seed {outcome.seed}: {(outcome.failure or '').splitlines()[-1]}"


def _table(title: str, counts: Counter[str], also: Iterable[str] = ()) -> Iterator[str]:
    yield f"{title}:"
    for name in sorted({*counts, *also}):
        yield f"  {counts[name]:>9} {name}"
