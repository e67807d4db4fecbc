"""What changed on accounts, by adding up what the events of a journal did."""

from __future__ import annotations

from contracts.changes import Change, Direction
from contracts.queries import AccountAnswer, AccountChanges, ChangesAnswer, ChangesQuery
from tests.reader.books import Books


def changes(books: Books, account_id: str, after: int, tip: int) -> list[Change]:
    """Those behind a sequence, the oldest first."""
    return [each for each in all_changes(books, tip) if each.account_id == account_id][
        sum(
            each.fact.sequence <= after and bool(each.posted or each.held)
            for each in books.changes_of(account_id, tip)
        ) :
    ]


def all_changes(books: Books, tip: int) -> list[Change]:
    """Of all accounts; of one event the payer's first."""
    made = []
    posted: dict[str, int] = {}
    held: dict[str, int] = {}
    for each in books.changes(tip):
        if not each.posted and not each.held:
            continue
        account_id = each.account_id
        posted[account_id] = posted.get(account_id, 0) + each.posted
        held[account_id] = held.get(account_id, 0) + each.held
        if each.posted:
            direction = Direction.CREDIT if each.posted > 0 else Direction.DEBIT
        else:
            direction = Direction.HOLD if each.held > 0 else Direction.RELEASE
        made.append(
            Change(
                account_id,
                each.fact.sequence,
                each.fact.at_ms,
                posted[account_id],
                held[account_id],
                each.transaction_id,
                abs(each.posted or each.held),
                direction,
            )
        )
    return made


def changes_answer(books: Books, query: ChangesQuery, *, tip: int, tip_ms: int) -> ChangesAnswer:
    """What a reader at the tip must say, if all fits in one answer."""
    accounts: list[AccountChanges | None] = []
    for mark in query.marks:
        now = books.account(mark.account_id, tip, tip=tip)
        if not isinstance(now, AccountAnswer):
            accounts.append(None)
            continue
        after = mark.after_sequence
        found = None if after is None else changes(books, mark.account_id, after, tip)
        if found is not None and len(found) > query.limit:
            found = None
        accounts.append(
            AccountChanges(
                now.currency,
                now.overdraft_limit_minor,
                now.posted_minor,
                now.held_minor,
                tip if after is None or found is None else min(after, tip),
                found or [],
            )
        )
    return ChangesAnswer(0, tip, tip_ms, accounts)
