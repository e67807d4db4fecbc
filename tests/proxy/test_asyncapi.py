"""The AsyncAPI document, and that the messages are what it says."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import msgspec
import orjson
import pytest

from contracts.changes import Change, Direction
from contracts.queries import Missing
from proxy.adapters.asyncapi import describe_messages
from proxy.adapters.http_calls import CALLS
from proxy.adapters.openapi import to_json
from proxy.core.live_messages import LIVE_KINDS, live_error, live_message, pong, unsubscribed
from proxy.core.live_requests import (
    MESSAGE_ACCOUNTS_MAX,
    MESSAGE_BYTES_MAX,
    Ping,
    Subscribe,
    parse_operation,
)
from proxy.core.problems import Problem
from proxy.core.watch import Changed, Refused, Standing, Terms

DOCUMENT: dict[str, Any] = orjson.loads(to_json(describe_messages()))
TERMS = Terms("ann", 0, "USD", 500)


def check(name: str, message: object) -> None:
    """Hold a message against its schema, in which nothing is left out."""
    schemas = DOCUMENT["components"]["schemas"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    shown = orjson.loads(orjson.dumps(message))
    jsonschema_rs.Draft202012Validator(schema).validate(shown)
    assert set(shown) <= set(schemas[name]["properties"])


def test_it_is_version_3_and_names_the_addresses() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    addresses = [channel["address"] for channel in DOCUMENT["channels"].values()]
    assert addresses == [
        "/wallet/subscribe",
        "/wallet/accounts/{account_id}/events",
        "/wallet/status/events",
    ]
    assert {each["action"] for each in DOCUMENT["operations"].values()} == {"send", "receive"}


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref":\s*"#/([^"]+)"', to_json(DOCUMENT).decode()):
        found: Any = DOCUMENT
        for step in reference.split("/"):
            found = found[step]


def test_every_message_belongs_to_one_direction() -> None:
    directions: dict[str, set[str]] = {}
    for operation in DOCUMENT["operations"].values():
        for each in operation["messages"]:
            name = each["$ref"].rpartition("/")[2]
            directions.setdefault(name, set()).add(operation["action"])
    assert directions.keys() == DOCUMENT["components"]["messages"].keys()
    assert {len(each) for each in directions.values()} == {1}


def test_every_message_of_a_channel_belongs_to_an_operation() -> None:
    operations = DOCUMENT["operations"].values()
    named = {each["$ref"] for one in operations for each in one["messages"]}
    assert named == {
        f"#/channels/{name}/messages/{message}"
        for name, channel in DOCUMENT["channels"].items()
        for message in channel["messages"]
    }


def test_what_stands_in_an_address_is_described() -> None:
    """And these are the addresses of the API."""
    paths = {call.path for call in CALLS}
    for channel in DOCUMENT["channels"].values():
        assert channel["address"] in paths
        assert list(channel.get("parameters", {})) == re.findall(r"{(\w+)}", channel["address"])


@pytest.mark.parametrize("direction", list(Direction))
def test_changes_are_as_described(direction: Direction) -> None:
    change = Change("ann", 7, 1_700_000_000_000, -250, 100, "t1", 250, direction)
    message = live_message(Changed(TERMS, change), is_conflated=False)
    check("AccountChanged", message)
    assert orjson.loads(orjson.dumps(message)) == {
        "type": "change",
        "account_id": "ann",
        "currency": "USD",
        "balance": "-2.50",
        "held": "1.00",
        "available": "1.50",
        "partition": 0,
        "sequence": 7,
        "at": "2023-11-14T22:13:20.000Z",
        "transaction_id": "t1",
        "direction": direction.name.lower(),
        "amount": "2.50",
        "conflated": False,
    }


@pytest.mark.parametrize("is_conflated", [False, True])
def test_states_are_as_described(is_conflated: bool) -> None:  # noqa: FBT001 # drawn
    state = live_message(Standing(TERMS, 100, 0, 7, 1), is_conflated=is_conflated)
    check("AccountStands", state)
    assert state["type"] == "state"
    assert state["conflated"] == is_conflated


def test_what_was_left_out_before_is_told_on_every_connection() -> None:
    state = live_message(Standing(TERMS, 100, 0, 7, 1, is_conflated=True), is_conflated=False)
    assert state["type"] == "state"
    assert state["conflated"]


@pytest.mark.parametrize("missing", [Missing.ACCOUNT, Missing.SEQUENCE])
def test_refusals_are_as_described(missing: Missing) -> None:
    check("LiveError", live_message(Refused("ann", missing), is_conflated=False))


@pytest.mark.parametrize("kind", LIVE_KINDS, ids=lambda kind: kind.code)
def test_errors_are_as_described(kind: Any) -> None:
    check("LiveError", live_error(Problem(kind)))


def test_bad_identifiers_are_named_in_an_error() -> None:
    problem = parse_operation('{"op":"subscribe","accounts":["a b"]}')
    assert isinstance(problem, Problem)
    error = live_error(problem)
    check("LiveError", error)
    assert error["errors"][0]["field"] == "accounts"


def test_confirmations_are_as_described() -> None:
    check("Unsubscribed", unsubscribed(["ann", "bob"]))


def test_pings_and_pongs_are_as_described() -> None:
    check("Ping", {"op": "ping"})
    assert parse_operation('{"op":"ping"}') == Ping()
    check("Pong", pong())


def test_the_longest_message_fits() -> None:
    ids = [f"{number:064}" for number in range(MESSAGE_ACCOUNTS_MAX)]
    operation = Subscribe(ids, dict.fromkeys(ids, 2**63 - 1))
    text = msgspec.json.encode(operation)
    assert len(text) <= MESSAGE_BYTES_MAX
    assert parse_operation(text.decode()) == operation
    check("Subscribe", orjson.loads(text))


def test_what_the_schema_refuses_is_refused() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for name, text in (
        ("Subscribe", '{"op":"subscribe"}'),
        ("Subscribe", '{"op":"subscribe","accounts":[],"x":1}'),
        ("Subscribe", '{"op":"x"}'),
        ("Ping", '{"op":"ping","accounts":["ann"]}'),
    ):
        assert isinstance(parse_operation(text), Problem)
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.Draft202012Validator(schemas[name]).validate(orjson.loads(text))
