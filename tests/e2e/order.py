"""Whether what clients were told fits one order: linearizability of each account, and more.

The wallet claims an order itself: every answer and every entry names its partition and sequence.
So no order is searched for. The claimed one must be one (no sequence twice), must explain every
answer (balances are the sum of the entries up to their sequence), and must agree with real time:
what was told before something else was asked for has the lower sequence. That is checked per
partition, which holds many accounts, in the time of a sort.

What is promised of a read: the state at the sequence that it names. A plain read may be old, as
each reader follows at its own pace, but never from the future. One with `min_sequence` is at least
that new; the clients ask for the newest sequence that any of them was told, which makes it
linearizable.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from tests.e2e.history import NEVER, History, Interval, Line, Read, Statement, Transfer

Step = tuple[float, float]


def violations(history: History) -> list[str]:
    """Everything that fits no order; empty if all is well."""
    return [
        *(text for name, each in history.statements.items() for text in _sums(name, each)),
        *_movements(history),
        *(text for transfer in history.transfers.values() for text in _answer(history, transfer)),
        *(text for read in history.reads for text in _shown(history, read)),
        *(text for events in _events(history).values() for text in _real_time(events)),
        *_fresh_reads(history),
        *_no_foresight(history),
        *_refusals(history),
    ]


def stale_reads(history: History) -> list[Read]:
    """The plain reads that were older than what somebody had been told: allowed, good to know."""
    newest = _newest_told(history)
    return [
        read
        for read in history.reads
        if read.demanded is None and read.sequence < _up_to(newest[read.partition], read.at.asked_s)
    ]


# --- statements ---


def _sums(account: str, statement: Statement) -> Iterator[str]:
    """Sequences rise, each balance is the sum so far, and no limit is exceeded."""
    balance_minor = last = 0
    for line in statement.lines:
        balance_minor += line.amount_minor
        if line.sequence <= last:
            yield f"{account}: entry {line.sequence} comes after {last}"
        if line.balance_minor != balance_minor:
            yield f"{account}: balance {line.balance_minor} at {line.sequence}, not {balance_minor}"
        if line.amount_minor < 0 and balance_minor < -statement.overdraft_minor:
            yield f"{account}: below its limit at {line.sequence}"
        last = line.sequence


def _movements(history: History) -> Iterator[str]:
    """Each transfer moved what its client was told, once, and nothing else moved anything."""
    moved: dict[tuple[str, str], list[int]] = defaultdict(list)
    for account, statement in history.statements.items():
        for line in statement.lines:
            moved[account, line.transaction_id].append(line.amount_minor)
    for transfer in history.transfers.values():
        amount = transfer.amount_minor
        out = moved.pop((transfer.payer, transfer.transaction_id), [])
        into = moved.pop((transfer.payee, transfer.transaction_id), [])
        is_done, is_undone = (out, into) == ([-amount], [amount]), not sum(out) and not into
        told = transfer.told
        if not (is_done or (is_undone and out in ([], [-amount, amount]))):
            yield f"{transfer.name}: {amount} moved as {out} and {into}"
        elif told is not None and told.is_accepted != is_done:
            yield f"{transfer.name}: told {told}, but moved {out} and {into}"
    for name, amounts in moved.items():
        yield f"{name}: {amounts} was moved, and nobody asked for it"


# --- answers ---


def _balance_at(statement: Statement, sequence: int) -> int:
    at = bisect_right(statement.lines, sequence, key=_sequence)
    return statement.lines[at - 1].balance_minor if at else 0


def _sequence(line: Line) -> int:
    return line.sequence


def _answer(history: History, transfer: Transfer) -> Iterator[str]:
    """The balance that a payer was told is that of its account at the sequence that it was told."""
    told = transfer.told
    if told is None or not told.is_accepted:
        return
    statement = history.statements[transfer.payer]
    if told.partition != statement.partition:
        yield f"{transfer.name}: told partition {told.partition}, not {statement.partition}"
    balance_minor = _balance_at(statement, told.sequence)
    if balance_minor != told.balance_minor:
        yield f"{transfer.name}: told {told.balance_minor} at {told.sequence}, not {balance_minor}"


def _shown(history: History, read: Read) -> Iterator[str]:
    """A read shows the account at its sequence, which is no earlier than was demanded."""
    balance_minor = _balance_at(history.statements[read.account], read.sequence)
    if balance_minor != read.balance_minor:
        yield f"{read}: the balance at that sequence is {balance_minor}"
    if read.demanded is not None and read.sequence < read.demanded:
        yield f"{read}: older than was demanded"


# --- real time ---


class _Event:
    """Something that a transfer did at a sequence: its outcome, its debit or its credit."""

    def __init__(self, sequence: int, transfer: Transfer) -> None:
        self.sequence = sequence
        self.transfer = transfer

    @property
    def at(self) -> Interval:
        return self.transfer.at


def _events(history: History) -> dict[int, list[_Event]]:
    """By partition, in the order of their sequences."""
    by_id = {
        (account, transfer.transaction_id): transfer
        for transfer in history.transfers.values()
        for account in (transfer.payer, transfer.payee)
    }
    events: dict[int, list[_Event]] = defaultdict(list)
    for transfer in history.transfers.values():
        if transfer.told is not None and transfer.told.sequence > 0:
            events[transfer.told.partition].append(_Event(transfer.told.sequence, transfer))
    for account, statement in history.statements.items():
        for line in statement.lines:
            cause = by_id.get((account, line.transaction_id))
            if cause is not None:
                events[statement.partition].append(_Event(line.sequence, cause))
    for found in events.values():
        found.sort(key=lambda event: event.sequence)
    return events


def _real_time(events: list[_Event]) -> Iterator[str]:
    """No sequence belongs to two transfers, and none asked for later has a lower one."""
    latest = before = events[0]
    for event in events[1:]:
        if event.sequence == before.sequence and event.transfer is not before.transfer:
            yield f"{event.transfer.name} and {before.transfer.name} both at {event.sequence}"
        if event.at.told_s < latest.at.asked_s:
            yield (
                f"{event.transfer.name} at {event.sequence} was told before {latest.transfer.name}"
                f" at {latest.sequence} was asked for"
            )
        before = event
        latest = max(latest, event, key=lambda each: each.at.asked_s)


def _fresh_reads(history: History) -> Iterator[str]:
    """A demanding read is no older than anything told in its partition before it was asked for."""
    newest = _newest_told(history)
    for read in history.reads:
        known = _up_to(newest[read.partition], read.at.asked_s)
        if read.demanded is not None and read.sequence < known:
            yield f"{read}: somebody was told sequence {known} before it was asked for"


def _no_foresight(history: History) -> Iterator[str]:
    """No read shows what was asked for only after it was told."""
    asked = {
        partition: _running_max([(event.sequence, event.at.asked_s) for event in events])
        for partition, events in _events(history).items()
    }
    for read in history.reads:
        if _up_to(asked.get(read.partition, []), read.sequence) > read.at.told_s:
            yield f"{read}: shows what had not been asked for"


def _newest_told(history: History) -> dict[int, list[Step]]:
    """By partition: until when which sequence was the newest that anybody was told.

    A refusal's answer names none: that one is known from its record only, and later.
    """
    told: dict[int, list[Step]] = defaultdict(list)
    for transfer in history.transfers.values():
        outcome = transfer.told
        if outcome is not None and outcome.is_accepted and transfer.at.told_s < NEVER:
            told[outcome.partition].append((transfer.at.told_s, outcome.sequence))
    for read in history.reads:
        told[read.partition].append((read.at.told_s, read.sequence))
    return {partition: _running_max(steps) for partition, steps in told.items()}


def _running_max(steps: list[Step]) -> list[Step]:
    """Sorted by the first member, with the greatest second member so far."""
    steps = sorted(steps)
    highest = accumulate((second for _, second in steps), max)
    return [(first, most) for (first, _), most in zip(steps, highest, strict=True)]


def _up_to(steps: list[Step], first: float) -> float:
    at = bisect_right(steps, first, key=lambda step: step[0])
    return steps[at - 1][1] if at else 0


# --- refusals ---


def _refusals(history: History) -> Iterator[str]:
    """Funds were insufficient only if what the payer had, less what may have been held, was."""
    newest = _newest_told(history)
    by_payer: dict[str, list[Transfer]] = defaultdict(list)
    for transfer in history.transfers.values():
        by_payer[transfer.payer].append(transfer)
    for payer, transfers in by_payer.items():
        statement = history.statements[payer]
        for transfer in transfers:
            told = transfer.told
            if told is None or told.reason != "insufficient_funds" or told.sequence < 0:
                continue
            known = _up_to(newest.get(told.partition, []), transfer.at.asked_s)
            had_minor = _least(statement, int(known), told.sequence) + statement.overdraft_minor
            if had_minor - _held_at_most(transfers, transfer) >= transfer.amount_minor:
                yield f"{transfer.name}: refused at {told.sequence}, where {had_minor} was there"


def _least(statement: Statement, first: int, last: int) -> int:
    """The smallest balance from one sequence to another: a step is refused before the outcome."""
    start = bisect_right(statement.lines, first, key=_sequence)
    end = bisect_right(statement.lines, last, key=_sequence)
    within = [line.balance_minor for line in statement.lines[start:end]]
    return min([_balance_at(statement, first), *within])


def _held_at_most(transfers: list[Transfer], refused: Transfer) -> int:
    """What all of a payer's transfers that were under way at the same time may have set aside."""
    return sum(
        other.amount_minor
        for other in transfers
        if other is not refused
        and other.at.asked_s <= refused.at.told_s
        and other.at.told_s >= refused.at.asked_s
    )
