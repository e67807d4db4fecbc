"""A small client of the wallet's HTTP API. Its faults are those of `ewallet.client_faults`.

Changes are idempotent by their ids, so they are sent again, word for word, until their outcome
is known or the time is up.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct

from ewallet.client_faults import NoAnswerError, RefusedError, UnknownOutcomeError, nobody_answers
from ewallet.documents import (
    Account,
    AccountOpened,
    Entries,
    Problem,
    RecordedTransfer,
    Status,
    Transfer,
    UnfinishedTransfers,
)
from ewallet.repeating import ACCEPTED, Pace, is_unsettled
from ewallet.subscription import NO_PLACES, Subscription

Document = TypeVar("Document")

WAIT_S_MAX: Final = 60
"""The longest `Prefer: wait` that the API takes."""


class Answer(Struct, Generic[Document], frozen=True):
    """A document as it was sent (`body`, JSON) and as it was understood."""

    body: bytes
    document: Document


class _Reply(Struct, frozen=True):
    status: int
    body: bytes
    retry_after_s: float | None


class WalletClient:
    """One session with a wallet. Use it as an asynchronous context manager.

    `timeout_s` bounds a question, and a change with all its repeats.
    """

    def __init__(self, url: str, *, timeout_s: float, connections: int = 8) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def open_account(
        self, account_id: str, currency: str, overdraft_limit: str | None = None
    ) -> Answer[AccountOpened]:
        """Open an account, or confirm that it is open as asked."""
        body = {"currency": currency}
        if overdraft_limit is not None:
            body["overdraft_limit"] = overdraft_limit
        path = f"/wallet/accounts/{_segment(account_id)}"
        return await self._change("PUT", path, body, AccountOpened)

    async def transfer(
        self,
        from_account_id: str,
        to_account_id: str,
        amount: str,
        currency: str,
        transaction_id: str,
        *,
        coordination: str | None = None,
    ) -> Answer[Transfer]:
        """Move an amount (decimal string) from one account to another, exactly once.

        `coordination` chooses how it is made all-or-nothing between partitions; None leaves that
        to the wallet.
        """
        body = {
            "from_account_id": from_account_id,
            "to_account_id": to_account_id,
            "amount": amount,
            "currency": currency,
            "transaction_id": transaction_id,
        }
        headers = {} if coordination is None else {"Wallet-Coordination": coordination}
        return await self._change("POST", "/wallet/transfer", body, Transfer, headers)

    async def recorded_transfer(
        self, from_account_id: str, transaction_id: str
    ) -> Answer[RecordedTransfer]:
        """Return what became of a transfer, with its steps."""
        account, transaction = _segment(from_account_id), _segment(transaction_id)
        path = f"/wallet/accounts/{account}/transfers/{transaction}"
        return await self._question(path, {}, RecordedTransfer)

    async def unfinished_transfers(
        self, *, limit: int | None = None
    ) -> Answer[UnfinishedTransfers]:
        """Return the oldest transfers that have no outcome yet."""
        path = "/wallet/transfers/unfinished"
        return await self._question(path, {"limit": limit}, UnfinishedTransfers)

    async def account(
        self, account_id: str, *, at: str | None = None, sequence: int | None = None
    ) -> Answer[Account]:
        """Return an account now, at a time (RFC 3339), or at a sequence of its partition."""
        path = f"/wallet/accounts/{_segment(account_id)}"
        return await self._question(path, {"at": at, "sequence": sequence}, Account)

    async def entries(
        self, account_id: str, *, limit: int | None = None, page_token: str | None = None
    ) -> Answer[Entries]:
        """Return a page of the account's statement, newest first."""
        path = f"/wallet/accounts/{_segment(account_id)}/entries"
        return await self._question(path, {"limit": limit, "page_token": page_token}, Entries)

    def subscribe(
        self,
        *account_ids: str,
        from_sequence: Mapping[str, int] = NO_PLACES,
        on_loss: Callable[[str], object] = lambda _reason: None,
    ) -> Subscription:
        """Watch accounts: how each stands, then every change of it, as an iterator.

        `from_sequence` has the last sequence that was seen of accounts that were watched before.
        The connection is one of its own beside this session's; `timeout_s` bounds each outage.
        """
        return Subscription(
            self._url,
            account_ids,
            timeout_s=self._timeout_s,
            from_sequence=from_sequence,
            on_loss=on_loss,
        )

    async def status(self) -> Answer[Status]:
        """Return who leads and who follows each partition."""
        return await self._question("/wallet/status", {}, Status)

    async def _question(
        self, path: str, query: Mapping[str, Any], kind: type[Document]
    ) -> Answer[Document]:
        given = {name: str(value) for name, value in query.items() if value is not None}
        reply = await self._send("GET", path, self._timeout_s, query=given)
        return _understood(reply, kind)

    async def _change(
        self,
        method: str,
        path: str,
        body: Mapping[str, str],
        kind: type[Document],
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer[Document]:
        """Send a change again and again until its outcome is known or the time is up."""
        pace = Pace(self._timeout_s)
        last_fault = ""
        while (left_s := pace.left_s) > 0:
            asked_s = None
            try:
                reply = await self._send(method, path, left_s, body=body, headers=headers)
                if not is_unsettled(reply.status):
                    return _understood(reply, kind)
                asked_s = reply.retry_after_s
                last_fault = _problem_sentence(reply)
            except NoAnswerError as fault:
                if pace.left_s > 0 or not last_fault:  # our own deadline says little
                    last_fault = str(fault)
            await pace.pause(asked_s)
        why = last_fault or "no answer came"
        raise UnknownOutcomeError(f"The outcome is not known after {self._timeout_s:g} s: {why}")

    async def _send(
        self,
        method: str,
        path: str,
        timeout_s: float,
        *,
        body: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> _Reply:
        assert self._session is not None, "used outside of `async with`"  # noqa: S101 - a bug
        prefer = {"Prefer": f"wait={wait_s(timeout_s)}"} if body is not None else {}
        try:
            async with self._session.request(
                method,
                self._url + path,
                json=body,
                params=query,
                headers={**headers, **prefer},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                retry_after = response.headers.get("Retry-After", "")
                return _Reply(
                    status=response.status,
                    body=await response.read(),
                    retry_after_s=float(retry_after) if retry_after.isdecimal() else None,
                )
        except TimeoutError as fault:
            raise NoAnswerError(f"{self._url} did not answer in time") from fault
        except (aiohttp.ClientError, ValueError) as fault:
            raise nobody_answers(self._url, fault) from fault


def wait_s(timeout_s: float) -> int:
    """Return the whole seconds that the wallet should hold a change for: shorter than ours."""
    return max(1, min(int(timeout_s) - 1, WAIT_S_MAX))


def _understood(reply: _Reply, kind: type[Document]) -> Answer[Document]:
    """Return the document of an answer. Raises RefusedError or NoAnswerError."""
    if is_unsettled(reply.status):
        raise NoAnswerError(_problem_sentence(reply))
    if reply.status >= 400:  # noqa: PLR2004 - the request's own failures
        raise RefusedError(_problem_sentence(reply))
    try:
        return Answer(body=reply.body, document=msgspec.json.decode(reply.body, type=kind))
    except msgspec.DecodeError as fault:
        raise NoAnswerError(f"The answer is not one of a wallet: {fault}") from fault


def _problem_sentence(reply: _Reply) -> str:
    if reply.status == ACCEPTED:
        return "the wallet has not heard of the outcome yet"
    try:
        return msgspec.json.decode(reply.body, type=Problem).sentence()
    except msgspec.DecodeError:
        return f"The answer was HTTP status {reply.status}, without a problem document"


def _segment(text: str) -> str:
    """Return the text as one segment of a path; the wallet judges what may stand in it."""
    return quote(text, safe="")
