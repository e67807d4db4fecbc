"""What readers would answer from the books in memory."""

from __future__ import annotations

from bisect import bisect_right

from contracts.coordination import CREDIT_STEPS, Coordination
from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    Answer,
    CreditStepsAnswer,
    CreditStepsQuery,
    EntriesAnswer,
    EntriesQuery,
    Missing,
    NotFound,
    TransferAnswer,
    TransferQuery,
    UnfinishedAnswer,
    UnfinishedTransfer,
)
from proxy.ports import AccountsQuery
from tests.proxy.memory_books import Account, Books, Known


def answer(books: Books, query: AccountsQuery) -> Answer:
    """What a reader of the account's partition says."""
    if isinstance(query, TransferQuery):
        return _recorded(books, query)
    if isinstance(query, CreditStepsQuery):
        return _credit_steps(books, query)
    partition = books.partition_of(query.account_id)
    tip = len(books.times[partition])
    demanded = query.min_sequence
    if isinstance(query, AccountQuery):
        demanded = max(demanded, query.at_sequence or 0)
    if demanded > tip:
        return NotFound(partition, tip, Missing.SEQUENCE)
    account = books.accounts.get(query.account_id)
    if account is None:
        return NotFound(partition, tip, Missing.ACCOUNT)
    if isinstance(query, AccountQuery):
        return _account_answer(query, account, partition, books.times[partition])
    return _entries_answer(query, account, partition, tip)


def _recorded(books: Books, query: TransferQuery) -> Answer:
    partition = books.partition_of(query.from_account_id)
    known = books.transfers.get((query.from_account_id, query.transaction_id))
    if known is None:
        return NotFound(partition, len(books.times[partition]), Missing.TRANSFER)
    decided = known.result or known.started
    assert decided is not None
    is_between = known.started is not None
    return TransferAnswer(
        partition=partition,
        sequence=decided.sequence,
        at_ms=decided.at_ms,
        to_account_id=known.command.to_account_id,
        amount_minor=known.command.amount_minor,
        currency=known.command.currency,
        rejection=decided.rejection,
        balance_minor=decided.balance_minor,
        coordination=known.command.coordination if is_between else Coordination.NONE,
        is_finished=known.result is not None,
        steps=[step for step in known.steps if step.step not in CREDIT_STEPS],
    )


def _credit_steps(books: Books, query: CreditStepsQuery) -> Answer:
    partition = books.partition_of(query.to_account_id)
    known = books.transfers.get((query.from_account_id, query.transaction_id))
    steps = known.steps if known else []
    return CreditStepsAnswer(
        partition=partition,
        sequence=len(books.times[partition]),
        steps=[step for step in steps if step.step in CREDIT_STEPS],
    )


def unfinished(books: Books, partition: int, limit: int) -> UnfinishedAnswer:
    """What a reader of a partition says of the transfers under way there."""
    under_way = [
        _unfinished(known)
        for known in books.transfers.values()
        if known.result is None and books.partition_of(known.command.from_account_id) == partition
    ]
    times = books.times[partition]
    return UnfinishedAnswer(
        partition=partition,
        sequence=len(times),
        at_ms=times[-1] if times else 0,
        count=len(under_way),
        transfers=under_way[:limit],
    )


def _unfinished(known: Known) -> UnfinishedTransfer:
    assert known.started is not None
    command = known.command
    return UnfinishedTransfer(
        from_account_id=command.from_account_id,
        to_account_id=command.to_account_id,
        amount_minor=command.amount_minor,
        currency=command.currency,
        transaction_id=command.transaction_id,
        coordination=command.coordination,
        started_sequence=known.started.sequence,
        started_at_ms=known.started.at_ms,
        last_step=None,
    )


def _account_answer(
    query: AccountQuery, account: Account, partition: int, times: list[int]
) -> Answer:
    sequence = len(times) if query.at_sequence is None else query.at_sequence
    if query.at_ms is not None:
        sequence = bisect_right(times, query.at_ms)
    if sequence < account.opened_sequence:
        return NotFound(partition, len(times), Missing.MOMENT)
    return AccountAnswer(
        partition=partition,
        sequence=sequence,
        at_ms=times[sequence - 1],
        currency=account.opening.currency,
        overdraft_limit_minor=account.opening.overdraft_limit_minor,
        posted_minor=account.posted(sequence),
        held_minor=0,
    )


def _entries_answer(query: EntriesQuery, account: Account, partition: int, tip: int) -> Answer:
    before = query.before_sequence
    older = [e for e in reversed(account.entries) if before is None or e.sequence < before]
    page = older[: query.limit]
    return EntriesAnswer(
        partition=partition,
        sequence=tip,
        currency=account.opening.currency,
        entries=page,
        next_before_sequence=page[-1].sequence if len(older) > len(page) else None,
    )
