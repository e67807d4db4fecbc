"""A small honest writer that makes journals, and naive books that answer by adding up.

Both are made of the contracts alone and are as slow as they are obvious: whatever they say of a
journal, the reader must say too.
"""

import asyncio
import functools
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from hypothesis import strategies as st

from broker.memory_broker import MemoryServer
from contracts.chain import Chained, Tip, advanced, follow, genesis
from contracts.commands import Command, OpenAccount, Transfer
from contracts.events import (
    AccountOpened,
    AccountOpenRejected,
    AccountOpenRepeated,
    EpochOpened,
    Event,
    TransferCompleted,
    TransferRejected,
    TransferRepeated,
)
from contracts.frames import EVENT_FRAME, RESULT_FRAME, EventFrame, Source
from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    Answer,
    EntriesAnswer,
    Entry,
    Missing,
    NotFound,
    Query,
    TransferAnswer,
    decode_answer,
    encode_query,
)
from contracts.rejections import NOT_REMEMBERED, Rejection
from contracts.results import Result
from contracts.subjects import journal_stream, journal_subject, query_subject, result_subject
from reader.adapters.store_sqlite import SqliteReadStore
from reader.bootstrap import serve_on
from reader.core.projection import Projection
from reader.core.rows import Cursor
from reader.core.unstored import Unstored
from reader.service.history import History
from runtime.settings import ServiceSettings

START_MS: Final = 1_700_000_000_000


@dataclass(frozen=True)
class Fact:
    """One event of a journal."""

    sequence: int
    at_ms: int
    event: Event


@dataclass
class Writer:
    """Decides commands by the plainest form of the rules and frames the events."""

    partition: int = 0
    tip: Tip = field(init=False)
    at_ms: int = START_MS
    facts: list[Fact] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    expected: list[dict[str, list[Result]]] = field(default_factory=list)
    """Per frame the results for each proxy."""

    def __post_init__(self) -> None:
        self.tip = genesis(self.partition)
        self.open_epoch()

    @property
    def books(self) -> "Books":
        return Books(self.partition, self.facts)

    def open_epoch(self) -> bytes:
        source = Source(proxy_id="", first_request=0, at_ms=self.at_ms, count=1)
        self.facts.append(Fact(self.tip.sequence + 1, self.at_ms, EpochOpened("w", b"k")))
        return self.frame([source], 1, self.tip.epoch + 1, {})

    def write(self, sources: Sequence[tuple[str, int, Sequence[Command]]]) -> bytes:
        """One frame from (proxy id, ms since the last, commands) of each source."""
        made, expected, count = [], dict[str, list[Result]](), 0
        for proxy_id, passed_ms, commands in sources:
            self.at_ms += passed_ms
            first = self.requests.get(proxy_id, 1)
            self.requests[proxy_id] = first + len(commands)
            made.append(Source(proxy_id, first, self.at_ms, len(commands)))
            for number, command in enumerate(commands, first):
                expected.setdefault(proxy_id, []).append(self._take(number, command))
                count += 1
        return self.frame(made, count, self.tip.epoch, expected)

    def frame(
        self,
        sources: list[Source],
        count: int,
        epoch: int,
        expected: dict[str, list[Result]],
    ) -> bytes:
        frame = EventFrame(
            epoch=epoch,
            first_sequence=self.tip.sequence + 1,
            prev_hash=self.tip.hash,
            command_sequence=0,
            sources=sources,
            events=[fact.event for fact in self.facts[-count:]],
        )
        data = EVENT_FRAME.encode(frame)
        self.tip = advanced(self.tip, frame, data)
        self.frames.append(data)
        self.expected.append(expected)
        return data

    def _take(self, number: int, command: Command) -> Result:
        sequence = len(self.facts) + 1
        event = self._decide(command)
        self.facts.append(Fact(sequence, self.at_ms, event))
        return self.books.result(number, sequence)

    def _decide(self, command: Command) -> Event:
        if isinstance(command, OpenAccount):
            return self._decide_opening(command)
        return self._decide_transfer(command)

    def _decide_opening(self, command: OpenAccount) -> Event:
        first = self.books.opening(command.account_id)
        if first is None:
            return AccountOpened(
                command.account_id, command.currency, command.overdraft_limit_minor
            )
        opened = first.event
        assert isinstance(opened, AccountOpened)
        asked = (command.currency, command.overdraft_limit_minor)
        if (opened.currency, opened.overdraft_limit_minor) == asked:
            return AccountOpenRepeated(command.account_id, first.sequence)
        return AccountOpenRejected(command.account_id, Rejection.ACCOUNT_EXISTS)

    def _decide_transfer(self, command: Transfer) -> Event:
        content = (
            command.from_account_id,
            command.to_account_id,
            command.amount_minor,
            command.currency,
            command.transaction_id,
        )
        first = self.books.outcome(command.from_account_id, command.transaction_id)
        if first is not None:
            event = first.event
            assert isinstance(event, TransferCompleted | TransferRejected)
            if (event.to_account_id, event.amount_minor, event.currency) == content[1:4]:
                return TransferRepeated(content[0], content[4], first.sequence)
            return TransferRejected(*content, Rejection.IDEMPOTENCY_CONFLICT)
        reason = self._why_refused(command)
        return TransferCompleted(*content) if reason is None else TransferRejected(*content, reason)

    def _why_refused(self, command: Transfer) -> Rejection | None:
        if command.from_account_id == command.to_account_id:
            return Rejection.SAME_ACCOUNT
        if command.to_account_id == "elsewhere":
            return Rejection.CROSS_PARTITION_NOT_SUPPORTED
        payer = self.books.opened(command.from_account_id)
        payee = self.books.opened(command.to_account_id)
        if payer is None or payee is None:
            is_payer = payer is None
            return Rejection.FROM_ACCOUNT_NOT_FOUND if is_payer else Rejection.TO_ACCOUNT_NOT_FOUND
        if {payer.currency, payee.currency} != {command.currency}:
            return Rejection.CURRENCY_MISMATCH
        posted = self.books.posted(command.from_account_id, len(self.facts))
        is_covered = posted - command.amount_minor >= -payer.overdraft_limit_minor
        return None if is_covered else Rejection.INSUFFICIENT_FUNDS


@dataclass(frozen=True)
class Books:
    """Answers about a list of facts by looking at every one of them."""

    partition: int
    facts: Sequence[Fact]

    def opening(self, account_id: str) -> Fact | None:
        for fact in self.facts:
            if isinstance(fact.event, AccountOpened) and fact.event.account_id == account_id:
                return fact
        return None

    def opened(self, account_id: str) -> AccountOpened | None:
        fact = self.opening(account_id)
        return fact.event if fact and isinstance(fact.event, AccountOpened) else None

    def outcome(self, payer_id: str, transaction_id: str) -> Fact | None:
        for fact in self.facts:
            event = fact.event
            if not isinstance(event, TransferCompleted | TransferRejected):
                continue
            if isinstance(event, TransferRejected) and event.reason in NOT_REMEMBERED:
                continue
            if (event.from_account_id, event.transaction_id) == (payer_id, transaction_id):
                return fact
        return None

    def posted(self, account_id: str, sequence: int) -> int:
        return sum(amount for _, amount, _ in self._moves(account_id, sequence))

    def result(self, number: int, sequence: int) -> Result:
        """What the proxy is told about the event of a sequence."""
        fact = self.facts[sequence - 1]
        event, at_ms = fact.event, fact.at_ms
        if isinstance(event, AccountOpenRepeated | TransferRepeated):
            first = self.result(number, event.first_sequence)
            return msgspec.structs.replace(first, repeated=True)
        rejection, balance = None, 0
        if isinstance(event, AccountOpenRejected):
            rejection, balance = event.reason, self.posted(event.account_id, sequence)
        if isinstance(event, TransferCompleted | TransferRejected):
            balance = self.posted(event.from_account_id, sequence)
        if isinstance(event, TransferRejected):
            rejection = event.reason
        return Result(number, rejection, balance, sequence, at_ms, repeated=False)

    def account(self, account_id: str, sequence: int, *, tip: int) -> Answer:
        """The account's state at a sequence, as a reader at `tip` must tell it."""
        first = self.opening(account_id)
        if first is None or first.sequence > tip:
            return NotFound(self.partition, tip, Missing.ACCOUNT)
        if first.sequence > sequence:
            return NotFound(self.partition, sequence, Missing.MOMENT)
        assert isinstance(first.event, AccountOpened)
        return AccountAnswer(
            partition=self.partition,
            sequence=sequence,
            at_ms=self.facts[sequence - 1].at_ms,
            currency=first.event.currency,
            overdraft_limit_minor=first.event.overdraft_limit_minor,
            posted_minor=self.posted(account_id, sequence),
            held_minor=0,
        )

    def sequence_at(self, at_ms: int) -> int:
        return sum(fact.at_ms <= at_ms for fact in self.facts)

    def entries(
        self, account_id: str, limit: int, before_sequence: int | None, *, tip: int
    ) -> EntriesAnswer:
        entries: list[Entry] = []
        balance = 0
        for fact, amount, counterparty in self._moves(account_id, tip):
            assert isinstance(fact.event, TransferCompleted)
            balance += amount
            transaction_id = fact.event.transaction_id
            entries.append(
                Entry(fact.sequence, fact.at_ms, transaction_id, counterparty, amount, balance)
            )
        before = tip + 1 if before_sequence is None else before_sequence
        wanted = [entry for entry in reversed(entries) if entry.sequence < before]
        rest = wanted[limit:]
        opening = self.opening(account_id)
        assert opening is not None
        assert isinstance(opening.event, AccountOpened)
        return EntriesAnswer(
            partition=self.partition,
            sequence=tip,
            currency=opening.event.currency,
            entries=wanted[:limit],
            next_before_sequence=rest[0].sequence + 1 if rest else None,
        )

    def transfer(self, payer_id: str, transaction_id: str, *, tip: int) -> Answer:
        fact = self.outcome(payer_id, transaction_id)
        if fact is None or fact.sequence > tip:
            return NotFound(self.partition, tip, Missing.TRANSFER)
        assert isinstance(fact.event, TransferCompleted | TransferRejected)
        result = self.result(0, fact.sequence)
        return TransferAnswer(
            partition=self.partition,
            sequence=fact.sequence,
            at_ms=fact.at_ms,
            to_account_id=fact.event.to_account_id,
            amount_minor=fact.event.amount_minor,
            currency=fact.event.currency,
            rejection=result.rejection,
            balance_minor=result.balance_minor,
        )

    def _moves(self, account_id: str, sequence: int) -> Iterator[tuple[Fact, int, str]]:
        for fact in self.facts[:sequence]:
            event = fact.event
            if not isinstance(event, TransferCompleted):
                continue
            if event.from_account_id == account_id:
                yield fact, -event.amount_minor, event.to_account_id
            if event.to_account_id == account_id:
                yield fact, event.amount_minor, event.from_account_id


# --- random commands: few names, so that they meet again and again ---

ACCOUNT_IDS: Final = ("issuer", "anna", "bert", "carl")
STRANGER_IDS: Final = ("nobody", "elsewhere")
TRANSACTION_IDS: Final = tuple(f"t{number}" for number in range(12))

openings: Final = st.builds(
    OpenAccount,
    account_id=st.sampled_from(ACCOUNT_IDS),
    currency=st.sampled_from(("USD", "USD", "EUR")),
    overdraft_limit_minor=st.sampled_from((0, 50, 1_000)),
)
transfers: Final = st.builds(
    Transfer,
    from_account_id=st.sampled_from((*ACCOUNT_IDS, "nobody")),
    to_account_id=st.sampled_from((*ACCOUNT_IDS, *STRANGER_IDS)),
    amount_minor=st.integers(1, 60),
    currency=st.sampled_from(("USD", "USD", "USD", "EUR")),
    transaction_id=st.sampled_from(TRANSACTION_IDS),
)
sources: Final = st.tuples(
    st.sampled_from(("p1", "p2")),
    st.integers(0, 2),
    st.lists(st.one_of(transfers, transfers, transfers, openings), min_size=1, max_size=6),
)
written_frames: Final = st.lists(st.lists(sources, min_size=1, max_size=3), max_size=10)

OPENED: Final[list[Command]] = [
    OpenAccount("issuer", "USD", 1_000_000),
    *(OpenAccount(account_id, "USD", 50) for account_id in ACCOUNT_IDS[1:]),
]


def written(frames: Sequence[Sequence[tuple[str, int, Sequence[Command]]]]) -> Writer:
    """A writer that opened all accounts but the last and then wrote these frames."""
    writer = Writer()
    writer.write([("p1", 1, OPENED[:-1])])
    for frame in frames:
        writer.write(frame)
    return writer


def transfer(payer: str, payee: str, amount: int, transaction_id: str) -> Transfer:
    return Transfer(payer, payee, amount, "USD", transaction_id)


def busy_writer(transfer_count: int, *, per_frame: int = 7) -> Writer:
    """A writer of many transfers among a few accounts, some refused and some repeated."""
    writer = Writer()
    writer.write([("p1", 1, OPENED)])
    for first in range(0, transfer_count, per_frame):
        numbers = range(first, min(first + per_frame, transfer_count))
        writer.write([("p1", first % 3, [_nth_transfer(number) for number in numbers])])
    return writer


def _nth_transfer(number: int) -> Transfer:
    payee = ACCOUNT_IDS[1 + number % 3]
    if number % 11 == 5:
        return transfer("anna", "bert", 1_000_000, f"refused-{number}")
    if number % 13 == 7:
        payee = ACCOUNT_IDS[1 + (number - 1) % 3]
        return transfer("issuer", payee, 1 + (number - 1) % 9, f"t{number - 1}")
    return transfer("issuer", payee, 1 + number % 9, f"t{number}")


# --- a projection over a real store, driven by hand ---


class Desk:
    """A projection and its store without loops: the test says when a group is written."""

    def __init__(self, path: Path, partition: int = 0) -> None:
        self.store = SqliteReadStore(path, partition)
        self.stored = self.store.load()
        self.unstored = Unstored()
        self.history = History(self.unstored, self.store.reading())
        self.projection = Projection(
            self.stored.accounts, self.stored.cursor, self.unstored, self.history.row
        )
        self._stream_sequence = self.stored.cursor.stream_sequence

    def take(self, data: bytes) -> dict[str, list[Result]]:
        self._stream_sequence += 1
        step = follow(self.projection.cursor.tip, data)
        assert isinstance(step, Chained), step
        return self.projection.apply(step.frame, Cursor(step.tip, self._stream_sequence))

    def take_all(self, frames: Sequence[bytes]) -> None:
        for data in frames:
            self.take(data)

    def store_pending(self) -> None:
        if self.unstored.pending.cursor is not None:
            self.store.write(self.unstored.take())
            self.unstored.written()


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in a closed store file, table by table."""
    with opened(path) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {
            table: sorted(db.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608  # our own names
            for table in tables
        }


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path)
    try:
        yield db
    finally:
        db.close()


# --- a journal in a broker ---


class Journals:
    """A memory server with the journals of some partitions."""

    def __init__(self, partitions: int = 1) -> None:
        self._now_ns = START_MS * 1_000_000
        self.server = MemoryServer(self._tick)
        for partition in range(partitions):
            self.server.add_stream(journal_stream(partition), journal_subject(partition))

    async def append(self, frames: Sequence[bytes], partition: int = 0) -> None:
        broker = self.server.connect()
        for data in frames:
            await broker.publish(journal_subject(partition), data)
        await broker.close()

    def _tick(self) -> int:
        self._now_ns += 1
        return self._now_ns


class Running:
    """A whole reader on the journals of a memory server, from ready to stopped."""

    def __init__(self, journals: Journals, folder: Path, partitions: int = 1) -> None:
        self.settings = ServiceSettings(
            nats_url="memory", nats_monitor_url="", partition_count=partitions, data_dir=folder
        )
        self.connection = journals.server.connect()
        self.client = journals.server.connect()
        self.pushed: dict[str, list[Result]] = {}
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for proxy_id in ("p1", "p2"):
            await self.client.subscribe(
                result_subject(proxy_id), functools.partial(self._note_pushed, proxy_id)
            )
        ready = asyncio.Event()
        self._task = asyncio.create_task(
            serve_on(self.connection, self.settings, self._stop, ready.set)
        )
        readiness = asyncio.create_task(ready.wait())
        await asyncio.wait({self._task, readiness}, return_when=asyncio.FIRST_COMPLETED)
        if not readiness.done():
            readiness.cancel()
            self._task.result()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._stop.set()
        await self._task
        await self.client.close()
        await self.connection.close()

    async def ended(self) -> None:
        """Return when the reader has stopped by itself; raise why."""
        assert self._task is not None
        await self._task

    async def ask(self, query: Query, partition: int = 0) -> Answer:
        data = await self.client.request(
            query_subject(partition), encode_query(query), timeout_s=10.0
        )
        return decode_answer(data)

    async def reach(self, sequence: int, partition: int = 0) -> None:
        """Return when the reader is there."""
        answer = await self.ask(AccountQuery("nobody", min_sequence=sequence), partition)
        assert answer == NotFound(partition, sequence, Missing.ACCOUNT)

    def _note_pushed(self, proxy_id: str, data: bytes) -> None:
        self.pushed.setdefault(proxy_id, []).extend(RESULT_FRAME.decode(data).results)
