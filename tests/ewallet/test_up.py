"""The whole embedded wallet, started, used, killed and stopped as its users do it."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.partitioning import SlotMap

pytestmark = pytest.mark.server

START_S_MAX = 30.0
STOP_S_MAX = 20.0
CHILDREN = ("nats-server", "writer", "reader", "proxy-1", "proxy-2")


def environment(**settings: str) -> dict[str, str]:
    """Return the environment without settings of the person who runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if "EWALLET" not in name}
    return inherited | settings


class Wallet:
    """One `ewallet up` on a folder and a free port."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        # A file of its own per run: process ids are read from it, and an earlier run's are not
        # ours to signal any more.
        descriptor, name = tempfile.mkstemp(suffix=".stderr", dir=data.parent)
        self.stderr_path = Path(name)
        with os.fdopen(descriptor, "ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ewallet", "up", *arguments],
                env=environment(EWALLET_DATA_DIR=str(data), EWALLET_HTTP_PORT="0"),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.announced = ""
        self.url = ""

    def await_ready(self) -> None:
        """Return when the ready line came; fail when the process ends without it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.announced += line
            if found := re.match(r"ready: (\S+)  \(docs at /docs\)$", line):
                self.url = found[1]
                return
        pytest.fail(f"ewallet up ended with {self.process.wait()}: {self.stderr()}")

    def child(self, name: str) -> int:
        """Return the process id of a child, as last reported; it is certainly our child's."""
        announced = re.findall(rf"^{name} +process (\d+)", self.announced, re.MULTILINE)
        restarted = re.findall(rf"{name} is ready again \(process (\d+)\)", self.stderr())
        process_id = int((announced + restarted)[-1])
        assert parent_of(process_id) == self.process.pid
        return process_id

    def children(self) -> list[int]:
        return [self.child(name) for name in CHILDREN]

    def stderr(self) -> str:
        return self.stderr_path.read_text()

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ask for the end and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_S_MAX)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of `ewallet` against this wallet."""
        return subprocess.run(
            [sys.executable, "-m", "ewallet", *arguments],
            env=environment(EWALLET_URL=self.url),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        ended = self.run(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def pay(self, transaction_id: str, amount: str = "1.00") -> Any:
        return self.json(
            "transfer", "bank", "anna", amount, "USD", "--transaction-id", transaction_id
        )

    def balance(self, account_id: str) -> Any:
        return self.json("balance", account_id)["balance"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Wallet]]:
    """A function that starts a wallet; all of them end with the test."""
    wallets: list[Wallet] = []

    def start(*arguments: str, data: Path = tmp_path / "data") -> Wallet:
        wallets.append(Wallet(data, *arguments))
        wallets[-1].await_ready()
        return wallets[-1]

    yield start
    for wallet in wallets:
        if wallet.process.poll() is None:
            wallet.process.kill()  # its children die with it
        wallet.process.wait(STOP_S_MAX)
        assert wallet.process.stdout is not None
        wallet.process.stdout.close()


def open_two_accounts(wallet: Wallet) -> None:
    wallet.json("accounts", "open", "bank", "--currency", "USD", "--overdraft-limit", "1000.00")
    wallet.json("accounts", "open", "anna", "--currency", "USD")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + START_S_MAX
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {START_S_MAX} s: {what}"
        time.sleep(0.05)


def parent_of(process_id: int) -> int | None:
    """Return the parent of a running process; None for one that is dead, reaped or not."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state[0] == "Z" else int(state[1])


def is_alive(process_id: int) -> bool:
    return parent_of(process_id) is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_wallet_stops_completely_and_comes_back_with_its_data(
    start: Callable[..., Wallet], number: signal.Signals
) -> None:
    wallet = start()
    open_two_accounts(wallet)
    done = wallet.pay("t1", "12.34")
    assert done["status"] == "completed"
    children = wallet.children()
    assert wallet.stop(number) == 0
    assert [child for child in children if is_alive(child)] == []
    again = start()
    assert again.balance("anna") == "12.34"
    assert again.balance("bank") == "-12.34"
    assert again.pay("t1", "12.34") == done
    assert again.stop(number) == 0


def test_commands_show_what_the_wallet_knows(start: Callable[..., Wallet]) -> None:
    wallet = start("--partitions", "2")
    wallet.json("accounts", "open", "--count", "20", "--prefix", "u-", "--currency", "USD")
    open_two_accounts(wallet)
    slots = SlotMap.even(2)
    home = slots.partition_of("bank")
    payee = next(f"u-{n}" for n in range(1, 21) if slots.partition_of(f"u-{n}") == home)
    before = wallet.json("balance", payee)
    told = wallet.run("transfer", "bank", payee, "2.50", "USD")
    assert told.returncode == 0
    assert f"completed: 2.50 USD from bank to {payee}, new balance -2.50" in told.stdout
    assert re.search(r"transaction id [0-9a-f]{32}", told.stderr)
    assert re.search(rf"{payee} +USD +2\.50", wallet.run("balance", payee).stdout)
    statement = wallet.run("entries", "bank").stdout
    assert re.search(rf"-2\.50 +-2\.50 +{payee} ", statement)
    assert wallet.json("balance", payee, "--sequence", str(before["sequence"])) == before
    assert wallet.json("balance", payee, "--at", before["as_of"])["balance"] == "0.00"
    status = wallet.run("status")
    assert status.returncode == 0
    assert len(status.stdout.splitlines()) == 6
    assert re.search(r"^c0 +writer-", status.stdout, re.MULTILINE)
    assert "nobody" not in status.stdout
    spread = wallet.json("partitions", "--seconds", "0.2")
    assert [part["slots"] for part in spread["partitions"]] == [8_192, 8_192]
    assert sum(part["accounts"] for part in spread["partitions"]) == 22
    far = next(f"u-{n}" for n in range(1, 21) if slots.partition_of(f"u-{n}") != home)
    told = wallet.run(
        "transfer", "bank", far, "1.00", "USD", "--transaction-id", "t9", "--coordination", "tcc"
    )
    assert "coordination tcc)" in told.stdout
    steps = wallet.run("transfers", "show", "bank", "t9").stdout
    assert re.findall(r"^[a-z]+_[a-z]+", steps, re.MULTILINE)[0] == "try_debit"
    assert wallet.json("transfers", "unfinished")["count"] == 0
    refused = wallet.run("transfer", payee, "bank", "99.00", "USD")
    assert refused.returncode == 1
    assert "(insufficient_funds)" in refused.stderr


@pytest.mark.parametrize("name", CHILDREN)
def test_kill_of_any_child_is_survived(start: Callable[..., Wallet], name: str) -> None:
    wallet = start()
    open_two_accounts(wallet)
    for round_number in (1, 2):
        wallet.pay(f"before-{round_number}")
        os.kill(wallet.child(name), signal.SIGKILL)
        wallet.pay(f"after-{round_number}")
        until(
            lambda count=round_number: (  # type: ignore[misc]
                wallet.stderr().count(f"{name} is ready again") == count
            ),
            f"{name} is ready again",
        )
        assert f"{name} was killed by SIGKILL and is restarted" in wallet.stderr()
    assert wallet.balance("anna") == "4.00"
    assert wallet.stop() == 0


def test_nothing_outlives_a_killed_supervisor(start: Callable[..., Wallet]) -> None:
    wallet = start()
    open_two_accounts(wallet)
    wallet.pay("t1")
    children = wallet.children()
    wallet.process.kill()
    again = start()
    assert [child for child in children if is_alive(child)] == []
    assert again.balance("anna") == "1.00"
    assert again.stop() == 0


def test_second_instance_leaves_the_first_alone(start: Callable[..., Wallet]) -> None:
    wallet = start()
    open_two_accounts(wallet)
    second = Wallet(wallet.data)
    assert second.process.wait(START_S_MAX) == os.EX_CONFIG
    assert second.process.stdout is not None
    second.process.stdout.close()
    assert f"process {wallet.process.pid}) runs on the data folder" in second.stderr()
    assert wallet.pay("t1")["status"] == "completed"


def test_damaged_journal_is_refused_and_nothing_is_changed(start: Callable[..., Wallet]) -> None:
    wallet = start()
    open_two_accounts(wallet)
    for number in range(3):
        wallet.pay(f"t{number}")
    assert wallet.stop() == 0
    block = next(wallet.data.glob("nats/jetstream/*/streams/EVT_0/msgs/*.blk"))
    content = bytearray(block.read_bytes())
    content[len(content) // 2] ^= 0x10
    block.write_bytes(content)
    before = fingerprints(wallet.data / "nats")
    refused = Wallet(wallet.data)
    assert refused.process.wait(START_S_MAX) == os.EX_CONFIG
    assert refused.process.stdout is not None
    refused.process.stdout.close()
    assert "Partition 0, damaged" in refused.stderr()
    assert fingerprints(wallet.data / "nats") == before


def fingerprints(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_role_joins_the_running_wallet_without_being_told_where(
    start: Callable[..., Wallet],
) -> None:
    """`ewallet reader` finds the embedded server through the data folder."""
    wallet = start()
    open_two_accounts(wallet)
    wallet.pay("t1")
    proxy = subprocess.Popen(
        [sys.executable, "-m", "ewallet", "proxy", "--http-port", wallet.url.rpartition(":")[2]],
        env=environment(EWALLET_DATA_DIR=str(wallet.data)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert proxy.stdout is not None
    assert proxy.stdout.readline() == "ready\n"
    proxy.terminate()
    assert proxy.wait(STOP_S_MAX) == 0
    proxy.stdout.close()
