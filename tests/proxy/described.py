"""Holds what a wallet really sends against what its AsyncAPI document says of the channel."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs

from proxy.adapters.asyncapi import describe_messages


def check_described(address: str, message: object) -> None:
    """It must be one of the messages that the wallet sends at an address."""
    _validator(address).validate(message)


@cache
def _validator(address: str) -> jsonschema_rs.Draft202012Validator:
    document = describe_messages()
    (channel,) = [name for name, each in document["channels"].items() if each["address"] == address]
    sent = [
        reference["$ref"].rpartition("/")[2]
        for operation in document["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{channel}" and operation["action"] == "send"
        for reference in operation["messages"]
    ]
    components: dict[str, Any] = document["components"]
    payloads = [components["messages"][name]["payload"] for name in sent]
    return jsonschema_rs.Draft202012Validator({"oneOf": payloads, "components": components})
