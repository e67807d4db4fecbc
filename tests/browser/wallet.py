"""The wallet that the browser looks at, and a client beside the browser."""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contracts.partitioning import SlotMap
from tests.system.embedded_stack import Stack

PARTITIONS = 2


class BrowsedWallet:
    """A running `ewallet up`."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url = stack.url
        self._slots = SlotMap.even(PARTITIONS)

    def id_in(self, partition: int, beginning: str) -> str:
        """An account id in a partition."""
        names = (f"{beginning}-{number}" for number in range(1_000))
        return next(name for name in names if self._slots.partition_of(name) == partition)

    def open(self, account_id: str, overdraft: str = "0") -> str:
        """Open an account in USD; give its id."""
        form = {"currency": "USD", "overdraft_limit": overdraft}
        assert self._send("PUT", f"/wallet/accounts/{account_id}", form)["account_id"] == account_id
        return account_id

    def pay(
        self, payer: str, payee: str, amount: str, transaction_id: str, **headers: str
    ) -> dict[str, Any]:
        """Make a transfer."""
        form = {
            "from_account_id": payer,
            "to_account_id": payee,
            "amount": amount,
            "currency": "USD",
            "transaction_id": transaction_id,
        }
        return self._send("POST", "/wallet/transfer", form, headers)

    @contextmanager
    def no_coordinator(self) -> Iterator[None]:
        """A coordinator that stands still: what it drives has no outcome meanwhile."""
        (pid,) = (pid for pid in self.stack.pids("writer") if _is_coordinator(pid))
        with _standing_still(pid):
            yield

    @contextmanager
    def no_proxy(self) -> Iterator[None]:
        """A proxy that stands still: its connections stay open, and nothing comes on them."""
        (pid,) = self.stack.pids("proxy")
        with _standing_still(pid):
            yield

    def _send(
        self, method: str, path: str, form: dict[str, str], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  # our own wallet on loopback
            self.url + path,
            method=method,
            data=json.dumps(form).encode(),
            headers={"Content-Type": "application/json"} | (headers or {}),
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  # as above
            found: dict[str, Any] = json.load(answer)
            return found


@contextmanager
def _standing_still(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _is_coordinator(pid: int) -> bool:
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return b"EWALLET_WRITER_NAME=coordinator" in environment


@contextmanager
def browsed_wallet(folder: Path) -> Iterator[BrowsedWallet]:
    """A wallet on a free port, stopped at the end."""
    stack = Stack(
        folder / "wallet",
        EWALLET_PARTITIONS=str(PARTITIONS),
        EWALLET_PROXIES="1",
        EWALLET_COORDINATOR_APART="1",
    )
    try:
        yield BrowsedWallet(stack.start())
        stack.stop()
    finally:
        stack.end()
