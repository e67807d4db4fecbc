"""The HTTP server: connections and heads within bounds, faults turned into problem documents.

It stands on aiohttp's protocol without its Application: a dozen fixed addresses need no dispatcher,
and the transfer's path is faster by its absence (figures in docs/performance.md).
"""

import asyncio
import time
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from msgspec import Struct

from contracts.coordination import Coordination
from proxy.adapters.asyncapi import describe_messages
from proxy.adapters.console_files import read_console_files
from proxy.adapters.docs_page import render_page
from proxy.adapters.http_calls import CALLS
from proxy.adapters.http_handlers import Handlers
from proxy.adapters.http_live import Live, LiveHandlers
from proxy.adapters.http_responses import WholeResponse, problem_response
from proxy.adapters.http_routing import Routes
from proxy.adapters.openapi import describe, to_json
from proxy.core.hosts import Hosts
from proxy.core.problems import (
    HEAD_TOO_LARGE,
    INTERNAL_ERROR,
    MALFORMED_HTTP,
    NO_ANSWER,
    NO_ROOM,
    TOO_MANY_CONNECTIONS,
    UNAVAILABLE,
    Problem,
)
from proxy.ports import Gateway, NoAnswer, NoRoom, Unavailable, Watches

HEAD_LINE_BYTES_MAX: Final = 4_096
"""The request line and each header; the longest valid address is under 600 bytes."""

HEADERS_MAX: Final = 64

READ_BUFFER_BYTES: Final = 16 * 1_024
"""aiohttp stops reading from a client at twice this."""

LINGER_S: Final = 2.0
"""How long an answered request's unread body is read and dropped, so that its sender gets to read
the answer, before the connection is closed."""

SHUTDOWN_S: Final = 5.0


class HttpLimits(Struct, frozen=True):
    """What one process grants its clients."""

    connections_max: int = 12_000
    idle_timeout_s: float = 30.0
    """From the connection, or the last answer, to the end of the next request's head."""
    body_timeout_s: float = 10.0
    """From the head to the end of the body."""


def unix_ms() -> int:
    """Return the present by this machine's clock."""
    return time.time_ns() // 1_000_000


class HttpServer(web.Server):
    """One process's HTTP server over a gateway. Make it where its event loop runs.

    `coordination` is that of transfers that come without a choice of their own; `now_ms` tells
    Unix milliseconds; `origins` are those of pages on other hosts that may watch accounts; `hosts`
    are names by which the wallet may be called.
    """

    def __init__(
        self,
        gateway: Gateway,
        watches: Watches,
        limits: HttpLimits,
        coordination: Coordination,
        now_ms: Callable[[], int] = unix_ms,
        *,
        origins: Collection[str] = (),
        hosts: Collection[str] = (),
    ) -> None:
        document = describe(CALLS)
        self._live = LiveHandlers(watches, origins)
        handlers = Handlers(
            gateway,
            live=self._live,
            coordination=coordination,
            now_ms=now_ms,
            body_timeout_s=limits.body_timeout_s,
            openapi=to_json(document),
            asyncapi=to_json(describe_messages()),
            docs=render_page(document),
            console=read_console_files(),
        )
        super().__init__(Routes(CALLS, handlers, Hosts(hosts), self._live.shared).dispatch)
        self._limits = limits
        self._open_connections = 0

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of one connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            # Counts from the start of the connection too, so it also bounds the first head.
            keepalive_timeout=self._limits.idle_timeout_s,
            access_log=None,
            max_line_size=HEAD_LINE_BYTES_MAX,
            max_field_size=HEAD_LINE_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=LINGER_S,
            read_bufsize=READ_BUFFER_BYTES,
            auto_decompress=False,
        )

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 # aiohttp's
        """End what is watched, which does not end by itself, and then all connections."""
        self._live.go_away()
        await super().shutdown(timeout)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a connection in; one too many is told so and closed unread."""
        super().connection_made(handler, transport)
        self._open_connections += 1
        if self._open_connections > self._limits.connections_max:
            transport.write(problem_response(Problem(TOO_MANY_CONNECTIONS)).parting_bytes())
            transport.close()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Count a connection out."""
        super().connection_lost(handler, exc)
        self._open_connections -= 1


class _Connection(web.RequestHandler):
    """aiohttp's protocol, answering failures with problem documents.

    `live` is who watches accounts on it; it is told when there is no room, and when it is gone.
    """

    __slots__ = ("live",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.live: Live | None = None

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        super().pause_writing()
        if self.live is not None:
            self.live.outflow.pause()

    def resume_writing(self) -> None:
        """It has taken what waited."""
        super().resume_writing()
        if self.live is not None:
            self.live.outflow.resume()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        if self.live is not None:
            self.live.close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 # aiohttp's text for its own page
    ) -> web.StreamResponse:
        """Answer an unreadable request (status 400) or a handler's exception."""
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionError("there is nobody to answer") from exc
        if isinstance(exc, NoRoom):
            kind = UNAVAILABLE if isinstance(exc, Unavailable) else NO_ROOM
            return problem_response(Problem(kind, str(exc)))
        if isinstance(exc, NoAnswer):
            return problem_response(Problem(NO_ANSWER))
        if status == HTTPStatus.BAD_REQUEST:
            return _unreadable(exc)
        self.log_exception("a request failed", exc_info=exc)
        response = problem_response(Problem(INTERNAL_ERROR))
        response.force_close()
        return response


def _unreadable(exc: BaseException | None) -> WholeResponse:
    """Not logged: anybody can cause it at will."""
    kind = HEAD_TOO_LARGE if isinstance(exc, LineTooLong) else MALFORMED_HTTP
    response = problem_response(Problem(kind))
    response.force_close()
    return response


async def listen(
    server: HttpServer, *, host: str, port: int, reuse_port: bool = False
) -> web.ServerRunner:
    """Open for business; port 0 takes a free one (`runner.addresses`). End with `cleanup()`."""
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_port=reuse_port or None, backlog=1_024).start()
    return runner
