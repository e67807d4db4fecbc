"""Responses whose whole body is known: status line, headers and body leave in one write.

aiohttp's own Response builds a header map, fills it, serialises it and joins it to the body for
every answer. For answers of a known form that is a fifth of the proxy's time per transfer
(figures in docs/performance.md), so the head is made here from prepared bytes.
"""

import asyncio
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final
from wsgiref.handlers import format_date_time

import orjson
from aiohttp import HttpVersion10, web
from aiohttp.abc import AbstractStreamWriter

from proxy.core.problems import RETRY_AFTER_S, Problem, document

JSON: Final = "application/json"
PROBLEM_JSON: Final = "application/problem+json"

SEND_TIMEOUT_S: float = 10.0
"""How long a client may leave its answers unread once its receive window is full."""

_SMALL_BYTES: Final = 16 * 1_024
"""An answer of this size is left to the kernel and the transport without waiting."""

HeaderLines = Iterable[tuple[str, str]]


def status_line_and_content_type(status: int, content_type: str) -> bytes:
    """Begin a head. Answers speak of money and of now: nobody may keep or sniff them."""
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: {content_type}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
    ).encode("ascii")


_JSON_HEADS: Final = {
    status: status_line_and_content_type(status, JSON) for status in (200, 201, 202)
}


class _Clock:
    """The header Date, written once per second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = f"Date: {format_date_time(second)}\r\n".encode("ascii")
        return self._line


_CLOCK: Final = _Clock()


class WholeResponse(web.StreamResponse):
    """One answer in one write.

    `head` is the status line and header lines, each with its line end; Date, Content-Length and
    Connection are added when it is sent, and the body is left out for HEAD.
    """

    def __init__(self, *, status: int, head: bytes, body: bytes) -> None:
        super().__init__(status=status)
        self._head = head
        self._content = body
        self._persists: bool | None = None
        self._to: web.BaseRequest | None = None

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection outlives this answer; None before it is prepared."""
        return self._persists

    def force_close(self) -> None:
        """End the connection after this answer."""
        self._persists = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Note whom it is for; everything is written at once by `write_eof`.

        A request whose body is still on its way ends its connection: what follows can't be trusted
        to come, and aiohttp reads the rest only to let the client see this answer.
        """
        self._to = request
        if self._persists is None:
            self._persists = request.keep_alive and request.content.is_eof()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the answer; a client that does not take it in time is cut off."""
        assert not data
        request = self._to
        assert request is not None
        connection = b""
        if not self._persists:
            connection = b"Connection: close\r\n"
        elif request.version == HttpVersion10:
            connection = b"Connection: keep-alive\r\n"
        head = self._head_bytes(connection)
        await _send(request, head if request.method == "HEAD" else head + self._content)

    def parting_bytes(self) -> bytes:
        """The whole answer, for a connection on which nothing was read and that is closed now."""
        return self._head_bytes(b"Connection: close\r\n") + self._content

    def _head_bytes(self, connection: bytes) -> bytes:
        length = b"Content-Length: %d\r\n\r\n" % len(self._content)
        return b"".join((self._head, _CLOCK.line(), connection, length))


async def _send(request: web.BaseRequest, data: bytes) -> None:
    """Write, and wait while much is unsent. Raise ConnectionError when nobody takes it."""
    writer, transport = request.writer, request.transport
    if transport is None:
        raise ConnectionResetError("the client has gone")
    if len(data) <= _SMALL_BYTES and not transport.get_write_buffer_size():
        await writer.write(data)
        return
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await writer.write(data)
            await writer.drain()
    except TimeoutError:
        transport.abort()
        raise ConnectionResetError("the client does not read its answers") from None


def json_response(status: int, body: Any, headers: HeaderLines = ()) -> WholeResponse:
    """Answer with a representation. Header values are ours, never a client's raw text."""
    return WholeResponse(
        status=status, head=_JSON_HEADS[status] + _lines(headers), body=orjson.dumps(body)
    )


def problem_response(problem: Problem, headers: HeaderLines = ()) -> WholeResponse:
    """Answer with a problem document."""
    status = problem.kind.status
    head = status_line_and_content_type(status, PROBLEM_JSON) + _lines(headers)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        head += b"Retry-After: %d\r\n" % RETRY_AFTER_S
    return WholeResponse(status=status, head=head, body=orjson.dumps(document(problem)))


EVENT_STREAM: Final = "text/event-stream"


def stream_head(headers: HeaderLines) -> bytes:
    """Begin Server-Sent Events, which end with their connection."""
    ours = (("X-Accel-Buffering", "no"), ("Connection", "close"))
    head = status_line_and_content_type(HTTPStatus.OK, EVENT_STREAM)
    return head + _lines((*ours, *headers)) + b"\r\n"


LOADS_NOTHING: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def page_response(
    content_type: str, body: bytes, policy: str = LOADS_NOTHING, headers: HeaderLines = ()
) -> WholeResponse:
    """Answer with a finished document; the policy says what it may load and run."""
    ours = (("Content-Security-Policy", policy), ("Referrer-Policy", "no-referrer"))
    head = status_line_and_content_type(HTTPStatus.OK, content_type) + _lines((*ours, *headers))
    return WholeResponse(status=HTTPStatus.OK, head=head, body=body)


def _lines(headers: HeaderLines) -> bytes:
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("ascii")
