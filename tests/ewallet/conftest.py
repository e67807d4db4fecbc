"""What the tests of the client's subscription share."""

from collections.abc import AsyncIterator

import pytest

from ewallet.client import WalletClient
from tests.ewallet.scripted_server import Server, run_scripted_server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server of subscriptions that a test gives its script."""
    async with run_scripted_server() as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[WalletClient]:
    """A client of it."""
    async with WalletClient(server.url, timeout_s=10) as client:
        yield client
