"""Reading a request's body: of one kind, of bounded size, in bounded time."""

import asyncio
from typing import Final

from aiohttp import HttpVersion11, hdrs, web

from contracts.limits import BODY_BYTES_MAX
from proxy.core.problems import (
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    MALFORMED_HTTP,
    UNSUPPORTED_CONTENT_ENCODING,
    UNSUPPORTED_MEDIA_TYPE,
    Problem,
)

_JSON: Final = "application/json"
_UTF8: Final = frozenset({"charset=utf-8", 'charset="utf-8"'})


async def read_json_body(request: web.BaseRequest, *, timeout_s: float) -> bytes | Problem:
    """The body's bytes, or why it is not taken: its type, coding, size, pace or framing."""
    headers = request.headers
    content_type = headers.get(hdrs.CONTENT_TYPE)
    if content_type != _JSON and not _is_json(content_type):
        return Problem(UNSUPPORTED_MEDIA_TYPE)
    if hdrs.CONTENT_ENCODING in headers:
        return Problem(UNSUPPORTED_CONTENT_ENCODING)
    body: bytes | None
    try:
        # Nearly every body has arrived together with its head: no timer for those.
        if request.content.is_eof():
            body = request.content.read_nowait()
        else:
            async with asyncio.timeout(timeout_s):
                body = await _rest_of_body(request)
    except TimeoutError:
        return Problem(BODY_TIMEOUT)
    except web.RequestPayloadError:
        return Problem(MALFORMED_HTTP, "The body's framing is broken.")
    return Problem(BODY_TOO_LARGE) if body is None or len(body) > BODY_BYTES_MAX else body


async def _rest_of_body(request: web.BaseRequest) -> bytes | None:
    """Read to the end; None once it is, or says that it will be, longer than the bound."""
    declared = request.content_length
    if declared is not None and declared > BODY_BYTES_MAX:
        return None
    await _invite_body(request)
    content = request.content
    body = b""
    while not content.at_eof():
        body += await content.readany()
        if len(body) > BODY_BYTES_MAX:
            return None
    return body


async def _invite_body(request: web.BaseRequest) -> None:
    """Tell a client that waits for it (`Expect: 100-continue`) to send its body."""
    expectation = request.headers.get(hdrs.EXPECT, "")
    if request.version == HttpVersion11 and expectation.lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # by this aiohttp tells whether an answer has begun


def _is_json(content_type: str | None) -> bool:
    if content_type is None:
        return False
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    return kind == _JSON and all(part in _UTF8 for part in parameters if part)
