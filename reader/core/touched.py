"""What the rows of a group add up to: how each account stands after it, and what came in."""

from collections.abc import Iterator
from typing import NamedTuple

from reader.core.rows import Group


class Touched(NamedTuple):
    """An account that has entries in a group."""

    number: int
    posted_minor: int
    """After its newest entry."""
    newest_sequence: int
    entries: int
    """How many it has in the group."""
    inflow_minor: int | None
    """What came from other partitions, less what went there; None if nothing did."""


def touched_accounts(group: Group) -> list[Touched]:
    """In no order. Transfers and steps come in the order of their sequences, each by itself."""
    found: dict[int, Touched] = {}
    for number, sequence, balance_minor, inflow_minor in _entries(group):
        before = found.get(number)
        if before is None:
            found[number] = Touched(number, balance_minor, sequence, 1, inflow_minor)
            continue
        is_newer = sequence > before.newest_sequence
        found[number] = Touched(
            number,
            balance_minor if is_newer else before.posted_minor,
            sequence if is_newer else before.newest_sequence,
            before.entries + 1,
            _sum(before.inflow_minor, inflow_minor),
        )
    return list(found.values())


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first + (second or 0)


def _entries(group: Group) -> Iterator[tuple[int, int, int, int | None]]:
    """Give (account, sequence, balance_minor, inflow_minor)."""
    for sequence, _, payer, payee, _, _, payer_minor, payee_minor, _, _ in group.transfers:
        yield payer, sequence, payer_minor, None
        yield payee, sequence, payee_minor, None
    for step in group.steps:
        if step.moved_minor:
            yield step.account, step.sequence, step.balance_minor, step.moved_minor
