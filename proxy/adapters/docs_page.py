"""The page for people at /docs: the OpenAPI document as plain HTML.

It loads nothing and runs nothing, so it works anywhere and its policy can forbid everything.
"""

from collections.abc import Sequence
from html import escape
from typing import Any, Final

import orjson

from proxy.core.fields import FIELD_FAULTS
from proxy.core.problems import ALL_KINDS

_STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
h2{margin:2.5rem 0 .5rem;border-top:1px solid var(--line);padding-top:1rem;font-size:1.2rem}
h3{margin:1.2rem 0 .3rem;font-size:1rem}
code,pre{font:.9em/1.45 ui-monospace,monospace;background:var(--soft);border-radius:4px}
code{padding:.1em .3em}pre{padding:.8rem;overflow-x:auto}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0}
tr{border-bottom:1px solid var(--line)}:target{background:#fc03}
""".strip()


def render_page(document: dict[str, Any]) -> bytes:
    """The whole page in UTF-8."""
    info = document["info"]
    schemas = document["components"]["schemas"]
    calls = [
        _call(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>",
        f"<p>{_prose(info['description'])} For programs: ",
        '<a href="/openapi.json">/openapi.json</a>, and for the messages of subscriptions ',
        '<a href="/asyncapi.json">/asyncapi.json</a>.</p>',
        _contents(document["paths"]),
        *calls,
        '<h2 id="problems">Problems</h2>',
        _problem_table(),
        '<h2 id="fields">Problems of fields</h2>',
        _table(("Code", "Meaning"), [(_code(code), _prose(s)) for code, s in FIELD_FAULTS.items()]),
        '<h2 id="schemas">Schemas</h2>',
        *(_schema(name, schema) for name, schema in schemas.items()),
        "</body></html>",
    ]
    return "".join(parts).encode("utf-8")


def _contents(paths: dict[str, Any]) -> str:
    lines = [
        f'<li><a href="#{operation["operationId"]}">{_code(f"{method.upper()} {path}")}</a> '
        f"{_prose(operation['summary'])}</li>"
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]
    return f"<ul>{''.join(lines)}</ul>"


def _call(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<h2 id="{operation["operationId"]}">{_code(f"{method.upper()} {path}")}</h2>',
        f"<p>{_prose(operation['summary'])}. {_prose(operation.get('description', ''))}</p>",
    ]
    if "parameters" in operation:
        rows = [_parameter(parameter) for parameter in operation["parameters"]]
        parts += ["<h3>Parameters</h3>", _table(("Name", "In", "Meaning"), rows)]
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        parts += ["<h3>Body</h3>", f"<p>{_references(body)}</p>"]
    rows = [_response(status, response) for status, response in operation["responses"].items()]
    parts += ["<h3>Answers</h3>", _table(("Status", "Body", "Meaning"), rows)]
    return "".join(parts)


def _parameter(parameter: dict[str, Any]) -> tuple[str, ...]:
    is_required = " (required)" if parameter["required"] else ""
    meaning = _prose(parameter.get("description", ""))
    return _code(parameter["name"]), parameter["in"] + is_required, meaning


def _response(status: str, response: dict[str, Any]) -> tuple[str, ...]:
    bodies = [
        _references(media.get("schema", {})) for media in response.get("content", {}).values()
    ]
    return status, ", ".join(bodies), _prose(response["description"])


def _references(schema: dict[str, Any]) -> str:
    """Links to the schemas that a schema names."""
    found = [schema, *schema.get("oneOf", []), *schema.get("allOf", [])]
    names = [part["$ref"].rpartition("/")[2] for part in found if "$ref" in part]
    return " or ".join(f'<a href="#schema-{name}">{escape(name)}</a>' for name in names)


def _problem_table() -> str:
    rows = [
        (f'<span id="{kind.code}">{_code(kind.code)}</span>', str(kind.status), _prose(kind.detail))
        for kind in ALL_KINDS
    ]
    return _table(("Code", "Status", "Meaning"), rows)


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode("utf-8")
    return f'<h3 id="schema-{name}">{escape(name)}</h3><pre>{escape(text)}</pre>'


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    """Escaped text in which `backquotes` mark code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
