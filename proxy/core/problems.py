"""Problem documents (RFC 9457): every way in which a request can end without success.

One table says the status, the stable code, the title and the sentence of each kind; the OpenAPI
document, the page of documentation and the answers are all made from it.
"""

from typing import Annotated, Final, NotRequired, TypedDict

from msgspec import Meta, Struct

from contracts.queries import Missing
from contracts.rejections import Rejection
from proxy.core.fields import FieldProblem

RETRY_AFTER_S: Final = 1
"""What a 503 tells the client to wait: failovers take about this long."""


class ProblemKind(Struct, frozen=True):
    """A kind of failure as clients program against it: `code` and `status` never change."""

    code: str
    status: int
    title: str
    detail: str
    """The usual explanation."""


class Problem(Struct, frozen=True):
    """One failure of one request."""

    kind: ProblemKind
    detail: str = ""
    """Empty: the kind's own."""
    errors: list[FieldProblem] = []
    """Every field that is wrong, when fields are."""


class ProblemDocument(TypedDict):
    """Why a request did not succeed (RFC 9457)."""

    type: Annotated[str, Meta(description="URI reference of the code's documentation.")]
    title: str
    status: int
    detail: str
    code: Annotated[str, Meta(description="Stable name of the kind of problem.")]
    errors: NotRequired[
        Annotated[list[FieldProblem], Meta(description="All fields that are wrong.")]
    ]


def document(problem: Problem) -> ProblemDocument:
    """The problem as the client gets it."""
    kind = problem.kind
    made: ProblemDocument = {
        "type": f"/docs#{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail or kind.detail,
        "code": kind.code,
    }
    if problem.errors:
        made["errors"] = problem.errors
    return made


MALFORMED_HTTP: Final = ProblemKind(
    "malformed_http", 400, "Malformed HTTP", "The request is not valid HTTP."
)
NOT_JSON: Final = ProblemKind(
    "not_json", 400, "Not a JSON object", "The body must be one JSON object in UTF-8."
)
INVALID_REQUEST: Final = ProblemKind(
    "invalid_request", 400, "Invalid request", "The fields listed in errors are not valid."
)
NOT_FOUND: Final = ProblemKind(
    "not_found", 404, "Not found", "There is no such address; see /docs for those that exist."
)
HOST_NOT_ALLOWED: Final = ProblemKind(
    "host_not_allowed",
    421,
    "Host not allowed",
    "The wallet does not answer to the name by which it was called, only to localhost, to addresses"
    " and to the names in EWALLET_HTTP_HOSTS.",
)
ORIGIN_NOT_ALLOWED: Final = ProblemKind(
    "origin_not_allowed",
    403,
    "Origin not allowed",
    "A page of that origin may not watch accounts here; EWALLET_HTTP_ORIGINS lists those that may.",
)
UPGRADE_REQUIRED: Final = ProblemKind(
    "upgrade_required", 426, "Upgrade required", "This address speaks WebSocket only."
)
TOO_MANY_ACCOUNTS: Final = ProblemKind(
    "too_many_accounts",
    422,
    "Too many accounts",
    "One connection watches so many accounts and no more. Open another one.",
)
NO_ROOM_TO_WATCH: Final = ProblemKind(
    "no_room_to_watch", 503, "No room to watch", "Too much is watched here. Try again."
)
METHOD_NOT_ALLOWED: Final = ProblemKind(
    "method_not_allowed", 405, "Method not allowed", "The header Allow lists what is possible here."
)
BODY_TIMEOUT: Final = ProblemKind(
    "body_timeout", 408, "Body too slow", "The body did not arrive in time; nothing was done."
)
BODY_TOO_LARGE: Final = ProblemKind(
    "body_too_large", 413, "Body too large", "The body is larger than any valid one."
)
UNSUPPORTED_MEDIA_TYPE: Final = ProblemKind(
    "unsupported_media_type",
    415,
    "Unsupported media type",
    "The body must be application/json, with no charset or utf-8.",
)
UNSUPPORTED_CONTENT_ENCODING: Final = ProblemKind(
    "unsupported_content_encoding",
    415,
    "Unsupported content encoding",
    "The body must not be compressed.",
)
HEAD_TOO_LARGE: Final = ProblemKind(
    "head_too_large",
    431,
    "Request head too large",
    "The request line or a header is longer than is read here.",
)

ACCOUNT_NOT_FOUND: Final = ProblemKind(
    "account_not_found", 404, "Account not found", "No account of this id was opened."
)
TRANSFER_NOT_FOUND: Final = ProblemKind(
    "transfer_not_found",
    404,
    "Transfer not found",
    "No outcome is recorded under this account and transaction id, at least not yet.",
)
BEFORE_OPENING: Final = ProblemKind(
    "before_opening", 404, "Before the opening", "The account was not open yet at that moment."
)
SEQUENCE_NOT_REACHED: Final = ProblemKind(
    "sequence_not_reached",
    409,
    "Sequence not reached",
    "The partition has not got to the demanded sequence; ask again, or for a smaller one.",
)

WRONG_PARTITION: Final = ProblemKind(
    "wrong_partition",
    503,
    "Routing mistake",
    "The transfer reached a writer that does not own the account; nothing was done.",
)
IDEMPOTENCY_CONFLICT: Final = ProblemKind(
    "idempotency_conflict",
    422,
    "Transaction id in use",
    "The payer used this transaction id for a transfer with other content.",
)
ACCOUNT_EXISTS: Final = ProblemKind(
    "account_exists",
    409,
    "Account exists",
    "The account was opened with another currency or overdraft limit.",
)
SAME_ACCOUNT: Final = ProblemKind(
    "same_account", 422, "Same account", "Payer and payee are the same account."
)
CROSS_PARTITION_NOT_SUPPORTED: Final = ProblemKind(
    "cross_partition_not_supported",
    422,
    "Accounts in different partitions",
    "An earlier version of this wallet refused it. Send it again: it works now.",
)
FROM_ACCOUNT_NOT_FOUND: Final = ProblemKind(
    "from_account_not_found", 404, "Payer not found", "No account of the payer's id was opened."
)
TO_ACCOUNT_NOT_FOUND: Final = ProblemKind(
    "to_account_not_found", 404, "Payee not found", "No account of the payee's id was opened."
)
CURRENCY_MISMATCH: Final = ProblemKind(
    "currency_mismatch",
    422,
    "Currency mismatch",
    "The transfer's currency is not the currency of both accounts.",
)
INSUFFICIENT_FUNDS: Final = ProblemKind(
    "insufficient_funds",
    422,
    "Insufficient funds",
    "The amount is more than what is available to the payer.",
)
BALANCE_LIMIT_EXCEEDED: Final = ProblemKind(
    "balance_limit_exceeded",
    422,
    "Balance limit exceeded",
    "The payee's balance, or what is set aside on either account, would exceed what an account"
    " can hold.",
)
HOLD_EXPIRED: Final = ProblemKind(
    "hold_expired",
    422,
    "Hold expired",
    "The transfer took too long and was undone: the money is where it was. Try again with a new"
    " transaction id.",
)
COORDINATION_TIMED_OUT: Final = ProblemKind(
    "coordination_timed_out",
    422,
    "Coordination timed out",
    "A partition did not answer in time and the transfer was undone: the money is where it was."
    " Try again with a new transaction id.",
)
CANCELLED: Final = ProblemKind(
    "cancelled",
    422,
    "Cancelled",
    "The step came after its transfer had been given up, so it was not taken. No transfer ends"
    " in this; its steps may show it.",
)

INTERNAL_ERROR: Final = ProblemKind(
    "internal_error", 500, "Internal error", "The wallet failed. Ask or repeat: repeats are safe."
)
NO_ROOM: Final = ProblemKind(
    "no_room", 503, "No room", "Too many requests are waiting; nothing was sent. Try again."
)
UNAVAILABLE: Final = ProblemKind(
    "unavailable", 503, "Unavailable", "Nobody takes changes now; nothing was sent. Try again."
)
NO_ANSWER: Final = ProblemKind(
    "no_answer", 503, "No answer", "No reader answered in time. Try again."
)
TOO_MANY_CONNECTIONS: Final = ProblemKind(
    "too_many_connections", 503, "Too many connections", "Nothing was read. Try again."
)
NOT_READY: Final = ProblemKind(
    "not_ready", 503, "Not ready", "The parts listed in errors are missing."
)

BY_REJECTION: Final[dict[Rejection, ProblemKind]] = {
    Rejection.WRONG_PARTITION: WRONG_PARTITION,
    Rejection.IDEMPOTENCY_CONFLICT: IDEMPOTENCY_CONFLICT,
    Rejection.ACCOUNT_EXISTS: ACCOUNT_EXISTS,
    Rejection.SAME_ACCOUNT: SAME_ACCOUNT,
    Rejection.CROSS_PARTITION_NOT_SUPPORTED: CROSS_PARTITION_NOT_SUPPORTED,
    Rejection.FROM_ACCOUNT_NOT_FOUND: FROM_ACCOUNT_NOT_FOUND,
    Rejection.TO_ACCOUNT_NOT_FOUND: TO_ACCOUNT_NOT_FOUND,
    Rejection.CURRENCY_MISMATCH: CURRENCY_MISMATCH,
    Rejection.INSUFFICIENT_FUNDS: INSUFFICIENT_FUNDS,
    Rejection.BALANCE_LIMIT_EXCEEDED: BALANCE_LIMIT_EXCEEDED,
    Rejection.HOLD_EXPIRED: HOLD_EXPIRED,
    Rejection.COORDINATION_TIMED_OUT: COORDINATION_TIMED_OUT,
    Rejection.CANCELLED: CANCELLED,
}

BY_MISSING: Final[dict[Missing, ProblemKind]] = {
    Missing.ACCOUNT: ACCOUNT_NOT_FOUND,
    Missing.TRANSFER: TRANSFER_NOT_FOUND,
    Missing.MOMENT: BEFORE_OPENING,
    Missing.SEQUENCE: SEQUENCE_NOT_REACHED,
}

ALL_KINDS: Final = tuple(kind for kind in globals().values() if isinstance(kind, ProblemKind))
"""In the order of this file: the HTTP edge, what was not found, rejections, faults."""
