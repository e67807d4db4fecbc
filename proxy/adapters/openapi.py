"""The OpenAPI 3.1 document, made from the table of calls and the types that do the decoding."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from importlib.metadata import version
from itertools import groupby
from typing import Any, Final

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import fields

from proxy.adapters.http_calls import ANY_CALL, Call, Reply
from proxy.adapters.http_responses import PROBLEM_JSON
from proxy.core.coordinations import COORDINATION_HEADER
from proxy.core.fields import COORDINATIONS, SEQUENCE_MAX
from proxy.core.parameters import LAST_EVENT_ID
from proxy.core.problems import ProblemDocument, ProblemKind

_REF: Final = "#/components/schemas/{name}"

_ABOUT: Final = (
    "Moves money between accounts. Amounts are decimal strings, moments RFC 3339 in UTC, errors"
    " RFC 9457 problem documents with a stable `code`."
)

_HEADERS: Final = {
    "Location": "Where the outcome can be asked for.",
    "Idempotent-Replayed": "`true` when this is the first answer again.",
    "Preference-Applied": "What was heeded of `Prefer`.",
    "Server-Timing": (
        "Where the time went, in ms, when `Prefer` asked for it: `batch` until its frame left,"
        " `wallet` until its result came, `answer` until this was written; `total`. `wallet` is cut"
        " into `journal` (until the broker stored the event), `project` (until a reader had applied"
        " it) and `push` (until the proxy had it), unless the clocks of the machines disagree."
    ),
    "Retry-After": "Seconds to wait before trying again.",
    "Allow": "Methods that are possible here.",
    "Upgrade": "The protocol that is spoken here.",
    "Access-Control-Allow-Origin": "The origin of the page that asks, if it is let watch.",
    "Vary": "`Origin`.",
    COORDINATION_HEADER: "How it was made all-or-nothing; `none`: by one partition alone.",
}

_ALWAYS: Final = frozenset(
    {"Location", "Retry-After", "Allow", "Upgrade", "Vary", COORDINATION_HEADER}
)

_PREFER: Final = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": (
        "`wait=n`: wait up to n seconds (at most 60) for the outcome; `respond-async`: do not"
        " wait, and ask the `Location` for the outcome; `server-timing`: tell where the time went."
        " Anything else is ignored (RFC 7240)."
    ),
    "schema": {"type": "string"},
    "example": "wait=1",
}

_COORDINATION: Final = {
    "name": COORDINATION_HEADER,
    "in": "header",
    "required": False,
    "description": (
        "How to make a transfer between partitions all-or-nothing: "
        + ", ".join(f"`{name}`" for name in COORDINATIONS)
        + ". Without it, as this wallet is set."
    ),
    "schema": {"type": "string", "enum": list(COORDINATIONS)},
}


_LAST_EVENT_ID: Final = {
    "name": LAST_EVENT_ID,
    "in": "header",
    "required": False,
    "description": "The id of the last event that was seen; outranks `from_sequence`.",
    "schema": {"type": "integer", "minimum": 0, "maximum": SEQUENCE_MAX},
}


def describe(calls: Sequence[Call]) -> dict[str, Any]:
    """The whole document, ready to be written as JSON."""
    kinds: list[type] = [ProblemDocument]
    for call in calls:
        kinds += [kind for reply in call.replies for kind in reply.kinds]
        kinds += [call.body] if call.body else []
    _, components = msgspec.json.schema_components(dict.fromkeys(kinds), ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {"title": "E-wallet", "version": version("ewallet"), "description": _ABOUT},
        "paths": paths,
        "components": {"schemas": components},
    }


def to_json(document: dict[str, Any]) -> bytes:
    """The bytes of `GET /openapi.json`."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def _operation(call: Call) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": call.name, "summary": call.summary}
    if call.description:
        described["description"] = call.description
    parameters = _parameters(call) + ([_PREFER] if call.takes_prefer else [])
    parameters += [_COORDINATION] if call.takes_coordination else []
    parameters += [_LAST_EVENT_ID] if call.takes_last_event_id else []
    if parameters:
        described["parameters"] = parameters
    if call.body:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _reference(call.body)}},
        }
    replies = {str(reply.status): _reply(reply) for reply in call.replies}
    described["responses"] = replies | _problems((*ANY_CALL, *call.problems))
    return described


def _parameters(call: Call) -> list[dict[str, Any]]:
    schemas = _properties(call.parameters)
    described = []
    for field in fields(call.parameters):
        schema = schemas[field.name]
        is_in_path = f"{{{field.name}}}" in call.path
        parameter: dict[str, Any] = {
            "name": field.name,
            "in": "path" if is_in_path else "query",
            "required": field.required,
        }
        if "description" in schema:
            parameter["description"] = schema.pop("description")
        described.append(parameter | {"schema": schema})
    return described


def _properties(form: type[Struct]) -> dict[str, Any]:
    """Each field's schema."""
    _, components = msgspec.json.schema_components([form], ref_template=_REF)
    properties: dict[str, Any] = components[form.__name__]["properties"]
    return properties


def _reply(reply: Reply) -> dict[str, Any]:
    references = [_reference(kind) for kind in reply.kinds]
    media: dict[str, Any] = {}
    if references:
        media["schema"] = references[0] if len(references) == 1 else {"oneOf": references}
    described: dict[str, Any] = {
        "description": reply.description,
        "content": {reply.content_type: media},
    }
    if reply.status == HTTPStatus.SWITCHING_PROTOCOLS:
        del described["content"]  # what follows is no HTTP
    if reply.headers:
        described["headers"] = _headers(reply.headers)
    return described


def _problems(kinds: Iterable[ProblemKind]) -> dict[str, Any]:
    """One response per status; which codes it may carry is part of its schema."""
    ordered = sorted(dict.fromkeys(kinds), key=lambda kind: kind.status)
    return {
        str(status): _problem_response(status, list(group))
        for status, group in groupby(ordered, key=lambda kind: kind.status)
    }


def _problem_response(status: int, kinds: list[ProblemKind]) -> dict[str, Any]:
    codes = {"properties": {"code": {"enum": [kind.code for kind in kinds]}}}
    described: dict[str, Any] = {
        "description": " ".join(f"`{kind.code}`: {kind.detail}" for kind in kinds),
        "content": {PROBLEM_JSON: {"schema": {"allOf": [_reference(ProblemDocument), codes]}}},
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        described["headers"] = _headers(("Retry-After",))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        described["headers"] = _headers(("Allow",))
    if status == HTTPStatus.UPGRADE_REQUIRED:
        described["headers"] = _headers(("Upgrade",))
    return described


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {
        name: {
            "description": _HEADERS[name],
            "required": name in _ALWAYS,
            "schema": {"type": "string"},
        }
        for name in names
    }


def _reference(kind: type) -> dict[str, Any]:
    return {"$ref": _REF.format(name=kind.__name__)}
