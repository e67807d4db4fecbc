"""The OpenAPI document: valid, complete, and made from the types that decode and answer."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import orjson
import pytest

from contracts.money import DECIMALS
from proxy.adapters.asyncapi import describe_messages
from proxy.adapters.docs_page import render_page
from proxy.adapters.http_calls import CALLS, Call
from proxy.adapters.openapi import describe, to_json
from proxy.core.fields import FIELD_FAULTS, RULES
from proxy.core.problems import ALL_KINDS, BY_REJECTION

DOCUMENT: dict[str, Any] = orjson.loads(to_json(describe(CALLS)))


def test_the_document_is_valid_openapi_3_1() -> None:
    # A second of imports, which no other test of a run without servers needs.
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR  # noqa: PLC0415

    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)] == []


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    named = re.findall(r'"#/components/schemas/(\w+)"', to_json(DOCUMENT).decode())
    assert set(named) == set(schemas)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_every_call_is_described_with_all_its_answers(call: Call) -> None:
    operation = DOCUMENT["paths"][call.path][call.method.lower()]
    statuses = {str(reply.status) for reply in call.replies}
    assert statuses < set(operation["responses"])
    for kind in call.problems:
        response = operation["responses"][str(kind.status)]
        schema = response["content"]["application/problem+json"]["schema"]
        assert kind.code in schema["allOf"][1]["properties"]["code"]["enum"]


def test_every_problem_that_a_call_can_end_in_is_described_somewhere() -> None:
    described = to_json(DOCUMENT).decode() + to_json(describe_messages()).decode()
    connections_and_routes = {"not_found"}
    kinds = {kind.code for kind in ALL_KINDS} - connections_and_routes
    assert {code for code in kinds if f'"{code}"' not in described} == set()


@pytest.mark.parametrize("call", [call for call in CALLS if call.body], ids=lambda call: call.name)
def test_a_body_is_described_by_the_type_that_decodes_it(call: Call) -> None:
    assert call.body is not None
    schema = DOCUMENT["components"]["schemas"][call.body.__name__]
    fields = msgspec.structs.fields(call.body)
    assert list(schema["properties"]) == [field.name for field in fields]
    assert schema["required"] == [field.name for field in fields if field.required]
    assert schema["additionalProperties"] is False


def test_every_field_of_every_call_has_a_rule() -> None:
    forms = [call.parameters for call in CALLS] + [call.body for call in CALLS if call.body]
    names = {field.name for form in forms for field in msgspec.structs.fields(form)}
    assert names == set(RULES)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_an_address_belongs_to_one_call_path_only(call: Call) -> None:
    """The router takes the first template that fits, so no other may fit as well."""
    segments = call.path.split("/")
    others = {other.path for other in CALLS if other.path != call.path}
    fitting = [path for path in others if _fits(path.split("/"), segments)]
    assert fitting == []


def _fits(template: list[str], segments: list[str]) -> bool:
    """Whether one address can be one of both."""
    return len(template) == len(segments) and all(
        one == other or one.startswith("{") or other.startswith("{")
        for one, other in zip(template, segments, strict=True)
    )


def test_the_ways_of_coordination_are_listed_and_their_use_is_told() -> None:
    operation = DOCUMENT["paths"]["/wallet/transfer"]["post"]
    [header] = [p for p in operation["parameters"] if p["name"] == "Wallet-Coordination"]
    assert header["in"] == "header"
    assert header["schema"]["enum"] == ["choreography", "orchestration", "tcc", "2pc"]
    assert operation["responses"]["201"]["headers"]["Wallet-Coordination"]["required"] is True
    assert "Wallet-Coordination" not in operation["responses"]["202"]["headers"]


def test_currencies_are_listed() -> None:
    form = DOCUMENT["components"]["schemas"]["TransferForm"]
    assert form["properties"]["currency"]["enum"] == sorted(DECIMALS)


def test_the_page_explains_every_call_and_every_code_and_loads_nothing() -> None:
    page = render_page(DOCUMENT).decode()
    for call in CALLS:
        assert f'id="{call.name}"' in page
    for kind in (*ALL_KINDS, *BY_REJECTION.values()):
        assert page.count(f'id="{kind.code}"') == 1
    for code in FIELD_FAULTS:
        assert f"<code>{code}</code>" in page
    assert re.findall(r"<script|src=|@import|url\(|https?://", page) == []
    links = set(re.findall(r'href="([^"]*)"', page)) - {"/openapi.json", "/asyncapi.json"}
    assert {link for link in links if f'id="{link[1:]}"' not in page} == set()


def test_the_page_escapes_what_it_shows() -> None:
    document = orjson.loads(to_json(DOCUMENT))
    document["info"]["title"] = "<img src=x>"
    assert b"<img" not in render_page(document)
