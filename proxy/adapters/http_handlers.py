"""What each call does: read the request, ask the gateway, write the answer.

Handlers know HTTP and the gateway and nothing about money. What a client did wrong comes back as
a Problem; what failed behind the gateway is raised and becomes one in `http_server`.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from aiohttp import web
from msgspec import Struct

from contracts.commands import OpenAccount, Transfer
from contracts.limits import WAIT_MS_DEFAULT
from contracts.partitioning import partition_of
from contracts.queries import AccountAnswer, EntriesAnswer, NotFound, Query, TransferAnswer
from contracts.results import Result
from proxy.adapters.http_bodies import read_json_body
from proxy.adapters.http_responses import (
    WholeResponse,
    json_response,
    page_response,
    problem_response,
)
from proxy.core.forms import parse_account, parse_transfer
from proxy.core.overview import Healthy, Overview, missing_parts, partition_overviews
from proxy.core.parameters import (
    Pairs,
    parse_account_query,
    parse_entries_query,
    parse_no_parameters,
    parse_transfer_query,
)
from proxy.core.preferences import NO_PREFERENCES, Preferences, parse_preferences
from proxy.core.problems import BY_MISSING, BY_REJECTION, NOT_READY, Problem
from proxy.core.representations import (
    account_opened,
    account_pending,
    account_state,
    statement,
    transfer_completed,
    transfer_pending,
    transfer_recorded,
)
from proxy.ports import Gateway

Headers = list[tuple[str, str]]

_Command = TypeVar("_Command", OpenAccount, Transfer)
_Answer = TypeVar("_Answer", AccountAnswer, EntriesAnswer, TransferAnswer)


class Target(Struct, frozen=True):
    """What stands in the request's address: names and values from the path and from the query."""

    path: Pairs
    query: Pairs


class Handlers:
    """The calls of the API over one gateway. `openapi` and `docs` are the finished documents."""

    def __init__(
        self, gateway: Gateway, *, body_timeout_s: float, openapi: bytes, docs: bytes
    ) -> None:
        self._gateway = gateway
        self._body_timeout_s = body_timeout_s
        self._openapi = openapi
        self._docs = docs

    async def transfer(self, request: web.BaseRequest, target: Target) -> WholeResponse:
        """Move money: `POST /wallet/transfer`."""
        body = await read_json_body(request, timeout_s=self._body_timeout_s)
        if isinstance(body, Problem):
            return problem_response(body)
        command = parse_transfer(target.query, body)
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
        return json_response(200, transfer_recorded(query, answer), headers)

    async def status(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Show who answers for what: `GET /wallet/status`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        return json_response(200, await self._overview())

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
        if missing := missing_parts(await self._overview()):
            return problem_response(Problem(NOT_READY, errors=missing))
        ready: Healthy = {"status": "ready"}
        return json_response(200, ready)

    async def openapi(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Describe the API for programs: `GET /openapi.json`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        return page_response("application/json", self._openapi)

    async def docs(self, _: web.BaseRequest, target: Target) -> WholeResponse:
        """Describe the API for people: `GET /docs`."""
        if problem := parse_no_parameters(target.query):
            return problem_response(problem)
        return page_response("text/html; charset=utf-8", self._docs)

    async def _carry_out(
        self,
        request: web.BaseRequest,
        command: _Command,
        location: str,
        done: Callable[[_Command, Result, int], object],
        pending: Callable[[_Command], object],
    ) -> WholeResponse:
        """Submit a command and show what became of it."""
        preferences = _preferences(request)
        wait_ms = WAIT_MS_DEFAULT if preferences.wait_ms is None else preferences.wait_ms
        result = await self._gateway.submit(command, wait_ms=wait_ms)
        headers = _applied(preferences)
        if result is None:
            headers.append(("Location", location))
            return json_response(202, pending(command), headers)
        if result.repeated:
            headers.append(("Idempotent-Replayed", "true"))
        if result.rejection is not None:
            return problem_response(Problem(BY_REJECTION[result.rejection]), headers)
        headers.append(("Location", location))
        partition = partition_of(command.routing_account_id, self._gateway.partition_count)
        return json_response(201, done(command, result, partition), headers)

    async def _ask(self, query: Query, kind: type[_Answer]) -> _Answer | NotFound:
        answer = await self._gateway.ask(query)
        assert isinstance(answer, kind | NotFound)
        return answer

    async def _overview(self) -> Overview:
        gateway = self._gateway
        status = await gateway.status()
        return {
            "is_connected": status.is_connected,
            "held_requests": status.held_requests,
            "partitions": partition_overviews(
                gateway.partition_count, status.writers, status.readers
            ),
        }


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
