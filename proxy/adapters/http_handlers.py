"""What each call does: read the request, ask the gateway, write the answer.

Handlers know HTTP and the gateway and nothing about money. What a client did wrong comes back as
a Problem; what failed behind the gateway is raised and becomes one in `http_server`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from aiohttp import web
from msgspec import Struct

from contracts.commands import OpenAccount, Transfer
from contracts.coordination import COORDINATION_NAMES, Coordination
from contracts.limits import WAIT_MS_DEFAULT
from contracts.queries import (
    AccountAnswer,
    CreditStepsAnswer,
    CreditStepsQuery,
    EntriesAnswer,
    NotFound,
    StepRecord,
    TransferAnswer,
    TransferQuery,
    UnfinishedQuery,
)
from contracts.results import Result
from proxy.adapters.console_files import CONSOLE_POLICY, ConsoleFile
from proxy.adapters.http_bodies import read_json_body
from proxy.adapters.http_live import LiveHandlers
from proxy.adapters.http_responses import (
    WholeResponse,
    json_response,
    page_response,
    problem_response,
)
from proxy.adapters.live_status_stream import PictureFeed
from proxy.core.coordinations import COORDINATION_HEADER, choose_coordination
from proxy.core.fields import Fault
from proxy.core.forms import parse_account, parse_transfer
from proxy.core.instants import format_instant
from proxy.core.overview import (
    Healthy,
    Overview,
    coordinator_overviews,
    missing_parts,
    partition_overviews,
)
from proxy.core.pace import PaceMeter
from proxy.core.parameters import (
    Pairs,
    parse_account_query,
    parse_entries_query,
    parse_no_parameters,
    parse_transfer_query,
    parse_unfinished_query,
)
from proxy.core.picture import UNFINISHED_SHOWN, Picture
from proxy.core.preferences import NO_PREFERENCES, Preferences, parse_preferences
from proxy.core.problems import BY_MISSING, BY_REJECTION, NOT_FOUND, NOT_READY, Problem
from proxy.core.recorded import UnfinishedTransfers, recorded_transfer, unfinished_transfers
from proxy.core.representations import (
    account_opened,
    account_pending,
    account_state,
    statement,
    transfer_completed,
    transfer_pending,
)
from proxy.core.timing import Timing
from proxy.ports import AccountsQuery, Gateway, GatewayStatus, NoAnswer

Headers = list[tuple[str, str]]

_PICTURE_WAIT_S: Final = 0.5
"""How long a picture of the wallet waits for the unfinished transfers."""

_Command = TypeVar("_Command", OpenAccount, Transfer)
_Answer = TypeVar("_Answer", AccountAnswer, EntriesAnswer, TransferAnswer, CreditStepsAnswer)


class Target(Struct, frozen=True):
    """What stands in the request's address: names and values from the path and from the query."""

    path: Pairs
    query: Pairs


class Handlers:
    """The calls of the API over one gateway, and those of `live`.

    `openapi`, `asyncapi` and `docs` are the finished documents, `console` its files by path.
    `coordination` is that of transfers that come without a choice of their own; `now_ms` tells
    Unix milliseconds.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        coordination: Coordination,
        now_ms: Callable[[], int],
        body_timeout_s: float,
        live: LiveHandlers,
        openapi: bytes,
        asyncapi: bytes,
        docs: bytes,
        console: Mapping[str, ConsoleFile],
    ) -> None:
        self._gateway = gateway
        self._live = live
        self._coordination = coordination
        self._now_ms = now_ms
        slots = gateway.slots
        self._slot_counts = [slots.slots_of(each) for each in range(slots.partition_count)]
        self._body_timeout_s = body_timeout_s
        self._openapi = openapi
        self._asyncapi = asyncapi
        self._docs = docs
        self._console = console
        self._pictures = PictureFeed(self._picture)
        self._meter = PaceMeter()

    async def transfer(self, request: web.BaseRequest, target: Target) -> WholeResponse:
        """Move money: `POST /wallet/transfer`."""
        body = await read_json_body(request, timeout_s=self._body_timeout_s)
        if isinstance(body, Problem):
            return problem_response(body)
        command = parse_transfer(target.query, body, self._chosen_coordination(request))
        if isinstance(command, Problem):
            return problem_response(command)
        location = f"/wallet/accounts/{command.from_account_id}/transfers/{command.transaction_id}"
        return await self._carry_out(
            request, command, location, transfer_completed, transfer_pending
        )

    async def open_account(self, request: web.BaseRequest, target: Target) -> WholeResponse:
        """Open an account: `PUT /wallet/accounts/{account_id}`."""
        body = await read_json_body(request, timeout_s=self._body_timeout_s)
        if isinstance(body, Problem):
            return problem_response(body)
        command = parse_account(target.path, target.query, body)
        if isinstance(command, Problem):
            return problem_response(command)
        location = f"/wallet/accounts/{command.account_id}"
        return await self._carry_out(request, command, location, account_opened, account_pending)

    async def account(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Show an account: `GET /wallet/accounts/{account_id}`."""
        query = parse_account_query(target.path, target.query)
        if isinstance(query, Problem):
            return problem_response(query)
        answer = await self._ask(query, AccountAnswer)
        if isinstance(answer, NotFound):
            return _not_found(answer)
        return json_response(200, account_state(query, answer))

    async def entries(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Show a page of a statement: `GET /wallet/accounts/{account_id}/entries`."""
        query = parse_entries_query(target.path, target.query)
        if isinstance(query, Problem):
            return problem_response(query)
        answer = await self._ask(query, EntriesAnswer)
        if isinstance(answer, NotFound):
            return _not_found(answer)
        return json_response(200, statement(query, answer))

    async def recorded_transfer(self, request: web.BaseRequest, target: Target) -> WholeResponse:
        """Show one transfer: `GET /wallet/accounts/{account_id}/transfers/{transaction_id}`."""
        preferences = _preferences(request)
        query = parse_transfer_query(target.path, target.query, wait_ms=preferences.wait_ms or 0)
        if isinstance(query, Problem):
            return problem_response(query)
        headers = _applied(preferences)
        answer = await self._ask(query, TransferAnswer)
        if isinstance(answer, NotFound):
            return _not_found(answer, headers)
        credit_steps = await self._credit_steps(query, answer)
        return json_response(200, recorded_transfer(query, answer, credit_steps), headers)

    async def subscribe(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Watch accounts: `GET /wallet/subscribe`."""
        return await self._live.subscribe(request, target.query)

    async def events(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Watch one account: `GET /wallet/accounts/{account_id}/events`."""
        return await self._live.events(request, target.path, target.query)

    async def pictures(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        """Watch the wallet: `GET /wallet/status/events`."""
        return await self._live.pictures(request, target.query, self._pictures)

    async def unfinished(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Show transfers that have no outcome yet: `GET /wallet/transfers/unfinished`."""
        query = parse_unfinished_query(target.query)
        if isinstance(query, Problem):
            return problem_response(query)
        return json_response(200, await self._unfinished(query))

    async def status(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Show who answers for what: `GET /wallet/status`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        return json_response(200, self._overview(await self._gateway.status()))

    async def health(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Say that the process lives: `GET /healthz`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        alive: Healthy = {"status": "ok"}
        return json_response(200, alive)

    async def readiness(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Say whether transfers can be made: `GET /readyz`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        if missing := missing_parts(self._overview(await self._gateway.status())):
            return problem_response(Problem(NOT_READY, errors=missing))
        ready: Healthy = {"status": "ready"}
        return json_response(200, ready)

    async def openapi(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Describe the API for programs: `GET /openapi.json`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        return page_response("application/json", self._openapi)

    async def asyncapi(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Describe the messages for programs: `GET /asyncapi.json`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        return page_response("application/json", self._asyncapi)

    async def docs(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Describe the API for people: `GET /docs`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        return page_response("text/html; charset=utf-8", self._docs)

    async def console(self, request: web.BaseRequest, target: Target) -> WholeResponse:
        """Give the page for people, or a file of it: `GET /console`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        file = self._console.get(request.rel_url.path)
        if file is None:
            return problem_response(Problem(NOT_FOUND))
        return page_response(file.content_type, file.body, CONSOLE_POLICY)

    async def _carry_out(
        self,
        request: web.BaseRequest,
        command: _Command,
        location: str,
        done: Callable[[_Command, Result, int], object],
        pending: Callable[[_Command], object],
    ) -> WholeResponse:
        """Submit a command and show what became of it."""
        began_ns = time.perf_counter_ns()
        preferences = _preferences(request)
        wait_ms = WAIT_MS_DEFAULT if preferences.wait_ms is None else preferences.wait_ms
        timing = Timing(_unix_us) if preferences.is_timed else None
        result = await self._gateway.submit(command, wait_ms=wait_ms, timing=timing)
        headers = _applied(preferences)
        if result is None:
            headers.append(("Location", location))
            return json_response(202, pending(command), headers)
        if timing is not None:
            headers.append(("Server-Timing", timing.header()))
        if result.repeated:
            headers.append(("Idempotent-Replayed", "true"))
        if isinstance(command, Transfer):
            elapsed_us = (time.perf_counter_ns() - began_ns) // 1_000
            self._gateway.pace.note(elapsed_us, is_completed=result.rejection is None)
            headers.append((COORDINATION_HEADER, COORDINATION_NAMES[result.coordination]))
        if result.rejection is not None:
            return problem_response(Problem(BY_REJECTION[result.rejection]), headers)
        headers.append(("Location", location))
        partition = self._gateway.slots.partition_of(command.routing_account_id)
        return json_response(201, done(command, result, partition), headers)

    def _chosen_coordination(self, request: web.BaseRequest) -> Coordination | Fault:
        headers = request.headers
        if COORDINATION_HEADER not in headers:
            return self._coordination
        return choose_coordination(headers.getall(COORDINATION_HEADER))

    async def _credit_steps(
        self, query: TransferQuery, answer: TransferAnswer
    ) -> Sequence[StepRecord]:
        """The payee's side of a transfer between partitions: another partition's journal."""
        if answer.coordination is Coordination.NONE:
            return ()
        credit_query = CreditStepsQuery(
            to_account_id=answer.to_account_id,
            from_account_id=query.from_account_id,
            transaction_id=query.transaction_id,
        )
        found = await self._ask(credit_query, CreditStepsAnswer)
        return () if isinstance(found, NotFound) else found.steps

    async def _ask(self, query: AccountsQuery, kind: type[_Answer]) -> _Answer | NotFound:
        answer = await self._gateway.ask(query)
        assert isinstance(answer, kind | NotFound)
        return answer

    async def _unfinished(self, query: UnfinishedQuery) -> UnfinishedTransfers:
        answers = await self._gateway.unfinished(query)
        return unfinished_transfers(answers, limit=query.limit, now_ms=self._now_ms())

    async def _picture(self) -> Picture:
        """What who watches the wallet is shown. A reader that is away keeps no picture back."""
        asked = asyncio.create_task(self._gateway.status())
        unfinished = None
        with suppress(NoAnswer, TimeoutError):
            async with asyncio.timeout(_PICTURE_WAIT_S):
                unfinished = await self._unfinished(UnfinishedQuery(limit=UNFINISHED_SHOWN))
        status = await asked
        now_ms = self._now_ms()
        return {
            "at": format_instant(now_ms),
            "overview": self._overview(status),
            "unfinished": unfinished,
            "pace": self._meter.look(status.proxies, now_ms),
        }

    def _overview(self, status: GatewayStatus) -> Overview:
        return {
            "is_connected": status.is_connected,
            "held_requests": status.held_requests,
            "partitions": partition_overviews(self._slot_counts, status.writers, status.readers),
            "coordinators": coordinator_overviews(status.writers),
        }


def _unix_us() -> int:
    return time.time_ns() // 1_000


_PREFER: Final = "Prefer"


def _preferences(request: web.BaseRequest) -> Preferences:
    headers = request.headers
    return parse_preferences(headers.getall(_PREFER)) if _PREFER in headers else NO_PREFERENCES


def _applied(preferences: Preferences) -> Headers:
    return [("Preference-Applied", preferences.applied)] if preferences.applied else []


def _not_found(answer: NotFound, headers: Headers | None = None) -> WholeResponse:
    kind = BY_MISSING[answer.missing]
    where = f"Partition {answer.partition} is at sequence {answer.sequence}."
    return problem_response(Problem(kind, f"{kind.detail} {where}"), headers or [])
