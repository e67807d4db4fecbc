"""Tells what changed on an account since a sequence, from the rows in memory and in the store."""

from collections.abc import Sequence

from contracts.limits import CHANGES_ANSWER_CHANGES_MAX
from contracts.queries import AccountChanges, Mark
from reader.core.accounts import Account
from reader.core.changes import change_of, merged
from reader.core.rows import EntryRow, StepRow
from reader.service.history import History

Marked = tuple[Mark, Account | None]
"""What is asked, and the account at the tip; None if it was never opened."""


def changed_accounts(
    history: History | None, marked: Sequence[Marked], tip: int, limit: int
) -> list[AccountChanges | None]:
    """One after the other, as many as fit in an answer. Without a history no change is told."""
    found: list[AccountChanges | None] = []
    changes = 0
    for mark, account in marked:
        if found and changes + limit > CHANGES_ANSWER_CHANGES_MAX:
            break
        if account is None:
            found.append(None)
            continue
        changed = _changed_account(history, mark, account, tip, limit)
        changes += len(changed.changes)
        found.append(changed)
    return found


def _changed_account(
    history: History | None, mark: Mark, account: Account, tip: int, limit: int
) -> AccountChanges:
    after, changes = mark.after_sequence, None
    rows: list[EntryRow] | None = None
    if history is not None and after is not None:
        held = history.held_after(account.number, after, limit + 1)
        held = {sequence: held_minor for sequence, held_minor in held.items() if sequence <= tip}
        rows = _changing_rows(history, account, after, held, limit)
        if rows:
            held_minor, changes = history.held_at(account.number, after), []
            for row in rows:
                held_minor = held.get(row.sequence, held_minor)
                changes.append(change_of(row, account.number, mark.account_id, held_minor))
    return AccountChanges(
        currency=account.currency,
        overdraft_limit_minor=account.overdraft_limit_minor,
        posted_minor=account.posted_minor,
        held_minor=account.held_minor,
        complete_after=tip if rows is None or after is None else min(after, tip),
        changes=changes or [],
    )


def _changing_rows(
    history: History, account: Account, after: int, held: dict[int, int], limit: int
) -> list[EntryRow] | None:
    """The rows behind a sequence that changed an account; None if they are too many."""
    entries = history.entries_after(account.number, account.newest_sequence, after, limit)
    if entries is None:
        return None
    held_only = sorted(held.keys() - {row.sequence for row in entries})
    if len(entries) + len(held_only) > limit:
        return None
    return list(merged(entries, [_step(history, sequence) for sequence in held_only]))


def _step(history: History, sequence: int) -> StepRow:
    row = history.row(sequence)
    assert isinstance(row, StepRow), f"sequence {sequence} changed what is held"
    return row
