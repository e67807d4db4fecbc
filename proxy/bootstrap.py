"""The composition root of the proxy: settings in, an open port out."""

import asyncio
import os
import secrets

from aiohttp import web

from broker.nats_broker import NatsBroker
from proxy.adapters.http_server import HttpLimits, HttpServer, listen
from proxy.config import ProxySettings, read_proxy_settings
from proxy.service import BrokerGateway
from runtime.process import Unfit, lose, run_until, say_ready


async def serve(stop: asyncio.Event) -> None:
    """Serve HTTP until stop is set."""
    settings = read_proxy_settings(os.environ)
    proxy_id = f"proxy-{secrets.token_hex(6)}"
    broker = await NatsBroker.connect(settings.service.nats_url, name=proxy_id, role="proxy")
    gateway = BrokerGateway(broker, proxy_id, settings.service.partition_count)
    try:
        await run_until(stop, lose(broker), gateway.run(), _serve_http(gateway, settings))
    finally:
        await broker.close()


async def _serve_http(gateway: BrokerGateway, settings: ProxySettings) -> None:
    """Serve until cancelled."""
    runner = await _listen(HttpServer(gateway, HttpLimits()), settings)
    try:
        say_ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _listen(server: HttpServer, settings: ProxySettings) -> web.ServerRunner:
    try:
        return await listen(server, host=settings.host, port=settings.port, reuse_port=True)
    except OSError as error:
        raise Unfit(f"Can't listen on {settings.host}:{settings.port}: {error}") from error
