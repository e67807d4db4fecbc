"""The composition root of the proxy: settings in, an open port out."""

import asyncio
import os
import secrets
from typing import Any

from broker.nats_broker import NatsBroker
from proxy.adapters.http_server import HttpLimits, HttpServer, listen
from proxy.config import ProxySettings, read_proxy_settings
from proxy.service import BrokerGateway
from runtime.process import Unfit, say_ready


async def serve(stop: asyncio.Event) -> None:
    """Serve HTTP until stop is set; requests held then still get their answers."""
    settings = read_proxy_settings(os.environ)
    proxy_id = f"proxy-{secrets.token_hex(6)}"
    broker = await NatsBroker.connect(settings.service.nats_url, name=proxy_id, role="proxy")
    gateway = BrokerGateway(broker, proxy_id, settings.service.partition_count)
    running = asyncio.create_task(gateway.run())
    stopping = asyncio.create_task(stop.wait())
    tasks: list[asyncio.Task[Any]] = [running, stopping]
    try:
        server = HttpServer(gateway, HttpLimits())
        runner = await _listen(server, settings)
        say_ready()
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await runner.cleanup()
        if running.done():
            running.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await broker.close()


async def _listen(server: HttpServer, settings: ProxySettings) -> Any:
    try:
        return await listen(server, host=settings.host, port=settings.port, reuse_port=True)
    except OSError as error:
        raise Unfit(f"Can't listen on {settings.host}:{settings.port}: {error}") from error
