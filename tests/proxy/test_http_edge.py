"""Bad input and HTTP itself, as bytes on a connection."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from proxy.adapters import http_responses
from proxy.adapters.http_server import HttpLimits

pytestmark = pytest.mark.server

if TYPE_CHECKING:
    from tests.proxy.conftest import Wallet

BODY = json.dumps(
    {
        "from_account_id": "issuer",
        "to_account_id": "ann",
        "amount": "1.00",
        "currency": "USD",
        "transaction_id": "t1",
    }
).encode()
JSON = b"Content-Type: application/json\r\n"
CLOSE = b"Host: localhost\r\nConnection: close\r\n"


def post(body: bytes, headers: bytes = JSON, path: bytes = b"/wallet/transfer") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + CLOSE + headers + length + b"\r\n" + body


def get(path: bytes, headers: bytes = CLOSE, method: bytes = b"GET") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\n" + headers + b"\r\n"


def chunked(*chunks: bytes) -> bytes:
    head = b"POST /wallet/transfer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + CLOSE + JSON
    return head + b"\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


def read(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one raw answer; its length must be as it says."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode("ascii").split("\r\n")
    headers = dict(name.split(": ", 1) for name in lines)
    assert len(headers) == len(lines), "a header came twice"
    return int(line.split()[1]), headers, body


async def exchange(wallet: Wallet, sent: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    status, headers, body = read(await wallet.exchange(sent))
    assert int(headers["Content-Length"]) == len(body)
    return status, headers, json.loads(body)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (post(b"nope"), 400, "not_json"),
        (post(b""), 400, "not_json"),
        (post(b'{"a":"\xff"}'), 400, "not_json"),
        (post(BODY.replace(b'"1.00"', b"1.00")), 400, "invalid_request"),
        (post(BODY[:-1] + b',"amount":"2.00"}'), 400, "invalid_request"),
        (post(BODY.replace(b"issuer", b"iss.uer")), 400, "invalid_request"),
        (post(BODY, path=b"/wallet/transfer?x=1"), 400, "invalid_request"),
        (post(BODY, headers=b""), 415, "unsupported_media_type"),
        (post(BODY, headers=b"Content-Type: text/plain\r\n"), 415, "unsupported_media_type"),
        (post(BODY, headers=b"Content-Type: application/json5\r\n"), 415, "unsupported_media_type"),
        (
            post(BODY, headers=b"Content-Type: application/json; charset=latin1\r\n"),
            415,
            "unsupported_media_type",
        ),
        (
            post(BODY, headers=b"Content-Type: application/x-www-form-urlencoded\r\n"),
            415,
            "unsupported_media_type",
        ),
        (
            post(BODY, headers=JSON + b"Content-Encoding: gzip\r\n"),
            415,
            "unsupported_content_encoding",
        ),
        (
            post(BODY, headers=JSON + b"Content-Encoding: identity\r\n"),
            415,
            "unsupported_content_encoding",
        ),
        (post(b" " * 4_097), 413, "body_too_large"),
        (post(b" " * 200_000), 413, "body_too_large"),
        (chunked(b" " * 4_000, b" " * 4_000, b""), 413, "body_too_large"),
        (chunked(b"{}", b""), 400, "invalid_request"),
        (chunked(b"{}") + b"zz\r\n", 400, "malformed_http"),
        (post(BODY, headers=JSON + b"Content-Length: 3\r\n"), 400, "malformed_http"),
        (post(BODY, headers=JSON + b"Transfer-Encoding: chunked\r\n"), 400, "malformed_http"),
        (get(b"/nowhere"), 404, "not_found"),
        (get(b"/"), 404, "not_found"),
        (get(b"/wallet/transfer/"), 404, "not_found"),
        (get(b"/wallet/accounts/a/b/c/d"), 404, "not_found"),
        (get(b"/wallet/../healthz"), 404, "not_found"),
        (get(b"*", method=b"OPTIONS"), 404, "not_found"),
        (get(b"wallet:443", method=b"CONNECT"), 404, "not_found"),
        (get(b"/healthz?x"), 400, "invalid_request"),
        (get(b"/docs?x"), 400, "invalid_request"),
        (get(b"/readyz?x"), 400, "invalid_request"),
        (get(b"/openapi.json?x"), 400, "invalid_request"),
        (get(b"/wallet/status?x"), 400, "invalid_request"),
        (get(b"/wallet/transfers/unfinished?limit=0"), 400, "invalid_request"),
        (get(b"/wallet/transfers/other"), 404, "not_found"),
        (get(b"/wallet/transfers"), 404, "not_found"),
        (post(BODY, JSON + b"Wallet-Coordination: saga\r\n"), 400, "invalid_request"),
        (post(BODY, JSON + b"Wallet-Coordination:\r\n"), 400, "invalid_request"),
        (
            post(BODY, JSON + b"Wallet-Coordination: tcc\r\nwallet-coordination: 2pc\r\n"),
            400,
            "invalid_request",
        ),
        (get(b"/wallet/accounts/a.b"), 400, "invalid_request"),
        (get(b"/wallet/accounts/"), 400, "invalid_request"),
        (get(b"/wallet/accounts/a%20b"), 400, "invalid_request"),
        (get(b"/wallet/accounts/ann%0A"), 400, "invalid_request"),
        (get(b"/wallet/accounts/ann%00"), 400, "invalid_request"),
        (get(b"/wallet/accounts/%FF"), 400, "invalid_request"),
        (get(b"/wallet/accounts/ann%2Fentries"), 400, "invalid_request"),
        (get(b"/wallet/accounts/%3E"), 400, "invalid_request"),
        (get(b"/wallet/accounts/" + b"a" * 65), 400, "invalid_request"),
        (get(b"/wallet/accounts/ann?sequence=1&sequence=2"), 400, "invalid_request"),
        (get(b"/wallet/accounts/ann/transfers/t.1"), 400, "invalid_request"),
        (get(b"/" + b"a" * 9_000), 431, "head_too_large"),
        (get(b"/", CLOSE + b"X: " + b"a" * 9_000 + b"\r\n"), 431, "head_too_large"),
        (get(b"/", CLOSE + b"X: a\r\n" * 70), 400, "malformed_http"),
        (get(b"/", CLOSE + b"X: a\x00b\r\n"), 400, "malformed_http"),
        (get(b"/", CLOSE, method=b"FROB"), 400, "malformed_http"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "malformed_http"),
        (b"hello\r\n\r\n", 400, "malformed_http"),
    ],
    ids=lambda value: value[:60] if isinstance(value, bytes) else None,
)
async def test_bad_input_is_a_precise_problem_and_moves_nothing(
    wallet: Wallet, sent: bytes, status: int, code: str
) -> None:
    openings = wallet.gateway.submitted
    found, headers, problem = await exchange(wallet, sent)
    assert (found, problem["code"]) == (status, code)
    assert problem["status"] == status
    assert headers["Content-Type"] == "application/problem+json"
    assert (problem["code"] == "invalid_request") == ("errors" in problem)
    assert wallet.gateway.submitted == openings


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/wallet/transfer", "POST"),
        ("/wallet/accounts/ann", "GET, HEAD, PUT"),
        ("/wallet/accounts/ann/entries", "GET, HEAD"),
        ("/wallet/accounts/ann/transfers/t1", "GET, HEAD"),
        ("/wallet/status", "GET, HEAD"),
        ("/wallet/transfers/unfinished", "GET, HEAD"),
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/docs", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"]
)
async def test_a_wrong_method_is_405_and_says_which_are_right(
    wallet: Wallet, path: str, allowed: str, method: str
) -> None:
    async with wallet.client.request(method, path) as answer:
        if method in allowed.split(", "):
            assert answer.status != 405
            return
        assert answer.status == 405
        assert answer.headers["Allow"] == allowed
        if method != "HEAD":
            assert (await answer.json(content_type=None))["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json;charset=utf-8", 'Application/JSON; Charset="UTF-8"'],
)
async def test_json_in_utf8_is_taken_however_it_is_spelt(wallet: Wallet, content_type: str) -> None:
    sent = post(BODY, headers=b"Content-Type: " + content_type.encode() + b"\r\n")
    assert (await exchange(wallet, sent))[0] == 201


@pytest.mark.parametrize(
    "sent",
    [
        post(BODY),
        post(BODY, path=b"http://localhost/wallet/transfer"),
        post(BODY, path=b"/wallet/%74ransfer".replace(b"%74", b"t")),
        post(BODY + b" " * (4_096 - len(BODY))),
        chunked(BODY[:7], BODY[7:], b""),
    ],
)
async def test_a_transfer_is_taken_however_it_is_sent(wallet: Wallet, sent: bytes) -> None:
    assert (await exchange(wallet, sent))[0] == 201


async def test_a_body_may_come_later_than_its_head(wallet: Wallet) -> None:
    reader, writer = await asyncio.open_connection(wallet.host, wallet.port)
    sent = post(BODY, headers=JSON + b"Expect: 100-continue\r\n")
    writer.write(sent[: -len(BODY)])
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert read(await reader.read())[0] == 201
    writer.close()


async def test_a_body_on_a_get_is_ignored(wallet: Wallet) -> None:
    sent = (
        get(b"/healthz", b"Host: localhost\r\nContent-Length: 5\r\n") + b"12345" + get(b"/healthz")
    )
    answers = await wallet.exchange(sent)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 2


async def test_one_connection_carries_many_requests_in_order(wallet: Wallet) -> None:
    sent = (
        get(b"/healthz", b"Host: localhost\r\n")
        + get(b"/nowhere", b"Host: localhost\r\n")
        + post(BODY)
    )
    answers = await wallet.exchange(sent)
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"201"]


async def test_head_is_get_without_the_body(wallet: Wallet) -> None:
    full = read(await wallet.exchange(get(b"/wallet/accounts/ann")))
    bare = read(await wallet.exchange(get(b"/wallet/accounts/ann", method=b"HEAD")))
    assert bare[0] == full[0] == 200
    assert bare[2] == b""
    assert bare[1] | {"Date": ""} == full[1] | {"Date": ""}


async def test_an_http_1_0_client_is_served_and_may_keep_its_connection(wallet: Wallet) -> None:
    status, headers, _ = read(await wallet.exchange(b"GET /healthz HTTP/1.0\r\n\r\n"))
    assert (status, headers["Connection"]) == (200, "close")
    kept = b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answers = await wallet.exchange(kept + b"GET /healthz HTTP/1.0\r\n\r\n")
    assert answers.count(b"200 OK") == 2
    assert answers.count(b"Connection: keep-alive\r\n") == 1


async def test_every_answer_is_dated(wallet: Wallet) -> None:
    headers = read(await wallet.exchange(get(b"/healthz")))[1]
    assert headers["Date"].endswith(" GMT")


async def test_an_upgrade_to_a_websocket_is_not_taken(wallet: Wallet) -> None:
    upgrade = (
        b"Host: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
    )
    reader, writer = await asyncio.open_connection(wallet.host, wallet.port)
    writer.write(get(b"/healthz", upgrade))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()


SHORT = HttpLimits(connections_max=2, idle_timeout_s=0.2, body_timeout_s=0.2)


async def test_a_body_that_never_ends_is_408(open_wallet: Any) -> None:
    async with open_wallet(SHORT) as wallet:
        for sent in (post(BODY)[:-1], chunked(b"{}")):
            status, headers, problem = await exchange(wallet, sent)
            assert (status, problem["code"]) == (408, "body_timeout")
            assert headers["Connection"] == "close"


async def test_an_answer_before_the_end_of_a_body_ends_the_connection(wallet: Wallet) -> None:
    """What follows on it could be the body's rest or a request: nobody can tell."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    status, headers, _ = read(await wallet.exchange(head))
    assert (status, headers["Connection"]) == (404, "close")


async def test_a_body_that_trickles_is_408_all_the_same(open_wallet: Any) -> None:
    async with open_wallet(SHORT) as wallet:
        reader, writer = await asyncio.open_connection(wallet.host, wallet.port)
        writer.write(chunked())
        answered = asyncio.ensure_future(reader.readuntil(b"\r\n"))
        while not answered.done():
            writer.write(b"1\r\n \r\n")
            await asyncio.wait([answered], timeout=0.02)
        assert await answered == b"HTTP/1.1 408 Request Timeout\r\n"
        writer.close()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"]
)
async def test_a_connection_without_a_whole_head_is_closed(open_wallet: Any, sent: bytes) -> None:
    async with open_wallet(SHORT) as wallet:
        assert await wallet.exchange(sent) == b""


async def test_a_head_that_trickles_is_cut_off(open_wallet: Any) -> None:
    async with open_wallet(SHORT) as wallet:
        reader, writer = await asyncio.open_connection(wallet.host, wallet.port)
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        ended = asyncio.ensure_future(_rest(reader))
        while not ended.done():
            writer.write(b"X: a\r\n")
            await asyncio.wait([ended], timeout=0.02)
        assert await ended == b""
        writer.close()


async def test_an_idle_connection_is_closed(open_wallet: Any) -> None:
    async with open_wallet(SHORT) as wallet:
        answer = await wallet.exchange(get(b"/healthz", b"Host: localhost\r\n"))
        assert read(answer)[0] == 200


async def test_a_held_request_is_not_idle(open_wallet: Any) -> None:
    async with open_wallet(SHORT) as wallet:
        wallet.gateway.pause()
        status, _, _ = read(await wallet.exchange(post(BODY, headers=JSON + b"Prefer: wait=1\r\n")))
        assert status == 202


async def test_a_client_that_does_not_read_its_answers_is_cut_off(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_responses, "SEND_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection(wallet.host, wallet.port, limit=1)
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionError):
            await _send_without_end(writer, get(b"/docs", b"Host: localhost\r\n") * 1_000)
    assert not reader.at_eof()


async def test_a_held_request_is_answered_before_the_server_ends(open_wallet: Any) -> None:
    async with open_wallet() as wallet:
        await wallet.open("issuer", overdraft="5")
        await wallet.open("ann")
        wallet.gateway.pause()
        held = asyncio.create_task(wallet.exchange(post(BODY)))
        async with asyncio.timeout(5):
            while wallet.gateway.submitted < 3:
                await asyncio.wait([held], timeout=0.01)
        ending = asyncio.create_task(wallet.runner.cleanup())
        await asyncio.wait([ending], timeout=0.05)
        wallet.gateway.resume()
        assert read(await held)[0] == 201
        await ending


async def test_one_connection_too_many_is_told_so_and_closed(open_wallet: Any) -> None:
    async with open_wallet(HttpLimits(connections_max=2)) as wallet:
        held = [await asyncio.open_connection(wallet.host, wallet.port) for _ in range(2)]
        for reader, writer in held:  # both are counted once they are answered
            writer.write(get(b"/healthz", b"Host: localhost\r\n"))
            await reader.readuntil(b"}")
        status, headers, problem = await exchange(wallet, b"")
        assert (status, problem["code"]) == (503, "too_many_connections")
        assert (headers["Retry-After"], headers["Connection"]) == ("1", "close")
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        assert (await _until_served(wallet))["status"] == "ok"


async def _send_without_end(writer: asyncio.StreamWriter, data: bytes) -> NoReturn:
    while True:
        writer.write(data)
        await writer.drain()


async def _until_served(wallet: Wallet) -> dict[str, Any]:
    """Ask until a connection is free again; the server learns of a closing on its own loop."""
    async with asyncio.timeout(5):
        while True:
            status, _, body = await exchange(wallet, get(b"/healthz"))
            if status == 200:
                return body


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """All that comes; a reset counts as the end."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
