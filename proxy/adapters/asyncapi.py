"""The AsyncAPI 3.0 document of the messages, made from the types that decode and fill them."""

from importlib.metadata import version
from typing import Any, Final

import msgspec

from proxy.core.live_messages import (
    AccountChanged,
    AccountStands,
    LiveError,
    Pong,
    Unsubscribed,
)
from proxy.core.live_requests import Ping, Subscribe, Unsubscribe
from proxy.core.picture import Picture

_SENT: Final = {"Subscribe": Subscribe, "Unsubscribe": Unsubscribe, "Ping": Ping}
_RECEIVED: Final = {
    "AccountStands": AccountStands,
    "AccountChanged": AccountChanged,
    "Unsubscribed": Unsubscribed,
    "Pong": Pong,
    "LiveError": LiveError,
}
_STREAMED: Final = ("AccountStands", "AccountChanged", "LiveError")
_PICTURES: Final = {"Picture": Picture}

_SCHEMA: Final = "#/components/schemas/{name}"

_ABOUT: Final = (
    "Watches accounts: first how each stands, then every change, in the order of its sequences,"
    " each once. Whoever comes back with the last sequence that it saw gets what changed since; if"
    " that is too much, how the account stands, with `conflated: true`. So does a connection that"
    " is read too slowly. Errors have the codes of `/docs#problems`. A WebSocket that is cut off"
    " because nothing was read is closed with 4008, one of a proxy that ends with 1001. Who can't"
    " see the pings of WebSocket itself, such as a page in a browser, says `ping` to learn whether"
    " the connection still lives."
)


def describe_messages() -> dict[str, Any]:
    """The whole document, ready to be written as JSON."""
    kinds = {**_SENT, **_RECEIVED}
    described = {**kinds, **_PICTURES}
    _, schemas = msgspec.json.schema_components(list(described.values()), ref_template=_SCHEMA)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "E-wallet", "version": version("ewallet"), "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": {
            "subscribe": {
                "address": "/wallet/subscribe",
                "description": (
                    "One WebSocket, any number of accounts up to a bound. While the wallet can't"
                    " read an account, nothing comes for it, no error either: it is told as soon"
                    " as it can be."
                ),
                "messages": {name: _message_of_components(name) for name in kinds},
                "bindings": {"ws": {"method": "GET"}},
            },
            "events": {
                "address": "/wallet/accounts/{account_id}/events",
                "description": (
                    "Server-Sent Events of one account: `state`, `change`, and `refused` with an"
                    " error. The id of the first two is the sequence; sent as `Last-Event-ID`, or"
                    " as `from_sequence` in the query, it is the place to go on behind. If nothing"
                    " can be told within 10 s, the answer is a 503."
                ),
                "parameters": {"account_id": {"description": "The account that is watched."}},
                "messages": {name: _message_of_components(name) for name in _STREAMED},
            },
            "pictures": {
                "address": "/wallet/status/events",
                "description": "Server-Sent Events: one a second, for who looks at the wallet.",
                "messages": {name: _message_of_components(name) for name in _PICTURES},
            },
        },
        "operations": {
            "ask": _operation("receive", "subscribe", "What the wallet takes.", list(_SENT)),
            "tell": _operation("send", "subscribe", "What the wallet tells.", list(_RECEIVED)),
            "stream": _operation(
                "send", "events", "What the wallet tells of one account.", list(_STREAMED)
            ),
            "show": _operation("send", "pictures", "How the wallet is.", list(_PICTURES)),
        },
        "components": {
            "messages": {name: _message(name, kind) for name, kind in described.items()},
            "schemas": schemas,
        },
    }


def _message(name: str, kind: type) -> dict[str, Any]:
    return {
        "name": name,
        "summary": (kind.__doc__ or "").partition("\n")[0],
        "payload": {"$ref": _SCHEMA.format(name=name)},
    }


def _message_of_components(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{name}"}


def _operation(action: str, channel: str, summary: str, names: list[str]) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }
