"""The supervisor over real processes: tiny programs that leave a trace of what they did."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ewallet.child import Child, Program
from ewallet.supervisor import Crew, supervise
from ewallet.up import await_ready_line
from runtime.process import Unfit

pytestmark = pytest.mark.server

# Arguments: name, trace file, behaviours at the 1st, 2nd, … start (the last one repeats).
CHILD = """
import os, signal, sys, time
name, trace, *behaviours = sys.argv[1:]

def note(what):
    with open(trace, "a") as file:
        file.write(f"{what} {name}\\n")

def stop(*_):
    note("stopped")
    os._exit(0)

starts = open(trace).read().splitlines().count(f"started {name}") if os.path.exists(trace) else 0
behaviour = behaviours[min(starts, len(behaviours) - 1)]
signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "stubborn" else stop)
note("started")
if behaviour == "refuse":
    print("some log line\\nThe broker is not fit: repair it.", file=sys.stderr)
    sys.exit(78)
if behaviour == "die":
    print("out of luck", file=sys.stderr)
    sys.exit(3)
print("ready", flush=True)
if behaviour == "chatter":
    for _ in range(20_000):
        print("more than a pipe holds " * 10)
    sys.stdout.flush()
    note("said-everything")
while True:
    signal.pause()
"""


class Stage:
    """A folder for children that share one trace file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "child.py"
        self.script.write_text(CHILD)
        self.trace_file = folder / "trace"
        self.stop = asyncio.Event()
        self.was_ready = False

    def trace(self) -> list[str]:
        """Return what the children did, in order."""
        return self.trace_file.read_text().splitlines() if self.trace_file.exists() else []

    def child(
        self,
        name: str,
        *behaviours: str,
        essential: bool = False,
        prepare: Callable[[], None] = lambda: None,
    ) -> Child:
        """Return a child that is not started yet."""

        async def run_prepare() -> None:
            prepare()

        program = [sys.executable, "-S", str(self.script), name, str(self.trace_file)]
        return Child(
            Program(
                name=name,
                arguments=(*program, *(behaviours or ("run",))),
                environment=dict(os.environ),
                log=self.folder / f"{name}.log",
                prepare=run_prepare,
                await_ready=await_ready_line,
                essential=essential,
                stop_grace_s=0.5 if "stubborn" in behaviours else 10.0,
            )
        )

    def supervise(self, *children: Child) -> asyncio.Task[bool]:
        """Start children one after the other; they are stopped from the last to the first."""
        stages: Sequence[Sequence[Child]] = [[child] for child in children]
        crew = Crew(start_order=stages, stop_order=stages[::-1])
        return asyncio.create_task(supervise(crew, self.stop, self.note_ready))

    def note_ready(self) -> None:
        self.was_ready = True


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fail after 20 seconds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - other processes set it
            await asyncio.sleep(0.01)


def is_alive(process_id: int) -> bool:
    """Whether a process runs (one that is dead but not reaped does not)."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_children_start_and_stop_in_order(stage: Stage) -> None:
    running = stage.supervise(stage.child("a"), stage.child("b"), stage.child("c"))
    await until(lambda: stage.was_ready)
    assert stage.trace() == ["started a", "started b", "started c"]
    stage.stop.set()
    assert await running is True
    assert stage.trace()[3:] == ["stopped c", "stopped b", "stopped a"]


async def test_killed_child_is_restarted_and_the_others_never_notice(stage: Stage) -> None:
    first, second = stage.child("a"), stage.child("b")
    running = stage.supervise(first, second)
    await until(lambda: stage.was_ready)
    untouched = first.process_id
    for count in (2, 3, 4):
        assert second.process_id is not None
        os.kill(second.process_id, signal.SIGKILL)
        await until(lambda count=count: stage.trace().count("started b") == count)  # type: ignore[misc]
        await until(lambda: second.process_id is not None)
    assert first.process_id == untouched
    stage.stop.set()
    assert await running is True


async def test_child_that_dies_again_and_again_is_restarted_until_it_lives(stage: Stage) -> None:
    running = stage.supervise(stage.child("a", "die", "die", "die", "run"))
    await until(lambda: stage.was_ready)
    assert stage.trace() == ["started a"] * 4
    stage.stop.set()
    assert await running is True


async def test_refusal_at_the_start_stops_the_others_and_is_told_in_its_words(
    stage: Stage,
) -> None:
    running = stage.supervise(stage.child("a"), stage.child("b", "refuse"), stage.child("c"))
    with pytest.raises(Unfit, match=r"^b refuses to run: The broker is not fit: repair it\.$"):
        await running
    assert not stage.was_ready
    assert stage.trace() == ["started a", "started b", "stopped a"]


async def test_refusal_after_a_restart_stops_everything(stage: Stage) -> None:
    child = stage.child("b", "run", "refuse")
    running = stage.supervise(stage.child("a"), child, stage.child("c"))
    await until(lambda: stage.was_ready)
    assert child.process_id is not None
    os.kill(child.process_id, signal.SIGKILL)
    with pytest.raises(Unfit, match="b refuses to run"):
        await running
    assert stage.trace()[3:] == ["started b", "stopped c", "stopped a"]


async def test_essential_child_that_never_gets_ready_ends_the_start(stage: Stage) -> None:
    running = stage.supervise(stage.child("a", "die", essential=True), stage.child("b"))
    with pytest.raises(Unfit, match="a exited with code 3 before it was ready: out of luck"):
        await running
    assert stage.trace() == ["started a"]


async def test_preparation_comes_before_every_start_and_may_refuse(stage: Stage) -> None:
    """The check of the journals runs again before a restart, and may find damage then."""
    prepared: list[int] = []

    def prepare() -> None:
        prepared.append(len(stage.trace()))
        if len(prepared) == 3:
            raise Unfit("The journals are damaged.")

    child = stage.child("a", prepare=prepare)
    running = stage.supervise(child)
    await until(lambda: stage.was_ready)
    for count in (1, 2):
        await until(lambda count=count: stage.trace().count("started a") == count)  # type: ignore[misc]
        await until(lambda: child.process_id is not None)
        os.kill(child.process_id or 0, signal.SIGKILL)
    with pytest.raises(Unfit, match="damaged"):
        await running
    assert prepared == [0, 1, 2]


async def test_child_that_ignores_the_request_to_stop_is_killed(stage: Stage) -> None:
    child = stage.child("a", "stubborn")
    running = stage.supervise(child)
    await until(lambda: stage.was_ready)
    process_id = child.process_id or 0
    stage.stop.set()
    assert await running is False
    assert not is_alive(process_id)


async def test_end_may_be_asked_for_before_anything_is_ready(stage: Stage) -> None:
    """Also while a preparation takes for ever."""

    async def for_ever() -> None:
        await asyncio.Event().wait()

    child = stage.child("a")
    stuck = Child(
        Program(
            name="stuck",
            arguments=child.program.arguments,
            environment={},
            log=stage.folder / "stuck.log",
            prepare=for_ever,
            await_ready=await_ready_line,
        )
    )
    running = stage.supervise(child, stuck)
    await until(child.ready.is_set)
    stage.stop.set()
    assert await running is True
    assert not stage.was_ready
    assert stage.trace() == ["started a", "stopped a"]


async def test_child_that_talks_on_is_not_blocked(stage: Stage) -> None:
    running = stage.supervise(stage.child("a", "chatter"))
    await until(lambda: "said-everything a" in stage.trace())
    stage.stop.set()
    assert await running is True


async def test_child_has_a_session_of_its_own(stage: Stage) -> None:
    """So Ctrl-C in the terminal reaches the supervisor alone."""
    child = stage.child("a")
    running = stage.supervise(child)
    await until(lambda: stage.was_ready)
    assert os.getsid(child.process_id or 0) == child.process_id
    stage.stop.set()
    await running


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
import uvloop
from ewallet.child import Child, Program
from ewallet.supervisor import Crew, supervise
from ewallet.up import await_ready_line

async def nothing():
    pass

async def main(script, trace):
    children = [
        Child(Program(name=name, arguments=(sys.executable, "-S", script, name, trace, behaviour),
                      environment=dict(os.environ), log=Path(trace + "." + name),
                      prepare=nothing, await_ready=await_ready_line))
        for name, behaviour in (("a", "run"), ("b", "stubborn"))
    ]
    crew = Crew([children], [children])
    pids = lambda: print(*(child.process_id for child in children), flush=True)
    await supervise(crew, asyncio.Event(), pids)

uvloop.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
async def test_children_die_with_a_supervisor_that_is_killed(stage: Stage) -> None:
    """Even a child that ignores SIGTERM, and on the event loop that `ewallet up` uses."""
    arguments = [sys.executable, "-c", SUPERVISOR, str(stage.script), str(stage.trace_file)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as supervisor:  # noqa: ASYNC220
        assert supervisor.stdout is not None
        line = await asyncio.to_thread(supervisor.stdout.readline)
        process_ids = [int(word) for word in line.split()]
        assert len(process_ids) == 2
        assert all(is_alive(process_id) for process_id in process_ids)
        supervisor.kill()
    await until(lambda: not any(is_alive(process_id) for process_id in process_ids))
