"""Three nats-servers on loopback with the wallet's own configuration, to be killed and started."""

import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ewallet.command_cluster_config import write_files
from ewallet.nats_binary import find_nats_server

SERVERS: Final = 3
START_S_MAX: Final = 60.0


class NatsCluster:
    """The servers have the numbers 0, 1 and 2; those that run are stopped by `clustered`."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder = folder
        ports = _free_ports(3 * SERVERS)
        self._client_ports = ports[:SERVERS]
        self._monitor_ports = ports[SERVERS : 2 * SERVERS]
        self._route_ports = ports[2 * SERVERS :]
        write_files(folder, ["127.0.0.1"] * SERVERS, folder / "store", partitions)
        text = (folder / "nats" / "nats-server.conf").read_text(encoding="utf-8")
        self._configuration: dict[str, Any] = json.loads(text)
        self._binary = find_nats_server(None)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._paused: set[int] = set()

    @property
    def monitor_urls(self) -> list[str]:
        """Of all servers."""
        return [f"http://127.0.0.1:{port}" for port in self._monitor_ports]

    def nats_urls(self, user: str) -> list[str]:
        """Of all servers, with the user's password."""
        password = (self._folder / user / "nats-password").read_text(encoding="utf-8")
        return [f"nats://{user}:{password}@127.0.0.1:{port}" for port in self._client_ports]

    def start(self, number: int) -> None:
        """Start a server that does not run."""
        path = self._folder / f"{number}.conf"
        path.write_text(json.dumps(self._configuration_of(number)), encoding="utf-8")
        log = self._folder / f"{number}.log"
        command = [
            str(self._binary),
            "--name",
            f"nats-{number}",
            "--config",
            str(path),
            "--log",
            str(log),
        ]
        self._running[number] = subprocess.Popen(command)

    def kill(self, number: int) -> None:
        """End a server by kill -9."""
        server = self._running.pop(number)
        self._paused.discard(number)
        server.kill()
        server.wait()

    def pause(self, number: int) -> None:
        """Let a server do nothing at all, with its connections open, until `resume`."""
        self._paused.add(number)
        self._running[number].send_signal(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Let a paused server go on."""
        self._running[number].send_signal(signal.SIGCONT)
        self._paused.discard(number)

    def restore(self) -> None:
        """Let all servers run again, whatever was done to them; return when they are healthy."""
        for number in range(SERVERS):
            if number in self._running:
                self.resume(number)
            else:
                self.start(number)
        self.await_healthy()

    def stop(self) -> None:
        """End all servers."""
        for number in list(self._running):
            self.kill(number)

    def await_healthy(self) -> None:
        """Return when all servers run and have caught up, and streams may be placed on each."""
        deadline_s = time.monotonic() + START_S_MAX
        while not (
            all(self._is_healthy(number) for number in range(SERVERS))
            and any(self._hears_all(number) for number in range(SERVERS))
        ):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the servers are not healthy; see their logs in {self._folder}")
            time.sleep(0.05)

    def groups(self, number: int) -> dict[str, dict[str, Any]]:
        """What a running server says of its Raft groups: of the meta group and of the streams."""
        groups: dict[str, dict[str, Any]] = {}
        for account in ("$SYS", "$G"):
            for found in self._get(number, f"/raftz?acc={account}").values():
                groups |= found
        return groups

    def leaders(self) -> dict[str, int]:
        """The server that leads each group, as those say that lead one; not of paused ones."""
        return {
            group: number
            for number in self._running.keys() - self._paused
            for group, said in self.groups(number).items()
            if said["state"] == "LEADER"
        }

    def _is_healthy(self, number: int) -> bool:
        try:
            return bool(self._get(number, "/healthz")["status"] == "ok")
        except (OSError, urllib.error.URLError):
            return False

    def _hears_all(self, number: int) -> bool:
        """Whether a server leads the meta group, and finds all others current and online."""
        others = self._get(number, "/jsz")["meta_cluster"].get("replicas", [])
        return len(others) == SERVERS - 1 and all(
            other["current"] and not other.get("offline") for other in others
        )

    def _get(self, number: int, path: str) -> Any:
        url = f"{self.monitor_urls[number]}{path}"
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # http://
            return json.loads(response.read())

    def _configuration_of(self, number: int) -> dict[str, Any]:
        here = self._configuration
        user = here["cluster"]["authorization"]
        routes = [
            f"nats-route://{user['user']}:{user['password']}@127.0.0.1:{port}"
            for port in self._route_ports
        ]
        listen = f"127.0.0.1:{self._route_ports[number]}"
        return here | {
            "listen": f"127.0.0.1:{self._client_ports[number]}",
            "http": f"127.0.0.1:{self._monitor_ports[number]}",
            "jetstream": here["jetstream"] | {"store_dir": str(self._folder / f"store-{number}")},
            "cluster": here["cluster"] | {"listen": listen, "routes": routes},
        }


@contextmanager
def clustered(folder: Path, partitions: int) -> Iterator[NatsCluster]:
    """A cluster that is healthy; nothing of it runs afterwards."""
    cluster = NatsCluster(folder, partitions)
    try:
        for number in range(SERVERS):
            cluster.start(number)
        cluster.await_healthy()
        yield cluster
    finally:
        cluster.stop()


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
