"""Watching, told frame by frame, and what its listeners are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from contracts.changes import Change, ChangeFrame, Direction
from contracts.partitioning import SlotMap
from contracts.queries import AccountChanges, ChangesAnswer
from proxy.core.watch import Ask, Changed, Refused, Standing, Told
from proxy.core.watching import Watching
from tests.proxy.test_watching import asked


def watched(*frames: ChangeFrame) -> Watching[str]:
    watching: Watching[str] = Watching("p", SlotMap.even(1))
    for frame in frames:
        assert not list(watching.take(frame))
    return watching


def frame(after: int, tip: int, *changes: Change, version: int = 1) -> ChangeFrame:
    return ChangeFrame(0, after, tip, {"p": version}, list(changes))


def change(sequence: int, account_id: str = "ann") -> Change:
    return Change(account_id, sequence, sequence, sequence, 0, "t", 1, Direction.CREDIT)


def stood(sequence: int) -> ChangesAnswer:
    return ChangesAnswer(0, sequence, 1, [AccountChanges("USD", 0, 5, 0, sequence, [])])


def news_of(told: Iterable[Told[str]]) -> Iterator[tuple[list[str], str, int]]:
    for listeners, news in told:
        match news:
            case Changed(change=found):
                yield listeners, "change", found.sequence
            case Standing():
                yield listeners, "conflated" if news.is_conflated else "stands", news.sequence
            case Refused():
                yield listeners, "refused", news.missing


def live(listener: str = "one") -> Watching[str]:
    """Ann stands at 10 and is watched."""
    watching = watched()
    assert watching.subscribe(listener, "ann", None) == []
    assert list(watching.take(frame(10, 10))) == []
    asks = asked(watching)
    assert asks == [Ask("ann", None, 10)]
    told = list(news_of(watching.answered(0, asks, stood(10))))
    assert told == [([listener], "stands", 10)]
    return watching
