"""The example, and the command that watches accounts, on the real stack as a user runs them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.embedded_stack import STOP_S_MAX, Stack

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
RUN_S_MAX = 60.0


@pytest.fixture
def wallet(stack: Stack) -> Stack:
    return stack.configure(EWALLET_PARTITIONS="2", EWALLET_PROXIES="1").start()


def environment(wallet: Stack) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "EWALLET" not in name}
    return inherited | {"EWALLET_URL": wallet.url, "PYTHONUNBUFFERED": "1"}


def run(wallet: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(wallet),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )


def test_example_shows_each_transfer_on_both_accounts(wallet: Stack) -> None:
    for _ in range(2):
        ended = run(wallet, "examples/live_balances.py")
        assert (ended.returncode, ended.stderr) == (0, "")
        lines = [
            re.sub(r"(shop|alice)-[0-9a-f]{8}", r"\1", line) for line in ended.stdout.split("\n")
        ]
        assert sorted(lines[:2]) == ["alice has 0.00 USD", "shop has 0.00 USD"]
        assert [line for line in lines if line.startswith("  shop")] == [
            "  shop: debit 10.00, now -10.00",
            "  shop: debit 2.50, now -12.50",
            "  shop: credit 12.50, now 0.00",
        ]
        assert [line for line in lines if line.startswith("  alice")] == [
            "  alice: credit 10.00, now 10.00",
            "  alice: credit 2.50, now 12.50",
            "  alice: debit 12.50, now 0.00",
        ]
        assert "paid 2.50: the shop has -12.50" in lines
        assert any("(insufficient_funds)" in line for line in lines)


def _heed_ctrl_c() -> None:
    """Also when the tests run as a shell's job in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def watching(wallet: Stack, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`ewallet accounts watch`, ended by Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-m", "ewallet", "accounts", "watch", *arguments],
        env=environment(wallet),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_ctrl_c,  # noqa: PLW1509  # no threads in the way
    ) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(STOP_S_MAX) == 0
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_accounts_are_watched_until_ctrl_c_also_over_a_dead_proxy(wallet: Stack) -> None:
    for account in (["bank", "--overdraft-limit", "10.00"], ["ann"]):
        opened = run(wallet, "-m", "ewallet", "accounts", "open", *account, "--currency", "USD")
        assert opened.returncode == 0, opened.stderr
    with watching(wallet, "bank", "ann") as table, watching(wallet, "ann", "--json") as stream:
        assert read_line(table).split() == [
            "at",
            "account",
            "balance",
            "held",
            "available",
            "change",
        ]
        states = sorted(read_line(table).split(maxsplit=1)[1] for _ in range(2))
        assert [" ".join(state.split()) for state in states] == [
            "ann 0.00 0.00 0.00 USD, as it stands",
            "bank 0.00 0.00 10.00 USD, as it stands",
        ]
        assert json.loads(read_line(stream))["type"] == "state"
        wallet.kill("proxy")
        pay = ("transfer", "bank", "ann", "2.50", "USD", "--transaction-id", "t1")
        paid = run(wallet, "-m", "ewallet", *pay)
        assert paid.returncode == 0, paid.stderr
        changes = sorted(read_line(table).split(maxsplit=1)[1] for _ in range(2))
        assert [" ".join(change.split()) for change in changes] == [
            "ann 2.50 0.00 2.50 credit 2.50 USD, t1",
            "bank -2.50 0.00 7.50 debit 2.50 USD, t1",
        ]
        change = json.loads(read_line(stream))
        assert (change["type"], change["balance"], change["transaction_id"]) == (
            "change",
            "2.50",
            "t1",
        )
        assert table.stderr is not None
        assert table.stderr.readline().startswith("trying again: ")


def test_watching_an_unknown_account_ends_with_the_wallets_words(wallet: Stack) -> None:
    ended = run(wallet, "-m", "ewallet", "accounts", "watch", "nobody")
    assert ended.returncode == 1
    assert "nobody can't be watched: No account of this id was opened." in ended.stderr
