"""Clients of the cluster, and what they were told and how long they had to wait for it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import aiohttp

from tests.e2e.costs import Cost
from tests.e2e.history import History, Interval, Read, Told, Transfer
from tests.system.bank import ACCOUNTS, RETRY_S, Bank, minor

CLIENTS: Final = 8
READING_CLIENTS: Final = 2
PAUSE_S: Final = 0.05
"""Between a client's transfers: the load is there to be disturbed, not to fill the machine."""
WAYS: Final = ("choreography", "orchestration", "tcc", "2pc")
REQUEST_S_MAX: Final = 30.0
LEAVING: Final = 0.25
"""The chance that a client does not repeat a transfer whose outcome it was not told."""
UNDONE: Final = frozenset({"hold_expired", "coordination_timed_out", "cancelled"})
"""Refusals that a fault causes, and not what the client asked for."""
NOT_SENT: Final = frozenset({"503", "ClientConnectorError"})
"""How a request ends that certainly did nothing."""
BROKEN: Final = frozenset(
    {
        "ClientConnectionResetError",
        "ClientOSError",
        "ClientPayloadError",
        "ServerDisconnectedError",
        "502",
    }
)
"""How requests end whose connection does, to the entry or from there to a proxy."""

Name = tuple[str, str]
"""Payer and transaction id."""

_now_s = time.monotonic


class Moment(NamedTuple):
    """One moment by two clocks, in seconds."""

    unix_s: float
    monotonic_s: float

    @classmethod
    def now(cls) -> "Moment":
        """The present one."""
        return cls(time.time(), _now_s())


@dataclass
class PacedBank(Bank):
    """The clients of all tests of one cluster: each outcome that anybody was ever told is kept."""

    ways: tuple[str, ...] = WAYS
    pause_s: float = PAUSE_S
    sent: dict[Name, tuple[dict[str, Any], str]] = field(default_factory=dict)
    """Each transfer as it was sent: its body and its way."""
    loads: int = 0
    began: Moment = field(default_factory=Moment.now)
    """When the present load began."""
    history: History = field(default_factory=History)
    cost: Cost = field(default_factory=Cost)
    """Of the present load."""
    left: list[Transfer] = field(default_factory=list)
    """Transfers of the present load whose clients went away without knowing the outcome."""
    unsure: set[Name] = field(default_factory=set)
    """Transfers of the present load of which a request ended without saying what became of it."""
    verified: set[Name] = field(default_factory=set)
    """Transfers of the present load whose record was seen to say what their client was told."""
    partitions: dict[str, int] = field(default_factory=dict)
    """Of each account that was ever read."""
    known: dict[int, int] = field(default_factory=dict)
    """By partition, the newest sequence that any client was told."""

    def begin(self) -> None:
        """Begin another load."""
        self.loads += 1
        self.began = Moment.now()
        self.prefix = f"load{self.loads}"
        self.cost = Cost()
        self.errors = self.cost.errors
        self.left = []
        self.unsure = set()
        self.verified = set()
        self.is_over = False
        self.more = asyncio.Event()  # each test has a loop of its own

    def told_in_this_load(self) -> set[Name]:
        """The payers and transaction ids whose outcome is known."""
        return {name for name in self.told if name[1].startswith(f"{self.prefix}-")}

    async def run_client(self, session: aiohttp.ClientSession, number: int) -> None:
        """Move money to and fro. Some clients leave a transfer whose outcome they don't know."""
        chance = random.Random(f"{self.prefix}-{number}")
        count = 0
        while not self.is_over:
            count += 1
            payer, payee = chance.sample(ACCOUNTS, 2)
            body = {
                "from_account_id": payer,
                "to_account_id": payee,
                "amount": f"{chance.randint(1, 9)}.00",
                "currency": "USD",
                "transaction_id": f"{self.prefix}-{number}-{count}",
            }
            way = self.ways[count % len(self.ways)]
            await asyncio.sleep(self.pause_s)
            outcome = await self._transfer(session, body, way, chance)
            if outcome is not None:
                self.told[payer, body["transaction_id"]] = outcome
                self.more.set()

    async def _transfer(
        self, session: aiohttp.ClientSession, body: dict[str, Any], way: str, chance: random.Random
    ) -> dict[str, Any] | None:
        """Send until the outcome is known, or the client leaves."""
        transfer = Transfer(
            payer=body["from_account_id"],
            payee=body["to_account_id"],
            transaction_id=body["transaction_id"],
            amount_minor=minor(body["amount"]),
            at=Interval(_now_s()),
        )
        self.history.transfers[transfer.name] = transfer
        self.sent[transfer.name] = body, way
        while True:
            outcome = await self._attempt(session, body, way)
            if isinstance(outcome, dict):
                break
            self.errors[outcome] += 1
            if outcome in NOT_SENT:
                self.cost.failed += 1
            elif transfer.name not in self.unsure:
                self.unsure.add(transfer.name)
                self.cost.unknown += 1
            if transfer.name in self.unsure and chance.random() < LEAVING:
                self.left.append(transfer)
                self._note_wait(_now_s() - transfer.at.asked_s)
                return None
            await asyncio.sleep(RETRY_S)
        self.note(transfer, outcome)
        self._note_wait(transfer.at.length_s)
        if outcome.get("code") in UNDONE:
            self.errors[outcome["code"]] += 1
            self.cost.failed += 1
        return outcome

    def _note_wait(self, waited_s: float) -> None:
        self.cost.longest_s = max(self.cost.longest_s, waited_s)

    async def _attempt(
        self, session: aiohttp.ClientSession, body: dict[str, Any], way: str
    ) -> dict[str, Any] | str:
        """One request: the outcome, or how it ended without one."""
        self.cost.requests += 1
        headers = {"Wallet-Coordination": way}
        try:
            async with session.post(
                f"{self.url}/wallet/transfer", json=body, headers=headers
            ) as response:
                if response.status not in (201, 422):
                    return str(response.status)
                answer: dict[str, Any] = await response.json(content_type=None)
                return answer | {"http": response.status}
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            return type(error).__name__

    def note(self, transfer: Transfer, outcome: dict[str, Any]) -> None:
        """Write down what a client was told, and that it was told now."""
        transfer.at = Interval(transfer.at.asked_s, _now_s())
        if outcome["http"] == 201:
            transfer.told = Told(
                is_accepted=True,
                partition=outcome["partition"],
                sequence=outcome["sequence"],
                balance_minor=minor(outcome["balance"]),
            )
            self._learn(outcome["partition"], outcome["sequence"])
        else:
            transfer.told = Told(is_accepted=False, reason=outcome["code"])

    async def repeat(
        self, session: aiohttp.ClientSession, body: dict[str, Any], way: str
    ) -> dict[str, Any]:
        """Send once more what was told already, until it is told again."""
        return await super().transfer(session, body, way)

    @property
    def seen(self) -> set[str]:
        """What clients of the present load met besides latency, whatever they asked for."""
        return {error.removeprefix("GET ") for error in self.errors}

    # --- reading ---

    async def run_reader(self, session: aiohttp.ClientSession, number: int) -> None:
        """Look at accounts: by turns as they are told, and no older than what anybody knows."""
        chance, is_demanding = random.Random(f"{self.prefix}-reader-{number}"), False
        while not self.is_over:
            await asyncio.sleep(self.pause_s)
            account = chance.choice(ACCOUNTS)
            is_demanding = not is_demanding and account in self.partitions
            demanded = self.known.get(self.partitions[account], 0) if is_demanding else None
            await self._read(session, account, demanded)

    async def _read(
        self, session: aiohttp.ClientSession, account: str, demanded: int | None
    ) -> None:
        self.cost.requests += 1
        asked_s = _now_s()
        url = f"{self.url}/wallet/accounts/{account}"
        try:
            async with session.get(url, params={"min_sequence": demanded or 0}) as response:
                shown = await response.json(content_type=None)
                status = str(response.status)
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            shown, status = {}, type(error).__name__
        at = Interval(asked_s, _now_s())
        self.cost.longest_read_s = max(self.cost.longest_read_s, at.length_s)
        if status != "200":
            self.errors[f"GET {status}"] += 1
            self.cost.failed += 1
            return
        self.partitions[account] = shown["partition"]
        balance_minor = minor(shown["balance"])
        read = Read(account, at, shown["partition"], shown["sequence"], balance_minor, demanded)
        self.history.reads.append(read)
        self._learn(read.partition, read.sequence)

    def _learn(self, partition: int, sequence: int) -> None:
        self.known[partition] = max(self.known.get(partition, 0), sequence)


@dataclass
class Load:
    """Clients at work, from `loaded`."""

    bank: PacedBank
    clients: int

    async def settle(self) -> None:
        """Return when each client may have asked for something only now, and been answered."""
        await self.bank.reach(len(self.bank.told) + 3 * self.clients)


@asynccontextmanager
async def loaded(bank: PacedBank, session: aiohttp.ClientSession) -> AsyncIterator[Load]:
    """Let clients work; at the end each brings its present transfer to an outcome, or leaves it."""
    bank.begin()
    works = [
        *(bank.run_client(session, number) for number in range(CLIENTS)),
        *(bank.run_reader(session, number) for number in range(READING_CLIENTS)),
    ]
    clients = [asyncio.create_task(work) for work in works]
    try:
        load = Load(bank, CLIENTS)
        await load.settle()
        yield load
        bank.is_over = True
        await asyncio.gather(*clients)
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


@asynccontextmanager
async def connected() -> AsyncIterator[aiohttp.ClientSession]:
    """A session of patient clients."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_S_MAX)
    connector = aiohttp.TCPConnector(limit=2 * CLIENTS)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield session
