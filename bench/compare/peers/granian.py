"""granian, whose HTTP runs in Rust: its embedded server with an RSGI application, JSON by msgspec."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from granian.constants import Interfaces
from granian.server.embed import Server

from bench.compare.http_application import rsgi_application
from bench.compare.http_server import HttpServer, free_port, wait_until_listening
from bench.compare.peers.base import BACKLOG, Peer
from bench.compare.workloads import Workload


class Granian(HttpServer):
    """One worker on this event loop."""

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        port = free_port()
        server = Server(
            rsgi_application, port=port, interface=Interfaces.RSGI, backlog=BACKLOG, log_enabled=False
        )
        serving = asyncio.create_task(server.serve())
        try:
            await asyncio.to_thread(wait_until_listening, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop()
            await serving


PEERS: tuple[Peer, ...] = (Granian("granian", "granian, RSGI, uvloop", family="granian", by_default=False),)
