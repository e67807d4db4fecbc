"""Asking a NATS server about itself, whatever its name leads to."""

from aiohttp import web

from broker.nats_raft import RaftServer, new_session


async def test_each_question_goes_to_where_the_name_leads_now() -> None:
    """A connection that was kept would lead to the server that had the address before."""
    asked_over = list[object]()

    async def tell(request: web.Request) -> web.Response:
        asked_over.append(request.transport)
        return web.json_response({"server_id": "N1"})

    application = web.Application()
    application.router.add_get("/accountz", tell)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with new_session() as session:
        server = RaftServer(session, f"http://127.0.0.1:{runner.addresses[0][1]}", "nats://nobody")
        assert await server.identity() == "N1"
        assert await server.identity() == "N1"
    await runner.cleanup()
    assert len(set(map(id, asked_over))) == len(asked_over) == 2
