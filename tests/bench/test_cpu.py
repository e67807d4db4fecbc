"""CPU time per group of processes, from lines of /proc."""

import os
import subprocess
import sys

from bench.cpu import (
    US_PER_TICK,
    GroupTime,
    ProcessTime,
    descendants,
    group_times,
    machine_busy_us,
    parse_stat,
    used_us,
)
from bench.measurement import cpu_per_transfer
from bench.peers.postgresql import process_group
from bench.wallet import role_of

STAT = "{} ({}) S {} 1 1 0 -1 4194304 7 8 9 10 11 12 13 14 20 0 1 0 500 1000 20\n"


def test_time_is_the_process_own_and_its_ended_children() -> None:
    line = STAT.format(42, "wrk", 7)
    assert parse_stat(line) == ProcessTime(42, 7, (11 + 12 + 13 + 14) * US_PER_TICK)


def test_a_process_name_may_hold_blanks_and_parentheses() -> None:
    line = STAT.format(42, "a) S 1 (b", 7)
    assert parse_stat(line) == parse_stat(STAT.format(42, "wrk", 7))


def test_descendants_are_found_at_every_depth_and_no_others() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1}
    processes = {pid: ProcessTime(pid, parent, 0) for pid, parent in parents.items()}
    assert descendants([10, 99], processes) == {10, 11, 12}


def test_a_child_that_worked_and_ended_stays_in_the_sum() -> None:
    before = group_times([os.getpid()], lambda _: "all")["all"].cpu_us
    program = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", program], check=True)
    after = group_times([os.getpid()], lambda _: "all")["all"].cpu_us
    assert after - before >= 200_000 - 2 * US_PER_TICK
    assert machine_busy_us() > 0


def test_a_process_that_runs_has_used_what_all_its_threads_did() -> None:
    program = """
import sys, threading, time
def work():
    while time.thread_time() < 0.1: pass
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(flush=True)
sys.stdin.read()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert used_us(child.pid) >= 200_000 - 2 * US_PER_TICK
        child.communicate()


def test_cpu_per_transfer_divides_what_a_load_used() -> None:
    used = cpu_per_transfer(
        {"proxy": GroupTime(5_000_000, 1)},
        {"proxy": GroupTime(5_060_000, 1), "late": GroupTime(10_000, 1)},
        busy_us=100_000,
        wrk_cpu_us=20_000,
        transfers=1_000,
    )
    assert used == {"proxy": 60.0, "late": 10.0, "wrk": 20.0, "elsewhere": 10.0}


def test_processes_are_named_by_their_command_lines() -> None:
    assert role_of(["/opt/bin/nats-server", "-c", "/data/writer"]) == "nats-server"
    assert role_of(["/v/bin/python", "-P", "-m", "writer"]) == "writer"
    assert role_of(["/v/bin/python", "/v/bin/ewallet", "up"]) == "up"
    assert role_of(["sleep", "1"]) == "other"
    assert process_group(["postgres: bench postgres [local] idle"]) == "backends"
    assert process_group(["postgres: walwriter "]) == "postgres"
    assert process_group(["/usr/lib/postgresql/15/bin/postgres", "-D", "x"]) == "postgres"
    assert process_group(["/v/bin/python", "/x/postgresql_web.py"]) == "web"
