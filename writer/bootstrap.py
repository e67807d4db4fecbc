"""The composition root of the writer: settings in, running partitions out."""

import asyncio
import os
import secrets
from contextlib import ExitStack, closing
from functools import partial

from broker.nats_broker import NatsBroker
from broker.nats_streams import check_sync_always
from broker.witness import Witness, witness_path
from contracts.status import WriterStatus, encode_status
from contracts.subjects import status_subject
from runtime.process import lose, run_until, say_ready
from runtime.settings import ServiceSettings, read_service_settings
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.service import PartitionWriter


async def serve(stop: asyncio.Event) -> None:
    """Write all partitions until stop is set."""
    settings = read_service_settings(os.environ)
    writer_id = f"writer-{secrets.token_hex(6)}"
    await check_sync_always(settings.nats_monitor_url)
    broker = await NatsBroker.connect(settings.nats_url, name=writer_id, role="writer")
    try:
        with ExitStack() as stack:
            await broker.provide_streams(settings.partition_count)
            writers = [
                _partition_writer(broker, settings, writer_id, partition, stack)
                for partition in range(settings.partition_count)
            ]
            await _serve_status(broker, writer_id, writers)
            runs = (writer.run() for writer in writers)
            await run_until(stop, lose(broker), _tell_ready(writers), *runs)
    finally:
        await broker.close()


def _partition_writer(
    broker: NatsBroker,
    settings: ServiceSettings,
    writer_id: str,
    partition: int,
    stack: ExitStack,
) -> PartitionWriter:
    path = witness_path(settings.data_dir, partition, "writer")
    path.parent.mkdir(parents=True, exist_ok=True)
    witness = stack.enter_context(closing(Witness(path)))
    return PartitionWriter(
        broker,
        partition,
        settings.partition_count,
        writer_id=writer_id,
        witness=witness,
        fresh_key=partial(secrets.token_bytes, FINGERPRINT_KEY_BYTES),
    )


async def _serve_status(broker: NatsBroker, writer_id: str, writers: list[PartitionWriter]) -> None:
    async def answer(_request: bytes) -> bytes:
        found = [status for writer in writers if (status := writer.status()) is not None]
        return encode_status(WriterStatus(id=writer_id, partitions=found))

    await broker.serve(status_subject("writer"), answer)


async def _tell_ready(writers: list[PartitionWriter]) -> None:
    """Say ready once every partition has its reign, and stay."""
    for writer in writers:
        await writer.reigning.wait()
    say_ready()
    await asyncio.Event().wait()
