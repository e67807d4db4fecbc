"""A backup of the cluster, and a cluster that is made of nothing but that backup."""

from pathlib import Path

import aiohttp
import pytest

from tests.e2e.audit import check
from tests.e2e.cluster import Cluster
from tests.e2e.load import PacedBank, connected, loaded

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.faults]


async def test_a_new_cluster_made_from_a_backup_knows_all_that_clients_were_told(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, tmp_path: Path
) -> None:
    async with loaded(books, session) as load:
        await load.settle()
        cluster.backup(tmp_path / "busy.backup")
    file = tmp_path / "quiet.backup"
    cluster.backup(file)
    cluster.down(forget=True)
    cluster.restore(file)
    cluster.up()
    async with connected() as anew:
        await check(anew, books)
        async with loaded(books, anew) as load:
            await load.settle()
        await check(anew, books)
