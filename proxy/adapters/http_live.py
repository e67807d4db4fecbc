"""The calls whose answers do not end: watching accounts by WebSocket and by Server-Sent Events."""

from collections.abc import Collection
from typing import Final, Protocol

from aiohttp import hdrs, web

from proxy.adapters.http_responses import EVENT_STREAM, page_response, problem_response
from proxy.adapters.live_event_stream import EventStreamListener, Streamed
from proxy.adapters.live_outflow import Outflow
from proxy.adapters.live_status_stream import PictureFeed, PictureListener
from proxy.adapters.live_websocket import WebSocketListener, new_websocket
from proxy.core.hosts import called_host
from proxy.core.parameters import (
    LAST_EVENT_ID,
    Pairs,
    parse_events_query,
    parse_no_parameters,
)
from proxy.core.problems import ORIGIN_NOT_ALLOWED, UPGRADE_REQUIRED, Problem
from proxy.ports import Watches

_UPGRADE: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))


class Live(Protocol):
    """A client that watches accounts, as its connection knows it."""

    outflow: Outflow

    def go_away(self) -> None:
        """Tell the client that the process ends."""
        ...

    def close(self) -> None:
        """Tell it nothing more: it is gone."""
        ...


class LiveConnection(Protocol):
    """What the protocol of a connection tells the client on it."""

    live: Live | None


class LiveHandlers:
    """Both calls over one port. `origins` are those of pages on other hosts that may watch."""

    def __init__(self, watches: Watches, origins: Collection[str]) -> None:
        self._watches = watches
        self._origins = frozenset(origins)
        self._clients: set[Live] = set()

    def go_away(self) -> None:
        """End all that is watched, each with a word."""
        for client in list(self._clients):
            client.go_away()

    def shared(self, request: web.BaseRequest) -> list[tuple[str, str]]:
        """What lets the page that asks read the answer, if it may (Fetch, CORS protocol).

        Nothing lets it send what a browser keeps of its user, and nothing else may be read.
        """
        origin = request.headers.get(hdrs.ORIGIN, "")
        allowed = [(hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, origin)] if origin in self._origins else []
        return [*allowed, (hdrs.VARY, hdrs.ORIGIN)]

    async def subscribe(self, request: web.BaseRequest, query: Pairs) -> web.StreamResponse:
        """Watch accounts: `GET /wallet/subscribe`."""
        if problem := parse_no_parameters(query) or self._of_strange_origin(request):
            return problem_response(problem)
        websocket = new_websocket()
        if request.method != hdrs.METH_GET or not websocket.can_prepare(request).ok:
            return problem_response(Problem(UPGRADE_REQUIRED), _UPGRADE)
        await websocket.prepare(request)
        if request.transport is None:
            return websocket
        listener = WebSocketListener(request.transport, self._watches)
        with _Connected(self._clients, request, listener):
            await listener.serve(websocket)
        return websocket

    async def events(
        self, request: web.BaseRequest, path: Pairs, query: Pairs
    ) -> web.StreamResponse:
        """Watch one account: `GET /wallet/accounts/{account_id}/events`."""
        shared = self.shared(request)
        ids = request.headers.getall(LAST_EVENT_ID, [])
        watched = parse_events_query(path, query, ids)
        if isinstance(watched, Problem):
            return problem_response(watched, shared)
        if problem := self._of_strange_origin(request):
            return problem_response(problem, shared)
        head_alone = page_response(EVENT_STREAM, b"", headers=shared)
        if request.transport is None:
            return head_alone
        listener = EventStreamListener(request.transport, self._watches, watched.account_id, shared)
        is_asked_for_head = request.method == hdrs.METH_HEAD
        with _Connected(self._clients, request, listener):
            answer = listener.look if is_asked_for_head else listener.serve
            problem = await answer(watched.from_sequence)
        if problem is not None:
            return problem_response(problem, shared)
        return head_alone if is_asked_for_head else Streamed()

    async def pictures(
        self, request: web.BaseRequest, query: Pairs, feed: PictureFeed
    ) -> web.StreamResponse:
        """Watch the wallet: `GET /wallet/status/events`."""
        shared = self.shared(request)
        if problem := parse_no_parameters(query) or self._of_strange_origin(request):
            return problem_response(problem, shared)
        if request.method == hdrs.METH_HEAD or request.transport is None:
            return page_response(EVENT_STREAM, b"", headers=shared)
        listener = PictureListener(request.transport, shared)
        with _Connected(self._clients, request, listener):
            await feed.serve(listener)
        return Streamed()

    def _of_strange_origin(self, request: web.BaseRequest) -> Problem | None:
        """Browsers say whose page asks, and ask for anybody; other programs say nothing."""
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or origin in self._origins:
            return None
        host = called_host(request.raw_path, request.headers.get(hdrs.HOST))
        if host and origin in (f"http://{host}", f"https://{host}"):
            return None
        return Problem(ORIGIN_NOT_ALLOWED)


class _Connected:
    """A client from here to the end of its connection."""

    def __init__(self, clients: set[Live], request: web.BaseRequest, live: Live) -> None:
        self._clients = clients
        self._connection: LiveConnection = request.protocol  # type: ignore[assignment] # ours
        self._live = live

    def __enter__(self) -> None:
        self._connection.live = self._live
        self._clients.add(self._live)

    def __exit__(self, *_: object) -> None:
        self._connection.live = None
        self._clients.discard(self._live)
