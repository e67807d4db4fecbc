"""CPU time of running processes, by group, from `/proc`.

The time of children that ended and were waited for is in their parent's figures (cutime, cstime).
So the sum over a tree never shrinks, and a helper process that lives for a second is counted too.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
US_PER_TICK = 1_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessTime:
    """CPU time that a process and the children it waited for have used, in microseconds."""

    pid: int
    parent_pid: int
    cpu_us: int


@dataclass(frozen=True)
class GroupTime:
    """CPU time and number of the processes that share a label."""

    cpu_us: int
    processes: int


def parse_stat(text: str) -> ProcessTime:
    """Read one `/proc/<pid>/stat`. The name in it may hold blanks and parentheses."""
    pid, _, rest = text.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    # From the state on: state 0, ppid 1, utime 11, stime 12, cutime 13, cstime 14 (proc(5)).
    ticks = sum(int(field) for field in fields[11:15])
    return ProcessTime(int(pid), int(fields[1]), ticks * US_PER_TICK)


def running_processes() -> dict[int, ProcessTime]:
    """Return every process of the machine by its pid."""
    processes = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            process = parse_stat((entry / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        processes[process.pid] = process
    return processes


def used_us(pid: int) -> int:
    """Return what a running process and its ended children have used until now, in microseconds."""
    return parse_stat((PROC / str(pid) / "stat").read_text()).cpu_us


def descendants(roots: Iterable[int], processes: Mapping[int, ProcessTime]) -> set[int]:
    """Return the roots that exist and everything below them."""
    children = defaultdict(list)
    for process in processes.values():
        children[process.parent_pid].append(process.pid)
    found: set[int] = set()
    waiting = [root for root in roots if root in processes]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting.extend(children[pid])
    return found


def arguments(pid: int) -> list[str]:
    """Return the command line of a process; empty when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_text(errors="replace").rstrip("\0").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def group_times(
    roots: Iterable[int], label: Callable[[Sequence[str]], str]
) -> dict[str, GroupTime]:
    """Return what each group below the roots has used until now."""
    processes = running_processes()
    used: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for pid in descendants(roots, processes):
        group = label(arguments(pid))
        used[group] += processes[pid].cpu_us
        number[group] += 1
    return {group: GroupTime(used[group], number[group]) for group in used}


def machine_busy_us() -> int:
    """Return the time that all cores together were not idle since the machine started."""
    fields = [int(field) for field in (PROC / "stat").read_text().split("\n")[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) * US_PER_TICK
