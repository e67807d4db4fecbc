"""What the HTTP edge needs of the gateway behind it."""

from collections.abc import Awaitable, Hashable
from typing import Protocol

from msgspec import Struct

from contracts.commands import Command
from contracts.partitioning import SlotMap
from contracts.queries import (
    AccountQuery,
    Answer,
    CreditStepsQuery,
    EntriesQuery,
    TransferQuery,
    UnfinishedAnswer,
    UnfinishedQuery,
)
from contracts.results import Result
from contracts.status import ProxyStatus, ReaderStatus, WriterStatus
from proxy.core.pace import Pace
from proxy.core.timing import Timing
from proxy.core.watch import News

AccountsQuery = AccountQuery | EntriesQuery | TransferQuery | CreditStepsQuery
"""Queries about one account, which the readers of its partition answer."""


class NoRoom(Exception):
    """Too many requests are held: nothing was sent. Becomes a 503.

    The message is a sentence for the client; without one, too many are held.
    """


class Unavailable(NoRoom):
    """Nobody takes the command: the broker is not reached, or has no majority of its servers.

    Nothing was sent. Becomes a 503.
    """


class NoAnswer(Exception):
    """No reader answered a query in time. Becomes a 503."""


class GatewayStatus(Struct, frozen=True):
    """Who answers for the partitions just now."""

    writers: list[WriterStatus]
    readers: list[ReaderStatus]
    held_requests: int
    """Of this proxy process."""
    is_connected: bool
    proxies: list[ProxyStatus] = []


class Gateway(Protocol):
    """Takes commands and queries to whoever decides or answers them."""

    @property
    def slots(self) -> SlotMap:
        """Which account lives in which partition."""
        ...

    @property
    def pace(self) -> Pace:
        """Where the edge notes the transfers that this process has answered."""
        ...

    def submit(
        self, command: Command, *, wait_ms: int, timing: Timing | None = None
    ) -> Awaitable[Result | None]:
        """Send a command and hold until its result; None if it is not known within wait_ms.

        The timing is told the moments of its way.

        With wait_ms 0 the command is sent and None comes at once. Raise NoRoom, before anything
        was sent.
        """
        ...

    async def ask(self, query: AccountsQuery) -> Answer:
        """Ask a reader of the account's partition. Raise NoAnswer if none answers in time."""
        ...

    async def unfinished(self, query: UnfinishedQuery) -> list[UnfinishedAnswer]:
        """Ask a reader of every partition. Raise NoAnswer if one has none that answers in time."""
        ...

    async def status(self) -> GatewayStatus:
        """Ask every writer and reader for its status (bounded: about 300 ms)."""
        ...


class Telling:
    """News on its way to any number of listeners, who share what it is encoded to."""

    __slots__ = ("encoded", "news")

    def __init__(self, news: News) -> None:
        self.news = news
        self.encoded: dict[str, bytes] = {}
        """By form. Whoever needs a form first puts it here."""


class Listener(Hashable, Protocol):
    """A connection that watches accounts."""

    def tell(self, telling: Telling) -> None:
        """Take news; never wait. A refusal ends the watching of its account."""
        ...


class NoRoomToWatch(Exception):
    """This process watches as much as it can."""


class Watches(Protocol):
    """Lets listeners watch accounts."""

    def watch(self, listener: Listener, account_id: str, from_sequence: int | None) -> None:
        """Tell it how the account stands, then every change; or every change behind a sequence.

        It watches the account no more than once. The first may be told within this call. Raise
        NoRoomToWatch.
        """
        ...

    def unwatch(self, listener: Listener, account_id: str) -> None:
        """Tell it nothing more about the account, which it watches."""
        ...
