"""What clients must have been told: predicted from the audited journals alone.

A result names the request that it answers. The journals say what that request caused, so there is
one right answer, or several equal ones if the request's frame was doubled on its way.
"""

from collections.abc import Iterator

from contracts.events import (
    AccountOpened,
    AccountOpenRejected,
    AccountOpenRepeated,
    Event,
    TransferAwaited,
    TransferCompleted,
    TransferRejected,
    TransferRepeated,
    TransferStarted,
)
from contracts.rejections import NOT_REMEMBERED, Rejection
from contracts.results import Result
from simulation.auditor import Auditor
from simulation.books import Violated, check
from simulation.clients import Answered
from simulation.journals import Where

_TRANSFERS = (
    TransferAwaited,
    TransferCompleted,
    TransferRejected,
    TransferRepeated,
    TransferStarted,
)


class Answers:
    """Checks each answer as soon as a client has it."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor

    def take(self, answered: Answered) -> None:
        """Raise Violated unless this is the right answer and was durable before it came."""
        number = answered.result.request_number
        caused = self._auditor.events.get((answered.proxy_id, number), [])
        expected = [result for each in caused for result in self._results(number, *each)]
        told = f"{answered.command} was answered {answered.result}"
        check(answered.result in expected, f"{told}, expected one of {expected}")
        party = self._party(answered, caused)
        stored_at_s = self._auditor.stored_at_s[party, answered.result.sequence]
        check(stored_at_s <= answered.at_s, f"{told} before it was durable")

    def _party(self, answered: Answered, caused: list[tuple[Where, Event]]) -> int:
        if not caused:
            raise Violated(f"nothing came of {answered.command}")
        return caused[0][0].party

    def _results(self, number: int, where: Where, event: Event) -> Iterator[Result]:
        """What may be said about an event: nothing while its transfer has no outcome."""
        if isinstance(event, AccountOpened | AccountOpenRepeated):
            account = self._auditor.books.accounts[event.account_id]
            repeated = isinstance(event, AccountOpenRepeated)
            yield Result(number, None, 0, account.opened_sequence, account.opened_at_ms, repeated)
        elif isinstance(event, AccountOpenRejected):
            yield self._at(number, event.reason, event.account_id, where)
        elif isinstance(event, TransferRejected) and event.reason in NOT_REMEMBERED:
            yield self._at(number, event.reason, event.from_account_id, where)
        elif isinstance(event, _TRANSFERS):
            repeated = isinstance(event, TransferRepeated | TransferAwaited)
            yield from self._outcome(
                number, event.from_account_id, event.transaction_id, repeated=repeated
            )

    def _outcome(
        self, number: int, payer_id: str, transaction_id: str, *, repeated: bool
    ) -> Iterator[Result]:
        ending = self._auditor.books.transfers[payer_id, transaction_id].ending
        if ending is not None:
            yield Result(
                number,
                ending.reason,
                ending.balance_minor,
                ending.sequence,
                ending.at_ms,
                repeated,
                ending.coordination,
            )

    def _at(self, number: int, reason: Rejection, account_id: str, where: Where) -> Result:
        """A refusal that is not remembered tells the balance of its own moment."""
        account = self._auditor.books.accounts.get(account_id)
        balance = 0 if account is None else account.posted_at(where.sequence)
        return Result(number, reason, balance, where.sequence, where.at_ms, repeated=False)
