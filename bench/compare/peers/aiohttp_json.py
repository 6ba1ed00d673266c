"""aiohttp on both sides: raw bodies for bytes, JSON for typed calls; a connection per call in flight."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from bench.compare.http_client import LARGEST_BODY, HttpClient
from bench.compare.http_load import HELLO, HELLO_PATH, RECORD_PATH
from bench.compare.peers.base import AsyncServer, Peer
from bench.compare.workloads import Workload


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def _mul(request: web.Request) -> web.Response:
    factors = await request.json()
    return web.json_response({"value": factors["a"] * factors["b"]})


async def _record(request: web.Request) -> web.Response:
    return web.json_response(await request.json())


async def _hello(request: web.Request) -> web.Response:
    return web.json_response(HELLO)


class AiohttpJson(AsyncServer, HttpClient):
    """aiohttp's own server on uvloop."""

    loop = "uvloop"

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        application = web.Application(client_max_size=LARGEST_BODY)
        application.add_routes(
            [
                web.post("/echo", _echo),
                web.post("/mul", _mul),
                web.post("/record", _record),
                web.post(RECORD_PATH, _record),
                web.get(HELLO_PATH, _hello),
            ]
        )
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


PEERS: tuple[Peer, ...] = (AiohttpJson("aiohttp", "aiohttp, JSON, uvloop", family="aiohttp"),)
