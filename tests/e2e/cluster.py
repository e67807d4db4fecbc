"""One wallet under docker compose, driven from outside: by `docker` commands and its port."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
TAG: Final = os.environ.get("EWALLET_TAG", "e2e")
IMAGE: Final = f"ewallet:{TAG}"
BASE_IMAGES: Final = {
    "EWALLET_PYTHON_IMAGE": "python:3.11-slim",
    "EWALLET_NATS_IMAGE": "nats:2.15-alpine",
}
"""By the setting that names another one."""
FILES: Final = ("docker-compose.yml", "tests/e2e/small-disk.yml")
"""The wallet as it is, and what the tests want otherwise."""

NATS: Final = ("nats-1", "nats-2", "nats-3")
SMALL_DISK: Final = "nats-3"
"""The server whose disk is so small that a test can fill it, and in memory."""
UPGRADE: Final = (
    NATS,
    ("sentinel-1", "sentinel-2", "postgres"),
    ("reader-1", "reader-2"),
    ("writer-1", "writer-2"),
    ("proxy-1", "proxy-2"),
    ("entry",),
)
"""Its steps: which services are replaced by new containers, in which order."""
SERVICES: Final = tuple(chain.from_iterable(UPGRADE))

NETWORKS: Final = {
    **dict.fromkeys(SERVICES, ("core",)),
    **dict.fromkeys(("proxy-1", "proxy-2"), ("core", "edge")),
    "entry": ("edge", "front"),
}
"""Where each service is."""

BUILD_S_MAX: Final = 900.0
START_S_MAX: Final = 240.0
COMMAND_S_MAX: Final = 60.0
HEALTH_INTERVAL_S: Final = 2
"""Most tests wait for docker to see that all is well again, which costs more than its checks do."""
ENTRY_S: Final = 5.0
"""By then the entry sends requests again to a proxy that docker has just called healthy. It keeps
an old address for 5 s after the name had it last (`hold obsolete`), of which docker's first check
takes 2; then it looks the new one up (0.5 s) and checks it (1 s). Nobody outside can ask it."""


class Cluster:
    """A project of its own name, on a free port, with volumes and networks of its own."""

    def __init__(self, project: str, files: Sequence[str] = FILES) -> None:
        self.project = project
        self._files = files
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._helper = ""
        """The id of its container, if there is one."""

    def build(self) -> None:
        """Build the images of the working tree."""
        self._compose("build", "--quiet", timeout_s=BUILD_S_MAX)

    def up(self, *services: str) -> None:
        """Start what does not run, by default of all; return when every container is healthy."""
        if not self._helper:
            self._start_helper()
        try:
            self._compose(
                "up", "--wait", "--no-build", "--quiet-pull", *services, timeout_s=START_S_MAX
            )
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.logs()}") from failure

    def _start_helper(self) -> None:
        """Start a container that acts beside the cluster, on its processes and on stored journals.

        It also keeps the disk in memory, which would be empty as soon as nobody used it. If nobody
        removes it, because the run was killed, it ends and is gone after a day.
        """
        self._compose("create", "--no-build", "--quiet-pull", *NATS)  # the volumes and their owners
        mounts = [
            f"--volume={self.project}_{each}:/{folder}/{each}:{options}"
            for each in NATS
            for folder, options in (("volumes", "nocopy"), ("journals", "ro,nocopy"))
        ]
        self._helper = self._docker(
            *("run", "--rm", "--detach", "--pid=host", "--network=none", "--entrypoint=sleep"),
            *(*mounts, IMAGE, "1d"),
        ).strip()

    def await_healthy(self) -> None:
        """Return when every container is, also one that is not at present.

        The NATS servers are asked themselves: docker tells of a pause only after five checks, and
        who was away for less may still lack a part of its streams.
        """
        deadline_s = time.monotonic() + START_S_MAX
        while not (self._are_all_healthy() and len(list(self._monitored("/healthz"))) == len(NATS)):
            assert time.monotonic() < deadline_s, self.logs()
            time.sleep(0.2)

    def _are_all_healthy(self) -> bool:
        project = f"label=com.docker.compose.project={self.project}"
        found = self._docker("ps", "--quiet", "--filter", project, "--filter", "health=healthy")
        return len(found.split()) == len(SERVICES)

    def is_healthy(self, service: str) -> bool:
        """Whether docker calls it so now."""
        state = self._docker("inspect", "--format", "{{.State.Health.Status}}", self._name(service))
        return state.strip() == "healthy"

    def await_one_unhealthy(self, service: str) -> None:
        """Return when docker has noticed."""
        deadline_s = time.monotonic() + START_S_MAX
        while self.is_healthy(service):
            assert time.monotonic() < deadline_s, self.logs()
            time.sleep(0.2)

    def down(self, *, forget: bool = False) -> None:
        """Stop and remove the containers and networks, and with `forget` the volumes."""
        if forget and self._helper:
            self._docker("rm", "--force", self._helper)
            self._helper = ""
        self._compose("down", "--timeout", "20", *(["--volumes"] if forget else []))

    def restart(self, service: str) -> None:
        """Stop and start a container."""
        self._docker("restart", self._name(service))

    def restart_all(self) -> None:
        """Stop and start all containers, in whatever order docker takes."""
        self._compose("restart", "--timeout", "20", timeout_s=START_S_MAX)

    def prepare(self) -> None:
        """Write the configuration of the NATS servers again, as an upgrade does."""
        self._compose("run", "--rm", "-T", "prepare")

    def replace(self, service: str, **settings: str) -> None:
        """Put a new container in a service's place, as an upgrade does.

        It is healthy then, and if it is a proxy, the other one may be stopped.
        """
        self._compose(
            *("up", "--detach", "--no-deps", "--wait", "--force-recreate", service),
            timeout_s=START_S_MAX,
            **settings,
        )
        if service.startswith("proxy-"):
            time.sleep(ENTRY_S)

    def stop(self, *services: str) -> None:
        """Ask containers to end; they stay away until `start`."""
        self._docker("stop", *map(self._name, services))

    # --- splits and pauses ---

    def pause(self, service: str) -> None:
        """Freeze a container's processes: its connections stay open, and it learns nothing.

        The kernel freezes no process that waits for a disk just then; docker gives up soon.
        """
        deadline_s = time.monotonic() + COMMAND_S_MAX
        while True:
            try:
                self._docker("pause", self._name(service))
            except AssertionError as refusal:
                if "unable to freeze" not in str(refusal) or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
            else:
                return

    def unpause(self, service: str) -> None:
        """Let it go on where it stood."""
        self._docker("unpause", self._name(service))

    def disconnect(self, service: str) -> None:
        """Split a container from all others; it runs on."""
        for network in NETWORKS[service]:
            self._docker("network", "disconnect", f"{self.project}_{network}", self._name(service))

    def connect(self, service: str) -> None:
        """Join it again, under the same name; its addresses may be others."""
        for network in NETWORKS[service]:
            self._docker(
                *("network", "connect", "--alias", service),
                *(f"{self.project}_{network}", self._name(service)),
            )

    def stop_hard(self, *services: str) -> None:
        """Kill -9 containers that stay away until `start`, as with the machines they run on."""
        self._docker("kill", "--signal", "KILL", *map(self._name, services))

    def start(self, *services: str) -> None:
        """Start containers that were stopped."""
        self._docker("start", *map(self._name, services))

    def kill_process(self, service: str, signal: int = 9) -> None:
        """Kill -9 the process in a container, which the restart policy then starts again.

        Signal 0 does nothing: what is left is what docker costs the clients on the same cores.
        """
        pid = self._docker("inspect", "--format", "{{.State.Pid}}", self._name(service))
        self._docker("exec", "--user=0:0", self._helper, "sh", "-c", f"kill -{signal} {pid}")

    # --- who is who, and what is inside ---

    def nats_leader(self) -> str:
        """The server that leads most journals, by what the servers say themselves."""
        for report in self._monitored("/jsz?accounts=1&streams=1"):
            streams = report["account_details"][0]["stream_detail"]
            leaders = [
                each["cluster"].get("leader") for each in streams if each["name"].startswith("EVT_")
            ]
            return max(NATS, key=leaders.count)
        raise AssertionError(self.logs())

    def service_of(self, connection: str) -> str:
        """The service whose connection to NATS has that name, such as a writer's id."""
        addresses = {
            each["ip"]
            for report in self._monitored("/connz?limit=1024")
            for each in report["connections"]
            if each.get("name") == connection
        }
        at = f'{{{{(index .NetworkSettings.Networks "{self.project}_core").IPAddress}}}}'
        for service in ("writer-1", "writer-2", "reader-1", "reader-2", "proxy-1", "proxy-2"):
            if self._docker("inspect", "--format", at, self._name(service)).strip() in addresses:
                return service
        raise AssertionError(f"nobody is connected as {connection}")

    def _monitored(self, path: str) -> Iterator[dict[str, Any]]:
        """What the monitoring ports of the servers say that answer."""
        for server in NATS:
            ask = ("sh", "-c", f'wget -q -O - "http://127.0.0.1:8222{path}"')
            try:
                yield json.loads(self._docker("exec", self._name(server), *ask))
            except AssertionError:  # it is away, or not ready to tell
                continue

    def run_in(self, service: str, *command: str) -> str:
        """Run a command in a service's container; give what it prints."""
        return self._docker("exec", self._name(service), *command, timeout_s=START_S_MAX)

    def python_on_volumes(self, program: str, *servers: str) -> str:
        """Run a program of ours that changes what NATS servers store; give what it prints.

        Its arguments are the folders, each named as its server.
        """
        return self._python_on([f"/volumes/{server}" for server in servers], program)

    def python_on_journals(self, program: str, *servers: str) -> str:
        """Run one that only reads: it could not change anything."""
        return self._python_on([f"/journals/{server}" for server in servers], program)

    def _python_on(self, folders: list[str], program: str) -> str:
        return self._docker("exec", self._helper, "python", "-c", program, *folders)

    def _name(self, service: str) -> str:
        """The name of its container, also of one that took another's place."""
        return f"{self.project}-{service}-1"

    def logs(self, *services: str, lines: int = 30) -> str:
        """The newest lines of every container, or of some."""
        return self._compose("logs", "--no-color", "--tail", str(lines), *services)

    def logs_since(self, moment_s: float) -> str:
        """All lines of every container from a moment on (Unix time), with their times."""
        return self._compose("logs", "--no-color", "--timestamps", "--since", f"{moment_s:.3f}")

    def backup(self, file: Path) -> None:
        """Take a backup while it runs."""
        take = ("exec", "-T", "writer-1", "ewallet", "backup", "-")
        with file.open("xb") as target:
            done = subprocess.run(
                ["docker", "compose", "--project-name", self.project, *take],
                cwd=REPOSITORY,
                env=os.environ | self._settings,
                stdout=target,
                stderr=subprocess.PIPE,
                timeout=COMMAND_S_MAX,
                check=False,
            )
        assert done.returncode == 0, done.stderr

    def restore(self, file: Path) -> None:
        """Make volumes without data into those of a backup; only the NATS servers run then."""
        self.up(*NATS)
        file.chmod(0o644)  # another user reads it there
        mounted = ("--volume", f"{file}:/backup:ro")
        self._compose(
            *("run", "--rm", "-T", *mounted, "writer-1", "restore", "/backup"),
            timeout_s=START_S_MAX,
        )

    @property
    def _settings(self) -> dict[str, str]:
        return {
            "EWALLET_PORT": str(self.port),
            "EWALLET_TAG": TAG,
            "EWALLET_PARTITIONS": "4",
            "EWALLET_HEALTH_INTERVAL": f"{HEALTH_INTERVAL_S}s",
        }

    def _compose(self, *arguments: str, timeout_s: float = COMMAND_S_MAX, **settings: str) -> str:
        files = [part for file in self._files for part in ("--file", file)]
        return self._docker(
            *("compose", *files, "--project-name", self.project),
            *arguments,
            timeout_s=timeout_s,
            **settings,
        )

    def _docker(self, *arguments: str, timeout_s: float = COMMAND_S_MAX, **settings: str) -> str:
        done = subprocess.run(
            ["docker", *arguments],
            cwd=REPOSITORY,
            env=os.environ | self._settings | settings,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout


def missing_for_docker() -> str | None:
    """What keeps the cluster from being built and run here; None if nothing does."""
    return _missing_engine() or _missing_image()


def _missing_image() -> str | None:
    for setting, usual in BASE_IMAGES.items():
        image = os.environ.get(setting) or usual
        for command in (["image", "inspect", image], ["pull", image]):
            done = subprocess.run(
                ["docker", *command], capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode == 0:
                break
        else:
            return (
                f"the image {image} is neither here nor can be pulled: load it with `docker load`, "
                f"or name one like it in {setting} ({done.stderr.strip()})"
            )
    return None


def _missing_engine() -> str | None:
    for command, lack in (
        (["docker", "version"], "no Docker engine answers: install and start one"),
        (["docker", "compose", "version"], "docker has no `compose` v2: install that plugin"),
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            return "there is no `docker` command: install a Docker engine with compose v2"
        if done.returncode != 0:
            return f"{lack} ({done.stderr.strip()})"
    return None
