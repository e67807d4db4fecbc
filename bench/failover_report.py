"""What clients noticed of kills: the longest waits around each, and the table of all."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.failover_clients import KINDS, Waited
from bench.report import table
from bench.settings import BenchError

AFTER_S: Final = 3.0
HEAD: Final = (
    "killed",
    "times",
    "takeover (ms)",
    *(f"{kind} (ms)" for kind in KINDS),
    "what clients met besides",
)


@dataclass(frozen=True)
class Kill:
    """What clients noticed of one kill."""

    victim: str
    longest_ms: dict[str, float]
    """By kind the longest that a client waited."""
    met: dict[str, int]
    takeover_ms: float | None = None
    """Until all that it led was led again; None: it led nothing."""


def noticed(
    waited: Sequence[Waited], victim: str, died_s: float, takeover_s: float | None = None
) -> Kill:
    """Look at all that was under way when a victim died, or was started within AFTER_S of it."""
    touched = [each for each in waited if each.known_s > died_s and each.asked_s < died_s + AFTER_S]
    if {each.kind for each in touched} != set(KINDS):
        raise BenchError(f"something was not asked for at all when the {victim} was killed")
    return Kill(
        victim=victim,
        longest_ms={kind: _longest_ms(touched, kind) for kind in KINDS},
        met=dict(Counter(met for each in touched for met in each.met)),
        takeover_ms=None if takeover_s is None else round(1000 * takeover_s, 1),
    )


def _longest_ms(waited: Iterable[Waited], kind: str) -> float:
    return round(1000 * max(each.known_s - each.asked_s for each in waited if each.kind == kind), 1)


def failover_table(kills: Sequence[Kill], victims: Iterable[str]) -> str:
    """One row per victim: of the longest waits at its kills the median / the worst."""
    return table(
        HEAD, [_row(victim, [k for k in kills if k.victim == victim]) for victim in victims]
    )


def _row(victim: str, kills: Sequence[Kill]) -> tuple[str, ...]:
    met = sum((Counter(kill.met) for kill in kills), Counter[str]())
    besides = ", ".join(f"{what}: {count}" for what, count in sorted(met.items()))
    waits = (_middle_and_worst([kill.longest_ms[kind] for kill in kills]) for kind in KINDS)
    takeovers = [kill.takeover_ms for kill in kills if kill.takeover_ms is not None]
    takeover = _middle_and_worst(takeovers) if takeovers else ""
    return victim, str(len(kills)), takeover, *waits, besides or "nothing"


def _middle_and_worst(longest_ms: Sequence[float]) -> str:
    return f"{statistics.median(longest_ms):.0f} / {max(longest_ms):.0f}"
