"""Foreign servers that serve our services by `fastrpc.asgi`, in place of a `Server` in tests of the gateway."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Self

import fastrpc
from fastrpc import Address, ServerConfig
from fastrpc.hosting.application import ASGIApplication
from tests.support.ports import free_ports
from tests.support.waiting import eventually

__all__ = ["HOSTS", "HostedServer", "hosted", "in_uvicorn"]

HOSTS = ("uvicorn", "hypercorn", "granian")


class HostedServer:
    """Has the parts of a `Server` that tests of the gateway use; `host` and `is_mounted` are set by a subclass."""

    host = "uvicorn"
    is_mounted = False

    def __init__(
        self, *sources: Any, config: ServerConfig | None = None, limits: Any = (), **options: Any
    ) -> None:
        config = replace(config or ServerConfig(), protocols=("http",))
        self.app = fastrpc.asgi(*sources, config=config, call_limits=limits, **options)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def __getattr__(self, name: str) -> Any:
        """Return a value of the server inside, such as its counts."""
        return getattr(self.app._server, name)

    async def listen(self, address: str) -> Address:
        assert address == "tcp://127.0.0.1:0"
        return await self._stack.enter_async_context(hosted(self.app, self.host, is_mounted=self.is_mounted))


@asynccontextmanager
async def hosted(
    app: ASGIApplication, host: str, *, is_mounted: bool = False, prefix: str = ""
) -> AsyncIterator[Address]:
    """Serve an application, alone or as a mount of FastAPI; yield the address."""
    served: Any = in_fastapi(app, prefix) if is_mounted else app
    async with {"uvicorn": in_uvicorn, "hypercorn": _hypercorn, "granian": _granian}[host](served) as port:
        yield Address("tcp", host="127.0.0.1", port=port)


def in_fastapi(app: ASGIApplication, prefix: str) -> Any:
    """Return an application of FastAPI without pages of its own, with ours below a prefix."""
    from fastapi import FastAPI

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.lifespan():
            yield

    outer = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    outer.mount(prefix, app)
    return outer


@asynccontextmanager
async def in_uvicorn(app: Any, **options: Any) -> AsyncIterator[int]:
    """Serve an application by uvicorn with these options; yield its port."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as bound:
        config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1, **options)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[bound]))
        await eventually(lambda: server.started or running.done())
        assert server.started
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            await running


@asynccontextmanager
async def _hypercorn(app: Any) -> AsyncIterator[int]:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    bound = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{bound.detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    config.graceful_timeout = 0.5
    config.shutdown_timeout = 1.0
    leaves = asyncio.Event()
    with socket.socket(fileno=int(config.bind[0][5:])) as shown:
        port = shown.getsockname()[1]
        shown.detach()
    running = asyncio.create_task(serve(app, config, shutdown_trigger=leaves.wait))
    try:
        yield port
    finally:
        leaves.set()
        await running


@asynccontextmanager
async def _granian(app: Any) -> AsyncIterator[int]:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    (port,) = free_ports(1)
    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, log_enabled=False)
    running = asyncio.create_task(server.serve())
    await eventually(lambda: running.done() or _answers(port))
    try:
        yield port
    finally:
        server.stop()  # type: ignore[no-untyped-call]
        await running


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
