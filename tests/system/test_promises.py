"""Generated requests against the real wallet: it keeps what its OpenAPI document promises."""

from pathlib import Path

import aiohttp
import pytest

from tests.proxy.test_schemathesis import run_schemathesis
from tests.system.embedded_stack import Stack

pytestmark = pytest.mark.server


async def test_the_real_wallet_keeps_what_its_openapi_document_promises(
    stack: Stack, tmp_path: Path
) -> None:
    stack.start()
    async with aiohttp.ClientSession(stack.url) as session:
        for account_id in ("issuer", "ann"):
            account = {"currency": "USD", "overdraft_limit": "1000.00"}
            async with session.put(f"/wallet/accounts/{account_id}", json=account) as response:
                assert response.status == 201
    run_schemathesis(stack.url, tmp_path)
    stack.stop()
