"""The configuration of the embedded nats-server. Pure: settings in, text out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.limits import FRAME_BYTES_MAX
from ewallet.permissions import Permissions, Role

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


def render(settings: NatsSettings, permissions: Mapping[Role, Permissions]) -> str:
    """Return the configuration file's text.

    It is JSON, which nats-server reads as its own format, so that quoting is settled and
    `read_urls` can read it back. What is absent is absent on purpose: no cluster, leafnode,
    WebSocket or MQTT listener, no user without a password.
    """
    return json.dumps(
        {
            "server_name": settings.server_name,
            "listen": f"{HOST}:{settings.port}",
            "http": f"{HOST}:{settings.monitor_port}",
            "max_payload": PAYLOAD_BYTES_MAX,
            # `always`: an acknowledged frame is on the disk, not in the page cache.
            "jetstream": {"store_dir": str(settings.store), "sync_interval": "always"},
            "authorization": {
                "users": [
                    {
                        "user": role.value,
                        "password": settings.passwords[role],
                        "permissions": permissions[role].as_configuration(),
                    }
                    for role in Role
                ]
            },
        },
        indent=2,
        ensure_ascii=False,  # nats-server does not know JSON's \u escapes
    )


def read_urls(text: str, role: Role) -> tuple[str, str]:
    """Return a role's (NATS URL, monitoring URL) from a text that `render` made.

    Raises ValueError or KeyError for any other text.
    """
    configuration: dict[str, Any] = json.loads(text)
    passwords = {user["user"]: user["password"] for user in configuration["authorization"]["users"]}
    nats_url = f"nats://{role.value}:{passwords[role.value]}@{configuration['listen']}"
    return nats_url, f"http://{configuration['http']}"
