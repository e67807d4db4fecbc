"""One web process of the PostgreSQL peer: the wallet's HTTP calls over a stored function.

Written as a team that knows its tools would: aiohttp on uvloop, typed decoding, prepared
statements, one round trip per transfer.
"""

import asyncio
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import asyncpg
import msgspec
import orjson
import uvloop
from aiohttp import web

AccountId = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
Amount = Annotated[str, msgspec.Meta(pattern=r"\A(0|[1-9][0-9]{0,14})(\.[0-9]{1,2})?\Z")]
Currency = Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")]

DECIMALS = {"USD": 2, "EUR": 2, "KRW": 0}
STATUS_OF_CODE = {"account_not_found": 404}
TRANSFER = "SELECT code, balance, seq, at FROM transfer($1, $2, $3, $4, $5)"
OPEN = """
    INSERT INTO accounts (account_id, currency, overdraft_minor) VALUES ($1, $2, $3)
    ON CONFLICT (account_id) DO UPDATE SET currency = accounts.currency
    RETURNING currency = $2 AND overdraft_minor = $3
"""
BALANCE = "SELECT currency, balance_minor FROM accounts WHERE account_id = $1"
QUERIES = (TRANSFER, OPEN, BALANCE)


class Transfer(msgspec.Struct, forbid_unknown_fields=True):
    from_account_id: AccountId
    to_account_id: AccountId
    amount: Amount
    currency: Currency
    transaction_id: AccountId


class OpenAccount(msgspec.Struct, forbid_unknown_fields=True):
    currency: Currency
    overdraft_limit: Amount = "0"


class Calls:
    """A pool of connections on which every statement is prepared, the last one back first out.

    asyncpg's own pool costs a task and a look-up per call, which a tuned service saves; and the
    connection used last has its server process still in the processor's cache.
    """

    def __init__(self) -> None:
        self._idle: list[dict[str, Any]] = []
        self._waiting: deque[asyncio.Future[dict[str, Any]]] = deque()

    async def connect(self, dsn: str, connections: int) -> None:
        for _ in range(connections):
            connection = await asyncpg.connect(dsn)
            statements = {query: await connection.prepare(query) for query in QUERIES}
            self._idle.append(statements)

    async def row(self, query: str, *arguments: object) -> Any:
        """Run one of QUERIES, waiting for a free connection, and return its first row."""
        if self._idle:
            statements = self._idle.pop()
        else:
            free = asyncio.get_running_loop().create_future()
            self._waiting.append(free)
            statements = await free
        try:
            return await statements[query].fetchrow(*arguments)
        finally:
            self._give_back(statements)

    def _give_back(self, statements: dict[str, Any]) -> None:
        while self._waiting:
            free = self._waiting.popleft()
            if not free.done():  # it is when its client went away
                free.set_result(statements)
                return
        self._idle.append(statements)


class RefusedError(Exception):
    """A request that is answered with a problem document."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


def minor_units(amount: str, currency: str) -> int:
    """Turn "10.5" USD into 1050; refuse an unknown currency or more decimals than it has."""
    decimals = DECIMALS.get(currency)
    whole, _, fraction = amount.partition(".")
    if decimals is None or len(fraction) > decimals:
        raise RefusedError(400, "malformed")
    return int(whole + fraction.ljust(decimals, "0"))


def decimal_string(minor: int, currency: str) -> str:
    """Turn -1050 USD into "-10.50"."""
    decimals = DECIMALS[currency]
    digits = str(abs(minor)).rjust(decimals + 1, "0")
    sign = "-" if minor < 0 else ""
    if not decimals:
        return sign + digits
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def answer(status: int, document: dict[str, Any], headers: dict[str, str]) -> web.Response:
    headers["Content-Type"] = "application/json"
    return web.Response(
        body=orjson.dumps(document, option=orjson.OPT_UTC_Z), status=status, headers=headers
    )


class Wallet:
    """The three calls that the benchmark makes, over one pool of connections."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._transfer = msgspec.json.Decoder(Transfer)
        self._open = msgspec.json.Decoder(OpenAccount)

    async def transfer(self, request: web.Request) -> web.Response:
        wanted = self._transfer.decode(await request.read())
        amount_minor = minor_units(wanted.amount, wanted.currency)
        if amount_minor == 0 or wanted.from_account_id == wanted.to_account_id:
            raise RefusedError(422, "same_account" if amount_minor else "malformed")
        code, balance, sequence, at = await self._calls.row(
            TRANSFER,
            wanted.from_account_id,
            wanted.to_account_id,
            amount_minor,
            wanted.currency,
            wanted.transaction_id,
        )
        account, transaction = wanted.from_account_id, wanted.transaction_id
        headers = {"Location": f"/wallet/accounts/{account}/transfers/{transaction}"}
        if code == "replayed":
            headers["Idempotent-Replayed"] = "true"
        elif code != "completed":
            raise RefusedError(422, code)
        document = {
            "transaction_id": wanted.transaction_id,
            "from_account_id": wanted.from_account_id,
            "to_account_id": wanted.to_account_id,
            "amount": decimal_string(amount_minor, wanted.currency),
            "currency": wanted.currency,
            "status": "completed",
            "balance": decimal_string(balance, wanted.currency),
            "sequence": sequence,
            "completed_at": at,
        }
        return answer(201, document, headers)

    async def open_account(self, request: web.Request) -> web.Response:
        account_id = request.match_info["account_id"]
        wanted = self._open.decode(await request.read())
        limit_minor = minor_units(wanted.overdraft_limit, wanted.currency)
        (same,) = await self._calls.row(OPEN, account_id, wanted.currency, limit_minor)
        if not same:
            raise RefusedError(409, "account_exists")
        return answer(201, {"account_id": account_id, "currency": wanted.currency}, {})

    async def balance(self, request: web.Request) -> web.Response:
        account_id = request.match_info["account_id"]
        row = await self._calls.row(BALANCE, account_id)
        if row is None:
            raise RefusedError(404, "account_not_found")
        currency, balance_minor = row
        balance = decimal_string(balance_minor, currency)
        return answer(200, {"account_id": account_id, "currency": currency, "balance": balance}, {})


Handler = Callable[[web.Request], Awaitable[web.Response]]


def with_problems(handler: Handler) -> Handler:
    """Answer what a handler refuses with a problem document.

    A plain wrapper: aiohttp's middlewares cost a few microseconds per request.
    """

    async def answered(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except msgspec.DecodeError:  # also the parent of ValidationError
            return problem(400, "malformed")
        except RefusedError as refused:
            return problem(refused.status, refused.code)
        except asyncpg.PostgresError as fault:
            if fault.sqlstate != "WA001":
                raise
            return problem(STATUS_OF_CODE.get(str(fault), 422), str(fault))

    return answered


def problem(status: int, code: str) -> web.Response:
    return web.Response(
        body=orjson.dumps({"status": status, "code": code}),
        status=status,
        content_type="application/problem+json",
    )


async def serve(dsn: str, port: int, connections: int) -> None:
    """Serve until SIGTERM or SIGINT; print a line with "ready" once the port is open."""
    calls = Calls()
    await calls.connect(dsn, connections)
    wallet = Wallet(calls)
    app = web.Application()
    app.router.add_post("/wallet/transfer", with_problems(wallet.transfer))
    app.router.add_put("/wallet/accounts/{account_id}", with_problems(wallet.open_account))
    app.router.add_get("/wallet/accounts/{account_id}", with_problems(wallet.balance))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    print("ready", flush=True)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
