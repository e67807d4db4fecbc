"""Answers queries about one partition. Every answer agrees with every result pushed before it.

The present comes from the projection in memory, in one piece: nothing is awaited between reading
and answering. What walks through the past does so in a thread. So do names that are looked up in a
store across a network; in a file they are looked up in place, which is quicker than a thread.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, assert_never

from contracts.events import TransferCompleted, TransferFinished, TransferRejected
from contracts.frames import EventFrame
from contracts.limits import PAGE_ENTRIES_MAX, REPLAY_CHANGES_MAX, WAIT_MS_MAX
from contracts.queries import (
    NOT_NOW,
    AccountAnswer,
    AccountQuery,
    Answer,
    ChangesAnswer,
    ChangesQuery,
    CreditStepsAnswer,
    CreditStepsQuery,
    EntriesAnswer,
    EntriesQuery,
    Entry,
    Missing,
    NotFound,
    Query,
    TransferAnswer,
    TransferQuery,
    UnfinishedAnswer,
    UnfinishedQuery,
    decode_query,
    encode_answer,
)
from reader.core.accounts import Account
from reader.core.projection import Projection
from reader.core.rows import EntryRow, Name, OutcomeRow, StepRow
from reader.ports import StoreFault
from reader.service.changed import changed_accounts
from reader.service.history import History
from reader.service.journal_end import JournalEnd
from reader.service.look_ups import LookUps
from reader.service.progress import Progress
from reader.service.threads import Threads
from reader.service.transfers import (
    outcome_answer,
    step_answer,
    step_record,
    unfinished_transfer,
)

_log = logging.getLogger(__name__)

QUERY_WAIT_S: Final = 5.0
"""How long a query waits for what this reader has not reached, all in all."""


class Answering:
    """The query side of one partition."""

    def __init__(
        self,
        partition: int,
        projection: Projection,
        projected: Progress,
        position: Progress,
        journal_end: Callable[[], Awaitable[int]],
        *,
        present: History,
        past: History,
        threads: Threads,
    ) -> None:
        """`present` is used as `threads` says, `past` in its threads for the past.

        `projected` counts sequences; `position` stream sequences, as does what `journal_end` asks
        the journal for.
        """
        self._partition = partition
        self._projection = projection
        self._projected = projected
        self._position = position
        self._journal_end = JournalEnd(partition, journal_end)
        self._present = present
        self._past = past
        self._look_ups = LookUps(threads)
        self._awaited: dict[Name, list[asyncio.Future[None]]] = {}

    async def answer_bytes(self, data: bytes) -> bytes:
        """Answer an encoded query, with NOT_NOW while the store can't be read."""
        try:
            return encode_answer(await self.answer(decode_query(data)))
        except StoreFault as fault:
            _log.warning("partition %s: a query is not answered: %s", self._partition, fault)
            return NOT_NOW

    async def answer_bytes_if_able(self, data: bytes) -> bytes | None:
        """Answer an encoded query that all readers have: None while the store can't be read."""
        answer = await self.answer_bytes(data)
        return None if answer == NOT_NOW else answer

    async def answer(self, query: Query) -> Answer:
        """Answer a query, once the sequence that it demands is reached."""
        is_up_to_date = await _in_time(self._get_ready(query))
        if self._projected.reached < _demanded(query):
            return self._missing(Missing.SEQUENCE)
        return await self._answer_now(query, is_up_to_date=is_up_to_date)

    async def _get_ready(self, query: Query) -> None:
        """Get to what a query demands, and before an account is denied to where the journal ends.

        Another reader may be ahead, and have shown that an account was opened which is unknown
        here.
        """
        await self._projected.reach(_demanded(query))
        if isinstance(query, ChangesQuery) and self._is_any_unknown(query):
            end = await self._journal_end.now()
            if end is not None:
                await self._position.reach(end)

    async def _answer_now(self, query: Query, *, is_up_to_date: bool) -> Answer:
        match query:
            case AccountQuery():
                return await self._answer_account(query)
            case EntriesQuery():
                return await self._answer_entries(query)
            case TransferQuery():
                return await self._answer_transfer(query)
            case CreditStepsQuery():
                return await self._answer_credit_steps(query)
            case UnfinishedQuery():
                return self._answer_unfinished(query)
            case ChangesQuery():
                return await self._answer_changes(query, is_up_to_date=is_up_to_date)
            case _:
                assert_never(query)

    def notice(self, frame: EventFrame) -> None:
        """Wake the queries that wait for an outcome in this frame, which is projected by now."""
        if not self._awaited:
            return
        for event in frame.events:
            if isinstance(event, TransferCompleted | TransferFinished | TransferRejected):
                name = (event.from_account_id, event.transaction_id)
                for future in self._awaited.pop(name, ()):
                    if not future.done():
                        future.set_result(None)

    # --- accounts ---

    async def _answer_account(self, query: AccountQuery) -> Answer:
        account = self._projection.account(query.account_id)
        if account is None:
            return self._missing(Missing.ACCOUNT)
        tip, at_ms = self._projection.cursor.tip.sequence, self._projection.at_ms
        is_past_time = query.at_ms is not None and query.at_ms < at_ms
        is_past_sequence = query.at_sequence is not None and query.at_sequence < tip
        if not is_past_time and not is_past_sequence:
            return self._account_answer(
                account, tip, at_ms, account.posted_minor, account.held_minor
            )
        return await self._look_ups.in_past(lambda: self._account_then(account, query, tip))

    def _account_then(self, account: Account, query: AccountQuery, tip: int) -> Answer:
        """The account at a past moment. Runs in the thread."""
        sequence = tip
        if query.at_ms is not None:
            sequence = self._past.sequence_at(query.at_ms, tip)
        if query.at_sequence is not None:
            sequence = min(sequence, query.at_sequence)
        if sequence < account.opened_sequence:
            return NotFound(self._partition, max(sequence, 0), Missing.MOMENT)
        row = self._past.newest_before(account.number, account.newest_sequence, sequence + 1)
        posted_minor = 0 if row is None else row.balance_of(account.number)
        held_minor = self._past.held_at(account.number, sequence)
        at_ms = self._past.time_of(sequence)
        return self._account_answer(account, sequence, at_ms, posted_minor, held_minor)

    def _account_answer(
        self, account: Account, sequence: int, at_ms: int, posted_minor: int, held_minor: int
    ) -> AccountAnswer:
        return AccountAnswer(
            partition=self._partition,
            sequence=sequence,
            at_ms=at_ms,
            currency=account.currency,
            overdraft_limit_minor=account.overdraft_limit_minor,
            posted_minor=posted_minor,
            held_minor=held_minor,
        )

    # --- entries ---

    async def _answer_entries(self, query: EntriesQuery) -> Answer:
        account = self._projection.account(query.account_id)
        if account is None:
            return self._missing(Missing.ACCOUNT)
        sequence = self._projection.cursor.tip.sequence
        limit = min(max(query.limit, 1), PAGE_ENTRIES_MAX)
        page = await self._look_ups.in_past(
            lambda: self._past.page(
                account.number, account.newest_sequence, query.before_sequence, limit
            )
        )
        return EntriesAnswer(
            partition=self._partition,
            sequence=sequence,
            currency=account.currency,
            entries=[self._entry(row, account.number) for row in page.rows],
            next_before_sequence=page.next_before_sequence,
        )

    def _entry(self, row: EntryRow, account: int) -> Entry:
        if isinstance(row, StepRow):
            counterparty_id, amount_minor = row.counterparty_id, row.moved_minor
        elif account == row.payer:
            counterparty_id = self._projection.account_id(row.payee)
            amount_minor = -row.amount_minor
        else:
            counterparty_id = self._projection.account_id(row.payer)
            amount_minor = row.amount_minor
        return Entry(
            sequence=row.sequence,
            at_ms=row.at_ms,
            transaction_id=row.transaction_id,
            counterparty_id=counterparty_id,
            amount_minor=amount_minor,
            balance_minor=row.balance_of(account),
        )

    # --- changes ---

    async def _answer_changes(self, query: ChangesQuery, *, is_up_to_date: bool) -> Answer:
        marked = [(mark, self._projection.account(mark.account_id)) for mark in query.marks]
        tip, at_ms = self._projection.cursor.tip.sequence, self._projection.at_ms
        limit = min(max(query.limit, 1), REPLAY_CHANGES_MAX)
        if all(mark.after_sequence is None or mark.after_sequence >= tip for mark in query.marks):
            accounts = changed_accounts(None, marked, tip, limit)
        else:
            accounts = await self._look_ups.in_past(
                lambda: changed_accounts(self._past, marked, tip, limit)
            )
        return ChangesAnswer(self._partition, tip, at_ms, accounts, is_up_to_date)

    def _is_any_unknown(self, query: ChangesQuery) -> bool:
        return any(self._projection.account(mark.account_id) is None for mark in query.marks)

    # --- transfers ---

    async def _answer_transfer(self, query: TransferQuery) -> Answer:
        name = (query.from_account_id, query.transaction_id)
        wait_ms = min(query.wait_ms, WAIT_MS_MAX)
        row = await self._outcome_within(name, wait_ms / 1000) if wait_ms > 0 else None
        sequence, transfer = self._projection.cursor.tip.sequence, None
        if row is None:
            # What is unfinished has no outcome, so what is found is as of this moment or later.
            transfer = self._projection.coordinated.unfinished(name)
            row = None if transfer else await self._outcome(name)
        if row is not None:
            return await self._recorded(row)
        if transfer is None:
            return NotFound(self._partition, sequence, Missing.TRANSFER)
        return await self._under_way(transfer.start, transfer.newest)

    async def _answer_credit_steps(self, query: CreditStepsQuery) -> Answer:
        payee = self._projection.account(query.to_account_id)
        number = None if payee is None else payee.number
        sequence = self._projection.cursor.tip.sequence
        name = (query.from_account_id, query.transaction_id)
        rows = await self._look_ups.in_present(lambda: self._present.credit_steps(name))
        return CreditStepsAnswer(
            partition=self._partition,
            sequence=sequence,
            steps=[
                step_record(row, self._partition)
                for row in rows
                if row.sequence <= sequence
                and (row.account == number or row.unopened_id == query.to_account_id)
            ],
        )

    def _answer_unfinished(self, query: UnfinishedQuery) -> Answer:
        limit = min(max(query.limit, 0), PAGE_ENTRIES_MAX)
        tip, coordinated = self._projection.cursor.tip, self._projection.coordinated
        return UnfinishedAnswer(
            partition=self._partition,
            sequence=tip.sequence,
            at_ms=tip.at_ms,
            count=coordinated.unfinished_count,
            transfers=[
                unfinished_transfer(transfer.start, transfer.newest, self._projection)
                for transfer in coordinated.oldest_unfinished(limit)
            ],
        )

    async def _outcome_within(self, name: Name, timeout_s: float) -> OutcomeRow | None:
        """Wait for a transfer's outcome. A refusal that is not remembered is none."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    with self._noticing(name) as noticed:
                        row = await self._outcome(name)
                        if row is not None:
                            return row
                        await noticed
        except TimeoutError:
            return None

    @contextmanager
    def _noticing(self, name: Name) -> Iterator[asyncio.Future[None]]:
        """From before the name is looked up, as an outcome may come while it is."""
        future = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(name, []).append(future)
        try:
            yield future
        finally:
            waiting = self._awaited.get(name, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._awaited.pop(name, None)

    async def _outcome(self, name: Name) -> OutcomeRow | None:
        account = self._projection.account(name[0])
        number = None if account is None else account.number
        return await self._look_ups.in_present(lambda: self._present.outcome(name, number))

    async def _recorded(self, row: OutcomeRow) -> TransferAnswer:
        return await self._look_ups.in_present(
            lambda: outcome_answer(row, self._partition, self._projection, self._present)
        )

    async def _under_way(self, start: StepRow, newest: StepRow) -> TransferAnswer:
        return await self._look_ups.in_present(
            lambda: step_answer(start, newest, self._partition, self._projection, self._present)
        )

    def _missing(self, missing: Missing) -> NotFound:
        return NotFound(self._partition, self._projection.cursor.tip.sequence, missing)


async def _in_time(progress: Awaitable[None]) -> bool:
    """Whether it gets there while a query waits."""
    try:
        async with asyncio.timeout(QUERY_WAIT_S):
            await progress
    except TimeoutError:
        return False
    return True


def _demanded(query: Query) -> int:
    """The sequence before which the query can't be answered."""
    if isinstance(query, CreditStepsQuery | UnfinishedQuery):
        return 0
    if isinstance(query, AccountQuery) and query.at_sequence is not None:
        return max(query.min_sequence, query.at_sequence)
    return query.min_sequence
