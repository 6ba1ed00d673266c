"""Servicers of the generated service, in both styles, and the ways to serve and call them."""

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import fastrpc.grpc
from fastrpc import Client, ClientConfig, ServerConfig
from fastrpc.grpc import aio
from fastrpc.testing import connected
from tests.support.generated import generated

__all__ = [
    "STYLES",
    "WIRES",
    "AsyncOrders",
    "ThreadOrders",
    "calling",
    "item",
    "order",
    "servicer_with",
    "source_of",
]

#: The protocols over which the same things are tried.
WIRES = ("native", "grpc")


def item(name: str = "", count: int = 0) -> Any:
    return generated().pb2.Item(name=name, count=count)


def order(text: str = "", total: int = 0) -> Any:
    return generated().pb2.Order(text=text, total=total)


class AsyncOrders:
    """Handlers on the loop."""

    async def Get(self, request: Any, context: Any) -> Any:
        return order(request.name, request.count)

    async def Follow(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(request.count):
            yield order(request.name, number)

    async def Total(self, requests: Any, context: Any) -> Any:
        return order("total", sum([request.count async for request in requests]))

    async def Talk(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield order(request.name, request.count)


class ThreadOrders:
    """Handlers in threads."""

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def Get(self, request: Any, context: Any) -> Any:
        self._note()
        return order(request.name, request.count)

    def Follow(self, request: Any, context: Any) -> Iterator[Any]:
        self._note()
        for number in range(request.count):
            yield order(request.name, number)

    def Total(self, requests: Any, context: Any) -> Any:
        self._note()
        return order("total", sum(request.count for request in requests))

    def Talk(self, requests: Any, context: Any) -> Iterator[Any]:
        self._note()
        for request in requests:
            yield order(request.name, request.count)

    def _note(self) -> None:
        self.threads.add(threading.current_thread().name)


def servicer_with(**functions: Any) -> Any:
    """Return a servicer with these functions of request and context in place of its own methods."""
    servicer = AsyncOrders()
    for name, function in functions.items():
        setattr(servicer, name, function)
    return servicer


STYLES = {"async": AsyncOrders, "thread": ThreadOrders}


def source_of(way: str, servicer: Any) -> Any:
    """Return a source of a server for a servicer, by the descriptor or by generated code."""
    if way == "service":
        return fastrpc.grpc.service(generated().orders, servicer)
    handlers = fastrpc.grpc.Handlers()
    generated().pb2_grpc.add_OrdersServicer_to_server(servicer, handlers)
    return handlers


@asynccontextmanager
async def aio_calling(
    servicer: Any, *, channel: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """Serve a servicer by `fastrpc.grpc.aio`; yield a stub of generated code, and its channel."""
    server = aio.server(**options)
    generated().pb2_grpc.add_OrdersServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}", **(channel or {})) as made:
            yield generated().pb2_grpc.OrdersStub(made), made
    finally:
        await server.stop(5)


@asynccontextmanager
async def calling(wire: str, *sources: Any, **options: Any) -> AsyncIterator[tuple[Any, Client]]:
    """Serve sources in memory; yield a stub of the service, and its client."""
    config = ServerConfig(protocols=("native",) if wire == "native" else ("native", wire), expose_errors=True)
    client_config = ClientConfig(wire_protocol=wire)
    async with connected(*sources, config=config, client_config=client_config, **options) as client:
        yield fastrpc.grpc.stub(generated().orders, client), client
