"""The configuration of a nats-server, embedded or in a cluster. Pure: settings in, text out.

What it grants its users and how it stores is the same for both, and stands here once.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.limits import FRAME_BYTES_MAX
from ewallet.permissions import SENTINEL, Permissions, Role, sentinel_permissions

HOST: Final = "127.0.0.1"

PAYLOAD_BYTES_MAX: Final = FRAME_BYTES_MAX + 64 * 1024
"""A frame and its headers (`max_payload` counts both; the server allows 64 KiB of headers)."""


@dataclass(frozen=True, kw_only=True)
class NatsSettings:
    """One embedded server: where it listens and stores, and who may log in.

    `server_name` is new at every start of the wallet, so that a client which reaches the port
    can tell this server from a stranger.
    """

    server_name: str
    port: int
    monitor_port: int
    store: Path
    passwords: Mapping[Role, str]

    @property
    def monitor_url(self) -> str:
        """The monitoring port's URL; it knows no passwords and asks for none."""
        return f"http://{HOST}:{self.monitor_port}"

    def url(self, role: Role) -> str:
        """Return the URL with which a role logs in. Secret."""
        return f"nats://{role.value}:{self.passwords[role]}@{HOST}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """The servers of a cluster, all configured alike but for the name that each is started with.

    `servers` are their host names, which are also those of the machines or containers; a server
    listens on all addresses, so only the wallet's services may share its network.
    """

    servers: Sequence[str]
    store: Path
    memory_bytes: int
    """What the streams in memory may take together. Each reserves its bound, and the usual limit is
    a share of the machine's memory or of GOMEMLIMIT, which may be less."""
    passwords: Mapping[Role, str]
    sentinel_password: str
    route_password: str


CLIENT_PORT: Final = 4222
MONITOR_PORT: Final = 8222
ROUTE_PORT: Final = 6222
_ROUTE_USER: Final = "route"


def render(settings: NatsSettings, permissions: Mapping[Role, Permissions]) -> str:
    """Return the configuration file's text.

    It is JSON, which nats-server reads as its own format, so that quoting is settled and
    `read_urls` can read it back. What is absent is absent on purpose: no cluster, leafnode,
    WebSocket or MQTT listener, no user without a password.
    """
    return _text(
        {
            "server_name": settings.server_name,
            "listen": f"{HOST}:{settings.port}",
            "http": f"{HOST}:{settings.monitor_port}",
            **_shared(settings.store, settings.passwords, permissions),
        }
    )


def render_cluster(settings: ClusterSettings, permissions: Mapping[Role, Permissions]) -> str:
    """Return the text for every server of the cluster; each is told its name with `--name`.

    Each is given the routes to all, itself included, which nats-server recognises.
    """
    routes = [
        f"nats-route://{_ROUTE_USER}:{settings.route_password}@{server}:{ROUTE_PORT}"
        for server in settings.servers
    ]
    shared = _shared(settings.store, settings.passwords, permissions)
    return _text(
        {
            "listen": f"0.0.0.0:{CLIENT_PORT}",
            "http": f"0.0.0.0:{MONITOR_PORT}",
            **shared,
            # The servers' own NATS account, under the name that it has by itself.
            "accounts": {
                "$SYS": {
                    "users": [_user(SENTINEL, settings.sentinel_password, sentinel_permissions())]
                }
            },
            "jetstream": shared["jetstream"] | {"max_memory_store": settings.memory_bytes},
            "cluster": {
                "name": "ewallet",
                "listen": f"0.0.0.0:{ROUTE_PORT}",
                "authorization": {"user": _ROUTE_USER, "password": settings.route_password},
                "routes": routes,
                # Clients know all servers by name; an address that one tells them may be stale.
                "no_advertise": True,
                # A route whose other end is gone without a word, as after a split, takes the place
                # of a new one until it is noticed: after 3 s, and not after the usual minute.
                "ping_interval": "1s",
                "ping_max": 2,
            },
        }
    )


def _shared(
    store: Path, passwords: Mapping[Role, str], permissions: Mapping[Role, Permissions]
) -> dict[str, Any]:
    """Return what every server of a wallet has: bounds, durability, users."""
    return {
        "max_payload": PAYLOAD_BYTES_MAX,
        # Who is gone without a word, as a reader whose machine lost its power, takes its share of
        # the questions until it is noticed: after 6 s, and not after the usual minutes.
        "ping_interval": "2s",
        "ping_max": 2,
        # `always`: an acknowledged frame is on the disk, not in the page cache.
        "jetstream": {"store_dir": str(store), "sync_interval": "always"},
        "authorization": {
            "users": [_user(role.value, passwords[role], permissions[role]) for role in Role]
        },
    }


def _user(name: str, password: str, permissions: Permissions) -> dict[str, object]:
    return {"user": name, "password": password, "permissions": permissions.as_configuration()}


def _text(configuration: Mapping[str, object]) -> str:
    # ensure_ascii: nats-server does not know JSON's \u escapes
    return json.dumps(configuration, indent=2, ensure_ascii=False)


def read_urls(text: str, role: Role) -> tuple[str, str]:
    """Return a role's (NATS URL, monitoring URL) from a text that `render` made.

    Raises ValueError or KeyError for any other text.
    """
    configuration: dict[str, Any] = json.loads(text)
    passwords = {user["user"]: user["password"] for user in configuration["authorization"]["users"]}
    nats_url = f"nats://{role.value}:{passwords[role.value]}@{configuration['listen']}"
    return nats_url, f"http://{configuration['http']}"
