"""A gateway that keeps its books in memory, and the real HTTP server in front of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec
import pytest
from aiohttp import web

from contracts.commands import Command, OpenAccount, Transfer
from contracts.partitioning import partition_of
from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    Answer,
    EntriesAnswer,
    EntriesQuery,
    Entry,
    Missing,
    NotFound,
    Query,
    TransferAnswer,
    TransferQuery,
)
from contracts.rejections import NOT_REMEMBERED, Rejection
from contracts.results import Result
from contracts.status import ReaderPartition, ReaderStatus, WriterPartition, WriterStatus
from proxy.adapters.http_server import HttpLimits, HttpServer, listen
from proxy.ports import GatewayStatus

FIRST_MS: Final = 1_900_000_000_000
"""Time of the first event; each later one is a second later."""


@dataclass
class Account:
    """One account's books."""

    opening: OpenAccount
    opened_sequence: int
    entries: list[Entry] = field(default_factory=list)

    def posted(self, sequence: int | None = None) -> int:
        """Posted balance now or just after a sequence."""
        counted = [
            entry for entry in self.entries if sequence is None or entry.sequence <= sequence
        ]
        return counted[-1].balance_minor if counted else 0


class MemoryGateway:
    """Decides commands and answers queries at once, by the rules of the contracts.

    `raises` is raised by every submit, ask; `pause()` keeps results back until `resume()`.
    """

    def __init__(self, partition_count: int = 1) -> None:
        self.partition_count = partition_count
        self.raises: Exception | None = None
        self.is_connected = True
        self.missing_writers: set[int] = set()
        self.submitted = 0
        self._accounts: dict[str, Account] = {}
        self._transfers: dict[tuple[str, str], tuple[Transfer, Result]] = {}
        self._sequences = [0] * partition_count
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._changed = asyncio.Condition()

    def pause(self) -> None:
        """From now on no result comes."""
        self._flowing.clear()

    def resume(self) -> None:
        """All results come."""
        self._flowing.set()

    async def submit(self, command: Command, *, wait_ms: int) -> Result | None:
        if self.raises is not None:
            raise self.raises
        self.submitted += 1
        if wait_ms == 0 and self._flowing.is_set():
            await self._carry_out(command)
            return None
        try:
            async with asyncio.timeout(wait_ms / 1_000):
                await self._flowing.wait()
        except TimeoutError:
            return None
        return await self._carry_out(command)

    async def ask(self, query: Query) -> Answer:
        if self.raises is not None:
            raise self.raises
        if isinstance(query, TransferQuery) and query.wait_ms:
            name = (query.from_account_id, query.transaction_id)
            try:
                async with asyncio.timeout(query.wait_ms / 1_000), self._changed:
                    await self._changed.wait_for(lambda: name in self._transfers)
            except TimeoutError:
                pass
        return self._answer(query)

    async def status(self) -> GatewayStatus:
        accounts = len(self._accounts)
        led = [
            WriterPartition(partition, epoch=1, sequence=tip, in_flight=0, accounts=accounts)
            for partition, tip in enumerate(self._sequences)
            if partition not in self.missing_writers
        ]
        followed = [
            ReaderPartition(partition, tip, stored_sequence=tip, lag_frames=0, accounts=accounts)
            for partition, tip in enumerate(self._sequences)
        ]
        return GatewayStatus(
            writers=[WriterStatus(id="writer-1", partitions=led)],
            readers=[ReaderStatus(id="reader-1", partitions=followed)],
            held_requests=0,
            is_connected=self.is_connected,
        )

    async def _carry_out(self, command: Command) -> Result:
        if isinstance(command, OpenAccount):
            return self._open(command)
        result = self._transfer(command)
        async with self._changed:
            self._changed.notify_all()
        return result

    def _partition(self, account_id: str) -> int:
        return partition_of(account_id, self.partition_count)

    def _decided(
        self, account_id: str, rejection: Rejection | None, balance_minor: int = 0
    ) -> Result:
        partition = self._partition(account_id)
        self._sequences[partition] += 1
        sequence = self._sequences[partition]
        return Result(1, rejection, balance_minor, sequence, _at_ms(sequence), repeated=False)

    def _open(self, command: OpenAccount) -> Result:
        known = self._accounts.get(command.account_id)
        if known is None:
            result = self._decided(command.account_id, None)
            self._accounts[command.account_id] = Account(command, result.sequence)
            return result
        if known.opening != command:
            return self._decided(command.account_id, Rejection.ACCOUNT_EXISTS)
        sequence = known.opened_sequence
        return Result(1, None, 0, sequence, _at_ms(sequence), repeated=True)

    def _transfer(self, command: Transfer) -> Result:
        name = (command.from_account_id, command.transaction_id)
        if name in self._transfers:
            first, answer = self._transfers[name]
            if first != command:
                return self._decided(command.from_account_id, Rejection.IDEMPOTENCY_CONFLICT)
            return msgspec.structs.replace(answer, repeated=True)
        result = self._decide(command)
        if result.rejection not in NOT_REMEMBERED:
            self._transfers[name] = (command, result)
        return result

    def _decide(self, command: Transfer) -> Result:
        rejection = self._refusal(command)
        payer = self._accounts.get(command.from_account_id)
        if rejection is not None:
            balance_minor = payer.posted() if payer else 0
            return self._decided(command.from_account_id, rejection, balance_minor)
        assert payer is not None
        payee = self._accounts[command.to_account_id]
        result = self._decided(command.from_account_id, None, payer.posted() - command.amount_minor)
        for account, other, minor in (
            (payer, command.to_account_id, -command.amount_minor),
            (payee, command.from_account_id, command.amount_minor),
        ):
            account.entries.append(
                Entry(
                    sequence=result.sequence,
                    at_ms=result.at_ms,
                    transaction_id=command.transaction_id,
                    counterparty_id=other,
                    amount_minor=minor,
                    balance_minor=account.posted() + minor,
                )
            )
        return result

    def _refusal(self, command: Transfer) -> Rejection | None:
        payer = self._accounts.get(command.from_account_id)
        payee = self._accounts.get(command.to_account_id)
        if command.from_account_id == command.to_account_id:
            return Rejection.SAME_ACCOUNT
        if self._partition(command.from_account_id) != self._partition(command.to_account_id):
            return Rejection.CROSS_PARTITION_NOT_SUPPORTED
        if payer is None:
            return Rejection.FROM_ACCOUNT_NOT_FOUND
        if payee is None:
            return Rejection.TO_ACCOUNT_NOT_FOUND
        return _refusal_between(payer, payee, command)

    def _answer(self, query: Query) -> Answer:
        account_id = query.from_account_id if isinstance(query, TransferQuery) else query.account_id
        partition = self._partition(account_id)
        tip = self._sequences[partition]
        if isinstance(query, TransferQuery):
            return self._recorded(query, partition, tip)
        demanded = query.min_sequence
        if isinstance(query, AccountQuery):
            demanded = max(demanded, query.at_sequence or 0)
        if demanded > tip:
            return NotFound(partition, tip, Missing.SEQUENCE)
        account = self._accounts.get(account_id)
        if account is None:
            return NotFound(partition, tip, Missing.ACCOUNT)
        if isinstance(query, AccountQuery):
            return _account_answer(query, account, partition, tip)
        return _entries_answer(query, account, partition, tip)

    def _recorded(self, query: TransferQuery, partition: int, tip: int) -> Answer:
        recorded = self._transfers.get((query.from_account_id, query.transaction_id))
        if recorded is None:
            return NotFound(partition, tip, Missing.TRANSFER)
        command, result = recorded
        return TransferAnswer(
            partition=partition,
            sequence=result.sequence,
            at_ms=result.at_ms,
            to_account_id=command.to_account_id,
            amount_minor=command.amount_minor,
            currency=command.currency,
            rejection=result.rejection,
            balance_minor=result.balance_minor,
        )


def _refusal_between(payer: Account, payee: Account, command: Transfer) -> Rejection | None:
    if {payer.opening.currency, payee.opening.currency} != {command.currency}:
        return Rejection.CURRENCY_MISMATCH
    if command.amount_minor > payer.posted() + payer.opening.overdraft_limit_minor:
        return Rejection.INSUFFICIENT_FUNDS
    if payee.posted() + command.amount_minor >= 2**63:
        return Rejection.BALANCE_LIMIT_EXCEEDED
    return None


def _account_answer(query: AccountQuery, account: Account, partition: int, tip: int) -> Answer:
    sequence = tip if query.at_sequence is None else query.at_sequence
    if query.at_ms is not None:
        sequence = min(tip, (query.at_ms - FIRST_MS) // 1_000 + 1)
    if sequence < account.opened_sequence:
        return NotFound(partition, tip, Missing.MOMENT)
    return AccountAnswer(
        partition=partition,
        sequence=sequence,
        at_ms=_at_ms(sequence),
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


def _at_ms(sequence: int) -> int:
    return FIRST_MS + (sequence - 1) * 1_000


@dataclass
class Wallet:
    """A running HTTP server, its gateway and a client of it."""

    gateway: MemoryGateway
    host: str
    port: int
    client: aiohttp.ClientSession
    runner: web.ServerRunner

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def open(self, account_id: str, currency: str = "USD", overdraft: str = "0") -> None:
        """Open an account."""
        form = {"currency": currency, "overdraft_limit": overdraft}
        async with self.client.put(f"/wallet/accounts/{account_id}", json=form) as answer:
            assert answer.status == 201, await answer.text()

    async def transfer(self, transaction_id: str, amount: str, **other: Any) -> dict[str, Any]:
        """Make a transfer from issuer to ann unless told otherwise; give status, body, headers."""
        headers = other.pop("headers", {})
        form = {
            "from_account_id": "issuer",
            "to_account_id": "ann",
            "amount": amount,
            "currency": "USD",
            "transaction_id": transaction_id,
        } | other
        async with self.client.post("/wallet/transfer", json=form, headers=headers) as answer:
            body = await answer.json(content_type=None)
            return {"status": answer.status, "body": body, "headers": answer.headers}

    async def get(self, path: str, **options: Any) -> dict[str, Any]:
        """Read a JSON document; give status, body, headers."""
        async with self.client.get(path, **options) as answer:
            body = await answer.json(content_type=None)
            return {"status": answer.status, "body": body, "headers": answer.headers}

    async def exchange(self, sent: bytes) -> bytes:
        """Send raw bytes on a new connection; everything that comes until it is closed."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(sent)
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def run_wallet(
    limits: HttpLimits | None = None, partition_count: int = 1
) -> AsyncIterator[Wallet]:
    """Serve a fresh wallet on a free port."""
    gateway = MemoryGateway(partition_count)
    runner = await listen(HttpServer(gateway, limits or HttpLimits()), host="127.0.0.1", port=0)
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            yield Wallet(gateway, host, port, client, runner)
    finally:
        await runner.cleanup()


@pytest.fixture
def open_wallet() -> Callable[..., Any]:
    """Give `run_wallet`, for limits of one's own."""
    return run_wallet


@pytest.fixture
async def wallet() -> AsyncIterator[Wallet]:
    """A wallet with the accounts issuer (overdraft 1,000.00 USD), ann and bob."""
    async with run_wallet() as served:
        await served.open("issuer", overdraft="1000.00")
        await served.open("ann")
        await served.open("bob")
        yield served


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    """Address of a wallet that is served from a thread, for clients that block."""
    loop = asyncio.new_event_loop()
    ready: list[str] = []
    started, ended = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with run_wallet() as served:
            await served.open("issuer", overdraft="1000000.00")
            await served.open("ann")
            ready.append(served.url)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10), "the server did not start"
    yield ready[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    loop.close()
