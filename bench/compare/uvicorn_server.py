"""The server half of peers that run under uvicorn."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import uvicorn

from bench.compare.peers.base import BACKLOG, AsyncServer, Loop
from bench.compare.workloads import Workload

__all__ = ["UvicornServer"]


class UvicornServer(AsyncServer):
    """One uvicorn worker on uvloop."""

    loop: Loop = "uvloop"
    parser: Literal["httptools", "zttp"] = "httptools"

    def application(self) -> Any:
        """Return the application that is served."""
        raise NotImplementedError

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        config = uvicorn.Config(
            self.application(), http=self.parser, log_level="warning", access_log=False, lifespan="off"
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                # The socket listens already: a client that connects before uvicorn is ready waits in the backlog.
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                await serving
