"""Questions to the readers, and whether the answers are what the books say.

Every answer names the sequence at which it is true. The books know what was true there, because
nothing is told to a reader before it was audited.
"""

import asyncio
from typing import Final

from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    Answer,
    CreditStepsAnswer,
    CreditStepsQuery,
    EntriesAnswer,
    EntriesQuery,
    Entry,
    NotFound,
    StepRecord,
    TransferAnswer,
    TransferQuery,
    UnfinishedQuery,
)
from proxy.ports import AccountsQuery, NoAnswer
from proxy.service.gateway import BrokerGateway
from simulation.auditor import Auditor
from simulation.books import Account, Taken, Transfer, Violated, check

_PAGE: Final = 7
_TRIES_MAX: Final = 10
_PAUSE_S: Final = 2.0


class Questions:
    """Asks through a proxy. Raises Violated."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._books = auditor.books
        self.count = 0

    async def account(self, gateway: BrokerGateway, query: AccountQuery) -> None:
        """One balance, now or then."""
        self._check_account(query, await self._ask(gateway, query))

    async def look(self, gateway: BrokerGateway, query: AccountQuery) -> None:
        """One balance, if a reader can be reached."""
        try:
            answer = await gateway.ask(query)
        except NoAnswer:
            return
        self.count += 1
        self._check_account(query, answer)

    def _check_account(self, query: AccountQuery, answer: Answer) -> None:
        account_id = query.account_id
        account = self._books.accounts.get(account_id)
        told = f"the balance of {account_id} was answered {answer}"
        if isinstance(answer, NotFound):
            opened = None if account is None else account.opened_sequence
            check(opened is None or answer.sequence < opened, f"{told}, opened at {opened}")
            return
        assert isinstance(answer, AccountAnswer)
        assert account is not None
        check(answer.sequence >= query.min_sequence, f"{told} to {query}")
        check(query.at_sequence in (None, answer.sequence), f"{told} to {query}")
        expected = (account.posted_at(answer.sequence), account.held_at(answer.sequence))
        check((answer.posted_minor, answer.held_minor) == expected, f"{told}, expected {expected}")
        content = (answer.currency, answer.overdraft_limit_minor)
        check(content == (account.currency, account.limit_minor), told)

    async def statement(self, gateway: BrokerGateway, account: Account) -> None:
        """All of an account's entries, page by page."""
        entries: list[Entry] = []
        before: int | None = None
        while True:
            answer = await self._ask(gateway, EntriesQuery(account.account_id, _PAGE, before))
            told = f"the entries of {account.account_id} were answered {answer}"
            assert isinstance(answer, EntriesAnswer), told
            check(len(answer.entries) <= _PAGE, told)
            entries += answer.entries
            before = answer.next_before_sequence
            if before is None:
                break
        expected = [
            Entry(
                line.sequence,
                line.at_ms,
                line.transaction_id,
                line.counterparty_id,
                line.amount_minor,
                line.balance_minor,
            )
            for line in reversed(account.lines)
        ]
        check(entries == expected, f"{account.account_id}: entries {entries}, not {expected}")

    async def transfer(self, gateway: BrokerGateway, transfer: Transfer) -> None:
        """One finished transfer, and what the payee's partition knows of it."""
        payer_id, payee_id, amount, currency, transaction_id = transfer.content
        answer = await self._ask(gateway, TransferQuery(payer_id, transaction_id))
        ending = transfer.ending
        assert ending is not None
        expected = TransferAnswer(
            partition=self._auditor.partition_of(payer_id),
            sequence=ending.sequence,
            at_ms=ending.at_ms,
            to_account_id=payee_id,
            amount_minor=amount,
            currency=currency,
            rejection=ending.reason,
            balance_minor=ending.balance_minor,
            coordination=ending.coordination,
            is_finished=True,
            steps=_records(transfer.payer_steps),
        )
        check(answer == expected, f"{transfer.name} was answered {answer}, not {expected}")
        if transfer.payer_steps:
            await self._credit_steps(gateway, transfer)

    async def _credit_steps(self, gateway: BrokerGateway, transfer: Transfer) -> None:
        payer_id, payee_id, _, _, transaction_id = transfer.content
        answer = await self._ask(gateway, CreditStepsQuery(payee_id, payer_id, transaction_id))
        assert isinstance(answer, CreditStepsAnswer)
        expected = _records(transfer.payee_steps)
        told = f"the payee's steps of {transfer.name} were answered {answer.steps}"
        check(answer.steps == expected, f"{told}, not {expected}")

    async def _ask(self, gateway: BrokerGateway, query: AccountsQuery) -> Answer:
        """Ask until a reader answers; while processes come back there may be none for a while."""
        self.count += 1
        for _ in range(_TRIES_MAX):
            try:
                return await gateway.ask(query)
            except NoAnswer:
                await asyncio.sleep(_PAUSE_S)
        raise Violated(f"nobody answers {query}")

    async def nothing_unfinished(self, gateway: BrokerGateway) -> None:
        """No partition knows of an unfinished transfer."""
        for answer in await gateway.unfinished(UnfinishedQuery(10)):
            self.count += 1
            check(answer.count == 0, f"a reader knows of unfinished transfers: {answer}")


def _records(steps: list[Taken]) -> list[StepRecord]:
    return [
        StepRecord(taken.step, taken.partition, taken.sequence, taken.at_ms, taken.reason)
        for taken in steps
    ]
