"""Watching accounts: what one WebSocket after another tells, as one iterator.

    not connected ─▶ connected: accounts are asked for, each behind what was last given of it
          ▲              │
          └── a pause ───┘ lost, closed, silent, or something is missing for now

So whatever happens to connections, proxies and readers, each change is given once and in order; or,
where too much was missed, how the account stands, marked as conflated.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final, Self

import aiohttp
import msgspec
from aiohttp import ClientWebSocketResponse, ClientWSTimeout, WSMessage, WSMsgType

from ewallet.client_faults import ClientFault, NoAnswerError, RefusedError, nobody_answers
from ewallet.live_documents import LIVE_MESSAGE, LiveMessage, News
from ewallet.repeating import Pace, TryAgain, is_unsettled
from ewallet.watched_accounts import WatchedAccounts

SILENCE_S: Final = 30.0
"""The wallet pings every 20 s, so a connection that brought nothing for so long is dead."""

CONNECT_S_MAX: Final = 10.0
FAREWELL_S: Final = 1.0
"""How long the wallet may take to answer a goodbye."""

NO_PLACES: Final[Mapping[str, int]] = MappingProxyType({})


class Subscription:
    """An asynchronous iterator of news about accounts; use it in `async with`.

    Each account begins with an AccountStands; with a place in `from_sequence` it is preceded by
    what changed behind that. Then comes every AccountChanged, in the order of its sequences, and
    an AccountStands again only if changes before it were left out.

    A lost connection is made again. Raises RefusedError if an account can't be watched, with the
    wallet's words, and NoAnswerError if it took longer than `timeout_s` until all accounts were
    told of, from its beginning, a loss or the last `add` on, or at once if nobody listens at the
    address when it begins. Whoever iterates on after a fault goes on where it was, without an
    account that was refused.

    Only one task may iterate. Take the next news within 10 s: who does not is cut off and comes
    back, which loses nothing but may conflate. Waiting for news may be cancelled at any time.
    `on_loss` is called with the reason before each try to connect again.
    """

    def __init__(
        self,
        url: str,
        account_ids: Iterable[str],
        *,
        timeout_s: float,
        from_sequence: Mapping[str, int] = NO_PLACES,
        on_loss: Callable[[str], object] = lambda _reason: None,
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._on_loss = on_loss
        self._accounts = WatchedAccounts()
        self._accounts.add(account_ids, from_sequence)
        self._session: aiohttp.ClientSession | None = None
        self._websocket: ClientWebSocketResponse | None = None
        self._asking = asyncio.Lock()
        """Held while accounts are asked for, so that each connection asks for all, once."""
        self._pace: Pace | None = None
        """From the beginning, a loss or the last `add` until all accounts were told of."""
        self._limit: asyncio.Timeout | None = None
        """Of who waits for news just now."""
        self._has_connected = False

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None, "left without being entered"  # noqa: S101 - a bug
        async with self._session:
            await self._disconnect()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> News:
        while True:
            try:
                message = await self._hear(self._websocket or await self._connect())
                news = self._accounts.take(message)
            except TryAgain as loss:
                await self._disconnect()
                await self._pause(loss)
                continue
            except ClientFault:
                self._pace = None
                await self._disconnect()
                raise
            self._keep_time()
            if news is not None:
                return news

    async def add(self, *account_ids: str, from_sequence: Mapping[str, int] = NO_PLACES) -> None:
        """Watch more accounts. One that can't be watched is refused where news is taken."""
        async with self._asking:
            added = self._accounts.add(account_ids, from_sequence)
            await self._say_if_connected(self._accounts.ask(added))
            if added and self._websocket is not None:
                self._pace = None  # who was asked for just now has the whole time
            self._keep_time()

    async def remove(self, *account_ids: str) -> None:
        """Watch accounts no more: after this, nothing of them is given."""
        async with self._asking:
            removed = self._accounts.remove(account_ids)
            await self._say_if_connected(self._accounts.take_leave(removed))
            self._keep_time()

    async def _say_if_connected(self, messages: Iterator[str]) -> None:
        """Say it, or leave it to the next connection, which asks for all."""
        if self._websocket is not None:
            with suppress(aiohttp.ClientError):
                await _say(self._websocket, messages)

    async def _connect(self) -> ClientWebSocketResponse:
        """Return a connection on which all accounts were asked for."""
        if self._pace is None or not self._pace.left_s:  # iterating had stopped meanwhile
            self._pace = Pace(self._timeout_s)
        try:
            async with asyncio.timeout(min(CONNECT_S_MAX, self._pace.left_s)), self._asking:
                websocket = await self._open()
                try:
                    await _say(websocket, self._accounts.ask(self._accounts.begin_connection()))
                except BaseException:
                    await websocket.close()
                    raise
                self._websocket = websocket
                self._keep_time()
        except TimeoutError as fault:
            raise TryAgain(NoAnswerError(f"{self._url} did not answer in time")) from fault
        except aiohttp.ClientError as fault:
            raise TryAgain(nobody_answers(self._url, fault)) from fault
        self._has_connected = True
        return websocket

    async def _open(self) -> ClientWebSocketResponse:
        assert self._session is not None, "used outside of `async with`"  # noqa: S101 - a bug
        try:
            return await self._session.ws_connect(
                f"{self._url}/wallet/subscribe", timeout=ClientWSTimeout(ws_close=FAREWELL_S)
            )
        except aiohttp.WSServerHandshakeError as fault:
            sentence = f"{self._url} does not let accounts be watched: HTTP status {fault.status}"
            if is_unsettled(fault.status):
                raise TryAgain(NoAnswerError(sentence)) from fault
            raise RefusedError(sentence) from fault
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as fault:
            if self._has_connected:
                raise
            raise nobody_answers(self._url, fault) from fault

    async def _hear(self, websocket: ClientWebSocketResponse) -> LiveMessage:
        try:
            async with asyncio.timeout_at(self._deadline_s) as self._limit:
                message = await websocket.receive(SILENCE_S)
        except TimeoutError as fault:
            sentence = f"{self._url} was silent for {SILENCE_S:g} s"
            if self._limit is not None and self._limit.expired():
                sentence = f"{self._url} did not tell of every account in {self._timeout_s:g} s"
            raise TryAgain(NoAnswerError(sentence)) from fault
        except aiohttp.ClientError as fault:
            raise TryAgain(NoAnswerError(f"{self._url}: {fault}")) from fault
        finally:
            self._limit = None
        if message.type is not WSMsgType.TEXT:
            raise TryAgain(NoAnswerError(f"{self._url} {_end_sentence(message)}"))
        try:
            return LIVE_MESSAGE.decode(message.data)
        except msgspec.DecodeError as fault:
            raise NoAnswerError(f"The message is not one of a wallet: {fault}") from fault

    @property
    def _deadline_s(self) -> float | None:
        """When all accounts must have been told of; None when they were."""
        return None if self._pace is None else self._pace.deadline_s

    def _keep_time(self) -> None:
        """Let the time run while the connection has not told of every account, and only then."""
        if self._websocket is None:
            return  # the loss has its time
        if self._accounts.are_all_heard:
            self._pace = None
        elif self._pace is None:
            self._pace = Pace(self._timeout_s)
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(self._deadline_s)

    async def _disconnect(self) -> None:
        websocket, self._websocket = self._websocket, None
        if websocket is not None:
            await websocket.close()

    async def _pause(self, loss: TryAgain) -> None:
        """Wait before the next try, or end with the fault when the time is up."""
        self._pace = pace = self._pace or Pace(self._timeout_s)
        if pace.left_s:
            self._on_loss(str(loss))
            await pace.pause()
        if not pace.left_s:
            self._pace = None
            raise loss.fault from loss


async def _say(websocket: ClientWebSocketResponse, messages: Iterable[str]) -> None:
    for message in messages:
        await websocket.send_str(message)


def _end_sentence(message: WSMessage) -> str:
    if message.type is WSMsgType.CLOSE:
        return f"closed the connection: {message.extra or 'without a reason'} ({message.data})"
    return "is gone: the connection was lost"
