"""The API in one table: the server routes by it and the OpenAPI document is made from it."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from msgspec import Struct

from proxy.adapters.http_handlers import Handlers, Target
from proxy.adapters.http_responses import EVENT_STREAM, JSON
from proxy.core import problems
from proxy.core.coordinations import COORDINATION_HEADER
from proxy.core.forms import AccountForm, TransferForm
from proxy.core.overview import Healthy, Overview
from proxy.core.parameters import (
    AccountParameters,
    ConsoleParameters,
    EntriesParameters,
    EventsParameters,
    NoParameters,
    OpeningParameters,
    TransferParameters,
    UnfinishedParameters,
)
from proxy.core.problems import ProblemKind
from proxy.core.recorded import (
    RecordedCompleted,
    RecordedPending,
    RecordedRejected,
    UnfinishedTransfers,
)
from proxy.core.representations import (
    AccountOpened,
    AccountPending,
    AccountState,
    Statement,
    TransferCompleted,
    TransferPending,
)

Handler = Callable[[Handlers, web.BaseRequest, Target], Awaitable[web.StreamResponse]]


_SHARED_HEADERS: Final = ("Access-Control-Allow-Origin", "Vary")


class Reply(Struct, frozen=True):
    """One way to succeed: the body is one of the kinds (none: a document of its own)."""

    status: int
    description: str
    kinds: tuple[type, ...] = ()
    headers: tuple[str, ...] = ()
    content_type: str = JSON


class Call(Struct, frozen=True):
    """One method of one address."""

    name: str
    """operationId."""
    method: str
    path: str
    handler: Handler
    summary: str
    parameters: type[Struct]
    """Fields named in the path are path parameters, all others query parameters."""
    replies: tuple[Reply, ...]
    problems: tuple[ProblemKind, ...] = ()
    """Besides those that any call can end in."""
    body: type[Struct] | None = None
    takes_prefer: bool = False
    takes_coordination: bool = False
    takes_last_event_id: bool = False
    description: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether pages on other hosts may read its answers if they are let watch."""
        return any(set(_SHARED_HEADERS) <= set(reply.headers) for reply in self.replies)


ANY_CALL: Final = (
    problems.MALFORMED_HTTP,
    problems.HOST_NOT_ALLOWED,
    problems.INVALID_REQUEST,
    problems.METHOD_NOT_ALLOWED,
    problems.HEAD_TOO_LARGE,
    problems.INTERNAL_ERROR,
    problems.TOO_MANY_CONNECTIONS,
)
"""What any call can end in."""

_BODIES: Final = (
    problems.NOT_JSON,
    problems.BODY_TIMEOUT,
    problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.UNSUPPORTED_CONTENT_ENCODING,
)

_COMMANDS: Final = (*_BODIES, problems.NO_ROOM, problems.UNAVAILABLE, problems.WRONG_PARTITION)

_REFUSED_TRANSFERS: Final = (
    problems.FROM_ACCOUNT_NOT_FOUND,
    problems.TO_ACCOUNT_NOT_FOUND,
    problems.IDEMPOTENCY_CONFLICT,
    problems.SAME_ACCOUNT,
    problems.CURRENCY_MISMATCH,
    problems.INSUFFICIENT_FUNDS,
    problems.BALANCE_LIMIT_EXCEEDED,
    problems.HOLD_EXPIRED,
    problems.COORDINATION_TIMED_OUT,
)

_QUERIES: Final = (problems.ACCOUNT_NOT_FOUND, problems.SEQUENCE_NOT_REACHED, problems.NO_ANSWER)

_DONE_HEADERS: Final = (
    "Location",
    "Idempotent-Replayed",
    "Preference-Applied",
    "Server-Timing",
)
_PENDING_HEADERS: Final = ("Location", "Preference-Applied")

CALLS: Final = (
    Call(
        name="transfer",
        method="POST",
        path="/wallet/transfer",
        handler=Handlers.transfer,
        summary="Move an amount from one account to another",
        description=(
            "The payer and the transaction id name the transfer for ever: the same request again"
            " gets the first answer again, done or refused, with `Idempotent-Replayed: true`, and"
            " moves nothing. When an answer gets lost, send the same request again. Accounts may"
            " live in different partitions; `Wallet-Coordination`, also of a refusal, tells how"
            " both sides were kept in step."
        ),
        parameters=NoParameters,
        body=TransferForm,
        takes_prefer=True,
        takes_coordination=True,
        replies=(
            Reply(
                201,
                "The amount moved, durably.",
                (TransferCompleted,),
                (*_DONE_HEADERS, COORDINATION_HEADER),
            ),
            Reply(202, "Sent; not known yet.", (TransferPending,), _PENDING_HEADERS),
        ),
        problems=(*_COMMANDS, *_REFUSED_TRANSFERS),
    ),
    Call(
        name="open_account",
        method="PUT",
        path="/wallet/accounts/{account_id}",
        handler=Handlers.open_account,
        summary="Open an account",
        description="The same request again gets the first answer again.",
        parameters=OpeningParameters,
        body=AccountForm,
        takes_prefer=True,
        replies=(
            Reply(201, "The account is open.", (AccountOpened,), _DONE_HEADERS),
            Reply(202, "Sent; not known yet.", (AccountPending,), _PENDING_HEADERS),
        ),
        problems=(*_COMMANDS, problems.ACCOUNT_EXISTS),
    ),
    Call(
        name="account",
        method="GET",
        path="/wallet/accounts/{account_id}",
        handler=Handlers.account,
        summary="Show an account, now or at a past moment",
        parameters=AccountParameters,
        replies=(Reply(200, "The account.", (AccountState,)),),
        problems=(*_QUERIES, problems.BEFORE_OPENING),
    ),
    Call(
        name="entries",
        method="GET",
        path="/wallet/accounts/{account_id}/entries",
        handler=Handlers.entries,
        summary="Show an account's statement, newest entries first",
        parameters=EntriesParameters,
        replies=(Reply(200, "A page of entries.", (Statement,)),),
        problems=_QUERIES,
    ),
    Call(
        name="recorded_transfer",
        method="GET",
        path="/wallet/accounts/{account_id}/transfers/{transaction_id}",
        handler=Handlers.recorded_transfer,
        summary="Show one transfer's outcome and its steps",
        description="With `Prefer: wait=n`, waits up to n seconds for the outcome.",
        parameters=TransferParameters,
        takes_prefer=True,
        replies=(
            Reply(
                200,
                "What became of it.",
                (RecordedCompleted, RecordedRejected, RecordedPending),
                ("Preference-Applied",),
            ),
        ),
        problems=(*_QUERIES, problems.TRANSFER_NOT_FOUND),
    ),
    Call(
        name="subscribe",
        method="GET",
        path="/wallet/subscribe",
        handler=Handlers.subscribe,
        summary="Watch accounts over WebSocket",
        description=(
            "`/asyncapi.json` describes the messages. First comes the present state of each"
            " account, then every change; whoever comes back with the last sequence it saw gets"
            " what changed since, and misses nothing."
        ),
        parameters=NoParameters,
        replies=(Reply(101, "From here on the connection speaks WebSocket."),),
        problems=(problems.ORIGIN_NOT_ALLOWED, problems.UPGRADE_REQUIRED),
    ),
    Call(
        name="events",
        method="GET",
        path="/wallet/accounts/{account_id}/events",
        handler=Handlers.events,
        summary="Watch an account over Server-Sent Events",
        description=(
            "Events `state` and `change` with the messages of `/asyncapi.json`; their id is the"
            " sequence. Without a sequence to begin with, the first is the present state. Problems"
            " too may be read by pages of the origins that are let watch."
        ),
        parameters=EventsParameters,
        takes_last_event_id=True,
        replies=(
            Reply(
                200, "Events without an end.", headers=_SHARED_HEADERS, content_type=EVENT_STREAM
            ),
        ),
        problems=(*_QUERIES, problems.ORIGIN_NOT_ALLOWED, problems.NO_ROOM_TO_WATCH),
    ),
    Call(
        name="unfinished_transfers",
        method="GET",
        path="/wallet/transfers/unfinished",
        handler=Handlers.unfinished,
        summary="Show the oldest transfers between partitions that have no outcome yet",
        parameters=UnfinishedParameters,
        replies=(Reply(200, "Those of all partitions.", (UnfinishedTransfers,)),),
        problems=(problems.NO_ANSWER,),
    ),
    Call(
        name="status",
        method="GET",
        path="/wallet/status",
        handler=Handlers.status,
        summary="Show who leads and who follows each partition, and how far they are",
        parameters=NoParameters,
        replies=(Reply(200, "The wallet as this proxy sees it.", (Overview,)),),
    ),
    Call(
        name="status_events",
        method="GET",
        path="/wallet/status/events",
        handler=Handlers.pictures,
        summary="Watch the wallet over Server-Sent Events",
        description=(
            "Once a second an event `picture` with status, unfinished transfers and pace, as"
            " `/asyncapi.json` describes it."
        ),
        parameters=NoParameters,
        replies=(
            Reply(
                200, "Events without an end.", headers=_SHARED_HEADERS, content_type=EVENT_STREAM
            ),
        ),
        problems=(problems.ORIGIN_NOT_ALLOWED,),
    ),
    Call(
        name="health",
        method="GET",
        path="/healthz",
        handler=Handlers.health,
        summary="Say whether this process lives",
        parameters=NoParameters,
        replies=(Reply(200, "It lives.", (Healthy,)),),
    ),
    Call(
        name="readiness",
        method="GET",
        path="/readyz",
        handler=Handlers.readiness,
        summary="Say whether transfers can be made",
        parameters=NoParameters,
        replies=(Reply(200, "They can.", (Healthy,)),),
        problems=(problems.NOT_READY,),
    ),
    Call(
        name="openapi",
        method="GET",
        path="/openapi.json",
        handler=Handlers.openapi,
        summary="Describe this API for programs",
        parameters=NoParameters,
        replies=(Reply(200, "OpenAPI 3.1."),),
    ),
    Call(
        name="asyncapi",
        method="GET",
        path="/asyncapi.json",
        handler=Handlers.asyncapi,
        summary="Describe the messages of subscriptions for programs",
        parameters=NoParameters,
        replies=(Reply(200, "AsyncAPI 3.0."),),
    ),
    Call(
        name="docs",
        method="GET",
        path="/docs",
        handler=Handlers.docs,
        summary="Describe this API for people",
        parameters=NoParameters,
        replies=(Reply(200, "A page.", content_type="text/html"),),
    ),
    Call(
        name="console",
        method="GET",
        path="/console",
        handler=Handlers.console,
        summary="Show the wallet at work, for people",
        parameters=NoParameters,
        replies=(Reply(200, "A page that loads its files from here.", content_type="text/html"),),
    ),
    Call(
        name="console_file",
        method="GET",
        path="/console/{file}",
        handler=Handlers.console,
        summary="Give a file of the console",
        parameters=ConsoleParameters,
        replies=(Reply(200, "The file.", content_type="*/*"),),
        problems=(problems.NOT_FOUND,),
    ),
    Call(
        name="console_library_file",
        method="GET",
        path="/console/vendor/uplot/{file}",
        handler=Handlers.console,
        summary="Give a file of the charting library that the console uses",
        parameters=ConsoleParameters,
        replies=(Reply(200, "The file.", content_type="*/*"),),
        problems=(problems.NOT_FOUND,),
    ),
)
