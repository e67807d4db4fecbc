"""Watching accounts over WebSocket.

aiohttp does the handshake, reads what the client says, pings and closes. Messages to the client are
written by us, because the same bytes go to everybody who watches an account: frames of a server
are not masked (RFC 6455, section 5.2).
"""

import asyncio
import struct
from typing import Final

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from proxy.adapters.live_outflow import Outflow
from proxy.core.live_messages import LiveMessage, live_error, pong, unsubscribed
from proxy.core.live_requests import (
    MESSAGE_BYTES_MAX,
    Ping,
    Subscribe,
    Unsubscribe,
    parse_operation,
)
from proxy.core.problems import INVALID_REQUEST, NO_ROOM_TO_WATCH, TOO_MANY_ACCOUNTS, Problem
from proxy.core.watch import News, Refused
from proxy.ports import NoRoomToWatch, Telling, Watches

CONNECTION_ACCOUNTS_MAX: Final = 1_000
"""Accounts that one connection may watch."""

HEARTBEAT_S: Final = 20.0
"""Between two pings; who does not answer one within half of this is gone."""

FAREWELL_S: Final = 5.0
"""How long a client that is cut off may take to read why."""

_STUCK: Final = 4_008
"""Close code of an application's own (RFC 6455, section 7.4.2)."""

_STUCK_REASON: Final = b"too slow: nothing was read for 10 s; come back with from_sequence"
_GOING_AWAY_REASON: Final = b"the wallet is restarted; come back with from_sequence"

_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_SHORT: Final = 126
_MIDDLE: Final = 65_536


def websocket_frame(message: bytes, _news: News | None = None) -> bytes:
    """A text message as one unmasked frame."""
    return _frame(_TEXT, message)


def _frame(head: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < _SHORT:
        return bytes((head, size)) + payload
    if size < _MIDDLE:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


class WebSocketListener:
    """Port `Listener`: one connection."""

    __slots__ = ("_accounts", "_transport", "_watches", "outflow")

    def __init__(self, transport: asyncio.WriteTransport, watches: Watches) -> None:
        self._transport = transport
        self._watches = watches
        self._accounts: dict[str, None] = {}
        self.outflow = Outflow(transport, websocket_frame, self._give_up)

    def tell(self, telling: Telling) -> None:
        """See the port."""
        if isinstance(telling.news, Refused):
            self._accounts.pop(telling.news.account_id, None)
        self.outflow.tell(telling)

    async def serve(self, websocket: web.WebSocketResponse) -> None:
        """Do what the client asks for until either side ends it."""
        try:
            async for message in websocket:
                if message.type is WSMsgType.TEXT:
                    self.take(message.data)
                else:
                    self._refuse(Problem(INVALID_REQUEST, "Messages are text."))
                await self.outflow.room()
                # Thousands of messages may have been read at once: others have turns in between.
                await asyncio.sleep(0)
        finally:
            self.close()

    def take(self, text: str) -> None:
        """Do what one message asks for."""
        operation = parse_operation(text)
        match operation:
            case Problem():
                self._refuse(operation)
            case Subscribe():
                self._subscribe(operation)
            case Unsubscribe():
                for account_id in operation.accounts:
                    self._unwatch(account_id)
                self._say(unsubscribed(operation.accounts))
            case Ping():
                self._say(pong())

    def go_away(self) -> None:
        """The process ends: say so."""
        self._part(WSCloseCode.GOING_AWAY, _GOING_AWAY_REASON)

    def close(self) -> None:
        """Watch nothing more."""
        self.outflow.close()
        for account_id in list(self._accounts):
            self._unwatch(account_id)

    def _subscribe(self, operation: Subscribe) -> None:
        for account_id in dict.fromkeys(operation.accounts):
            self._unwatch(account_id)
            if len(self._accounts) >= CONNECTION_ACCOUNTS_MAX:
                self._refuse(Problem(TOO_MANY_ACCOUNTS), account_id)
                continue
            self._accounts[account_id] = None
            try:
                self._watches.watch(self, account_id, operation.from_sequence.get(account_id))
            except NoRoomToWatch:
                del self._accounts[account_id]
                self._refuse(Problem(NO_ROOM_TO_WATCH), account_id)

    def _unwatch(self, account_id: str) -> None:
        if account_id in self._accounts:
            del self._accounts[account_id]
            self._watches.unwatch(self, account_id)
        self.outflow.forget(account_id)

    def _refuse(self, problem: Problem, account_id: str | None = None) -> None:
        self._say(live_error(problem, account_id))

    def _say(self, message: LiveMessage) -> None:
        self.outflow.send(websocket_frame(orjson.dumps(message)))

    def _give_up(self) -> None:
        self._part(_STUCK, _STUCK_REASON)

    def _part(self, code: int, reason: bytes) -> None:
        """Say why it ends, behind what waits to be read, and end it."""
        self.outflow.send(_frame(_CLOSE, struct.pack("!H", code) + reason))
        self.close()
        self._transport.close()
        asyncio.get_running_loop().call_later(FAREWELL_S, self._transport.abort)


def new_websocket() -> web.WebSocketResponse:
    """A connection that is not prepared yet."""
    return web.WebSocketResponse(
        compress=False, max_msg_size=MESSAGE_BYTES_MAX, heartbeat=HEARTBEAT_S
    )
