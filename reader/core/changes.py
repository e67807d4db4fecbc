"""Changes of accounts, out of the rows that events have left.

The same change is made of a row when its event is projected and whenever it is asked for later.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from heapq import merge
from operator import attrgetter, itemgetter

from contracts.changes import Change, Direction
from contracts.coordination import Step
from reader.core.accounts import Accounts
from reader.core.listening import Listening
from reader.core.rows import EntryRow, Group, StepRow, TransferRow

_first = itemgetter(0)
_sequence = attrgetter("sequence")


def change_of(row: EntryRow, account: int, account_id: str, held_minor: int) -> Change:
    """What a row did to one of its accounts, which then held so much."""
    amount_minor, direction = row.amount_minor, Direction.CREDIT
    if isinstance(row, TransferRow):
        if account == row.payer:
            direction = Direction.DEBIT
    elif row.moved_minor:
        amount_minor = abs(row.moved_minor)
        if row.moved_minor < 0:
            direction = Direction.DEBIT
    else:
        direction = Direction.HOLD if row.step == Step.TRY_DEBIT else Direction.RELEASE
    return Change(
        account_id,
        row.sequence,
        row.at_ms,
        row.balance_of(account),
        held_minor,
        row.transaction_id,
        amount_minor,
        direction,
    )


class Mark:
    """Where in the pending group the rows of a frame begin."""

    __slots__ = ("first_sequence", "steps", "transfers")

    def __init__(self, pending: Group, first_sequence: int) -> None:
        """Taken before the frame that begins with this sequence is projected."""
        self.transfers = len(pending.transfers)
        self.steps = len(pending.steps)
        self.first_sequence = first_sequence


def changes_since(
    mark: Mark, pending: Group, accounts: Accounts, listening: Listening
) -> list[Change]:
    """The changes of the listened accounts that the frame behind a mark has made, in order.

    The pending group must still be the one of the mark.
    """
    held = _Held(pending, accounts, mark.first_sequence)
    transfers = _of_transfers(mark, pending, accounts, listening, held)
    if mark.steps == len(pending.steps):
        return list(transfers)
    steps = _of_steps(mark, pending, accounts, listening, held)
    return list(merge(transfers, steps, key=_sequence))


def _of_transfers(
    mark: Mark, pending: Group, accounts: Accounts, listening: Listening, held: "_Held"
) -> Iterator[Change]:
    # Paid for by every transfer while somebody listens: most are nobody's.
    ids, includes = accounts.ids, listening.includes
    transfers = pending.transfers
    for at in range(mark.transfers, len(transfers)):
        fields = transfers[at]
        payer, payee = fields[2], fields[3]
        for account in (payer, payee):
            if includes(ids[account]):
                row = TransferRow._make(fields)
                yield change_of(row, account, ids[account], held.at(account, row.sequence))


def _of_steps(
    mark: Mark, pending: Group, accounts: Accounts, listening: Listening, held: "_Held"
) -> Iterator[Change]:
    for row in pending.steps[mark.steps :]:
        account = row.account
        if account < 0 or not listening.includes(accounts.ids[account]):
            continue
        if row.moved_minor or held.changed_at(account, row.sequence):
            held_minor = held.at(account, row.sequence)
            yield change_of(row, account, accounts.ids[account], held_minor)


class _Held:
    """What accounts held at the sequences of a frame that is projected by now."""

    def __init__(self, pending: Group, accounts: Accounts, first_sequence: int) -> None:
        self._pending = pending
        self._accounts = accounts
        self._first_sequence = first_sequence

    def changed_at(self, account: int, sequence: int) -> bool:
        """Whether that event held more or less."""
        changes = self._pending.held.get(account, ())
        at = bisect_right(changes, sequence, key=_first)
        return at > 0 and changes[at - 1][0] == sequence

    def at(self, account: int, sequence: int) -> int:
        """What an account held after one of the frame's sequences, in minor units."""
        changes = self._pending.held.get(account)
        if not changes or changes[-1][0] <= sequence:
            return self._accounts.held[account]
        at = bisect_right(changes, sequence, key=_first)
        return changes[at - 1][1] if at else self._before(changes[0])

    def _before(self, change: tuple[int, int]) -> int:
        """What was held before the pending group's first change, which is in this frame then."""
        sequence, held_minor = change
        steps = self._pending.steps
        row = steps[bisect_right(steps, sequence, key=_first) - 1]
        assert row.sequence == sequence >= self._first_sequence, "a step changed what is held"
        placed = row.step == Step.TRY_DEBIT
        return held_minor - row.amount_minor if placed else held_minor + row.amount_minor


def merged(entries: Iterable[EntryRow], held_only: Iterable[StepRow]) -> Iterator[EntryRow]:
    """Rows that changed an account, each given in the order of sequences, in one order."""
    return merge(entries, held_only, key=_sequence)
