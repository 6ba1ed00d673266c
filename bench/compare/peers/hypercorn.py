"""hypercorn, whose HTTP is in Python on h11 and h2, with an ASGI application, JSON by msgspec."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from bench.compare.http_application import asgi_application
from bench.compare.http_server import HttpServer, free_port, wait_until_listening
from bench.compare.peers.base import BACKLOG, Peer
from bench.compare.workloads import Workload


async def _application(scope: Any, receive: Any, send: Any) -> None:
    # The server asks for a lifespan, and continues if an application has none.
    assert scope["type"] == "http"
    await asgi_application(scope, receive, send)


class Hypercorn(HttpServer):
    """One worker on this event loop."""

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        config = Config()
        config.bind = [f"127.0.0.1:{free_port()}"]
        config.backlog = BACKLOG
        over = asyncio.Event()
        serving = asyncio.create_task(serve(_application, config, shutdown_trigger=over.wait))
        await asyncio.to_thread(wait_until_listening, int(config.bind[0].rpartition(":")[2]))
        try:
            yield f"http://{config.bind[0]}"
        finally:
            over.set()
            await serving


PEERS: tuple[Peer, ...] = (
    Hypercorn("hypercorn", "hypercorn, ASGI, uvloop", family="hypercorn", by_default=False),
)
