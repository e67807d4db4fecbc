"""Where the time of one transfer went."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.core.timing import Timing
from tests.proxy.live_wallet import run_live_wallet


def timed(*, journaled: int, pushed: int) -> str:
    """Received at 1,000 us, sent at 1,100, result at 3,000, answered at 3,200."""
    clock = iter([1_000, 1_100, 3_000, 3_200])
    timing = Timing(lambda: next(clock))
    timing.sent()
    timing.sent()  # again, when no answer came: the first time counts
    timing.taken(journaled, pushed)
    return timing.header()


def test_all_stretches_are_told_when_the_clocks_agree() -> None:
    assert timed(journaled=2_000, pushed=2_700) == (
        "batch;dur=0.100, wallet;dur=1.900, journal;dur=0.900, project;dur=0.700, push;dur=0.300,"
        " answer;dur=0.200, total;dur=2.200"
    )


@pytest.mark.parametrize(
    ("journaled", "pushed"), [(0, 0), (0, 2_700), (1_099, 2_700), (2_800, 2_700), (2_000, 3_001)]
)
def test_what_other_clocks_say_out_of_order_is_left_out(journaled: int, pushed: int) -> None:
    assert timed(journaled=journaled, pushed=pushed) == (
        "batch;dur=0.100, wallet;dur=1.900, answer;dur=0.200, total;dur=2.200"
    )


@pytest.mark.server
async def test_who_asks_for_the_timing_gets_it_and_nobody_else(tmp_path: Path) -> None:
    async with run_live_wallet(tmp_path) as wallet:
        form = {
            "from_account_id": "issuer",
            "to_account_id": "ann",
            "amount": "1.00",
            "currency": "USD",
            "transaction_id": "timed",
        }
        for wish in ("server-timing", "wait=5"):
            headers = {"Prefer": wish}
            async with wallet.client.post("/wallet/transfer", json=form, headers=headers) as answer:
                assert answer.status == 201
                assert answer.headers["Preference-Applied"] == wish
                told = answer.headers.get("Server-Timing", "")
            assert bool(told) == (wish == "server-timing")
            if told:
                spans = dict(re.findall(r"(\w+);dur=([0-9.]+)", told))
                parts = sum(float(spans[name]) for name in ("batch", "wallet", "answer"))
                assert parts == pytest.approx(float(spans["total"]), abs=0.01)
