"""h2corn, whose HTTP runs in Rust, with an ASGI application, JSON by msgspec."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from h2corn import Config, Server

from bench.compare.http_application import asgi_application
from bench.compare.http_server import HttpServer
from bench.compare.peers.base import BACKLOG, Peer
from bench.compare.workloads import Workload


class H2Corn(HttpServer):
    """One worker on this event loop."""

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        config = Config(bind=("127.0.0.1:0",), backlog=BACKLOG, lifespan="off", access_log=False)
        server = Server(asgi_application, config)
        serving = asyncio.create_task(server.serve())
        await server.wait_started()
        try:
            yield f"http://{server.addresses[0]}"
        finally:
            server.shutdown()
            await serving


PEERS: tuple[Peer, ...] = (H2Corn("h2corn", "h2corn, ASGI, uvloop", family="h2corn", by_default=False),)
