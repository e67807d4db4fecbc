"""Look-ups in a store that is stuck are not gathered without end."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from reader.ports import StoreFault
from reader.service.look_ups import LookUps
from reader.service.threads import Threads


async def test_who_gives_up_waiting_counts_until_the_store_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reader.service.look_ups.LOOK_UPS_MAX", 2)
    is_over = threading.Event()
    with ThreadPoolExecutor(1) as stuck:
        look_ups = LookUps(Threads(stuck, stuck, stuck))
        asked = [asyncio.create_task(look_ups.in_present(is_over.wait)) for _ in range(2)]
        try:
            await asyncio.sleep(0)
            asked[0].cancel()
            with pytest.raises(StoreFault, match="2 look-ups wait"):
                await look_ups.in_past(lambda: 7)
        finally:
            is_over.set()
        assert await asked[1]
        assert await look_ups.in_past(lambda: 7) == 7
    assert asked[0].cancelled()


async def test_what_is_asked_of_a_reader_that_stops_is_left_to_others() -> None:
    with ThreadPoolExecutor(1) as ended:
        pass
    with pytest.raises(StoreFault, match="stops"):
        await LookUps(Threads(ended, ended, None)).in_past(lambda: 7)
