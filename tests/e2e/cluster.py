"""One wallet under docker compose, driven from outside: by `docker` commands and its port."""

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
IMAGE: Final = "ewallet:e2e"
BASE_IMAGES: Final = {
    "EWALLET_PYTHON_IMAGE": "python:3.11-slim",
    "EWALLET_NATS_IMAGE": "nats:2.15-alpine",
}
"""By the setting that names another one."""

NATS: Final = ("nats-1", "nats-2", "nats-3")
SERVICES: Final = (
    *NATS,
    *("sentinel-1", "sentinel-2", "writer-1", "writer-2", "reader-1", "reader-2", "postgres"),
    *("proxy-1", "proxy-2", "entry"),
)

BUILD_S_MAX: Final = 900.0
START_S_MAX: Final = 240.0
COMMAND_S_MAX: Final = 60.0


class Cluster:
    """A project of its own name, on a free port, with volumes and networks of its own."""

    def __init__(self, project: str) -> None:
        self.project = project
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def build(self) -> None:
        """Build the images of the working tree."""
        self._compose("build", "--quiet", timeout_s=BUILD_S_MAX)

    def up(self) -> None:
        """Start what does not run; return when every container is healthy."""
        try:
            self._compose("up", "--wait", "--no-build", "--quiet-pull", timeout_s=START_S_MAX)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.logs()}") from failure

    def await_healthy(self) -> None:
        """Return when every container is, also one that is not at present."""
        deadline_s = time.monotonic() + START_S_MAX
        project = f"label=com.docker.compose.project={self.project}"
        while True:
            found = self._docker(
                *("ps", "--quiet", "--filter", project, "--filter", "health=healthy")
            )
            if len(found.split()) == len(SERVICES):
                return
            assert time.monotonic() < deadline_s, self.logs()
            time.sleep(0.2)

    def down(self, *, forget: bool = False) -> None:
        """Stop and remove the containers and networks, and with `forget` the volumes."""
        self._compose("down", "--timeout", "20", *(["--volumes"] if forget else []))

    def restart(self) -> None:
        """Stop and start every container, in whatever order docker takes."""
        self._compose("restart", "--timeout", "20", timeout_s=START_S_MAX)

    def stop_hard(self, *services: str) -> None:
        """Kill -9 containers that stay away until `start`, as with the machines they run on."""
        self._compose("kill", "--signal", "KILL", *services)

    def start(self, *services: str) -> None:
        """Start containers that were stopped."""
        self._compose("start", *services)

    def kill_process(self, service: str) -> None:
        """Kill -9 the process in a container, which the restart policy then starts again."""
        pid = self._docker("inspect", "--format", "{{.State.Pid}}", self.container(service))
        self._docker(
            *("run", "--rm", "--pid=host", "--network=none", "--user=0:0"),
            *("--entrypoint=python", IMAGE, "-c", f"import os; os.kill({pid}, 9)"),
        )

    def container(self, service: str) -> str:
        """Its id; it must exist."""
        return self._compose("ps", "--all", "--quiet", service).strip()

    def logs(self, lines: int = 30) -> str:
        """The newest lines of every container."""
        return self._compose("logs", "--no-color", "--tail", str(lines))

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
        file.chmod(0o644)  # another user reads it there
        mounted = ("--volume", f"{file}:/backup:ro")
        self._compose(
            *("run", "--rm", "-T", *mounted, "writer-1", "restore", "/backup"),
            timeout_s=START_S_MAX,
        )

    @property
    def _settings(self) -> dict[str, str]:
        return {"EWALLET_PORT": str(self.port), "EWALLET_TAG": "e2e", "EWALLET_PARTITIONS": "4"}

    def _compose(self, *arguments: str, timeout_s: float = COMMAND_S_MAX) -> str:
        return self._docker(
            "compose", "--project-name", self.project, *arguments, timeout_s=timeout_s
        )

    def _docker(self, *arguments: str, timeout_s: float = COMMAND_S_MAX) -> str:
        done = subprocess.run(
            ["docker", *arguments],
            cwd=REPOSITORY,
            env=os.environ | self._settings,
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
