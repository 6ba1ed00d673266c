"""A server whose HTTP gateway describes and offers its services: pages, tools."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

import fastrpc
from fastrpc import CallError, Server, ServerConfig, Status
from fastrpc.config import HTTP

__all__ = ["Arith", "Described", "described", "session"]


@dataclass
class Product:
    value: int
    factors: list[int]


@fastrpc.service("arith", version="2.1", alias=("Sums",))
class Arith:
    """Sums and <b>products</b>."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    @fastrpc.method(safe=True, tool=True, public=True)
    async def mul(self, a: int, b: int = 2) -> int:
        """Multiply <script>two</script> numbers."""
        return a * b

    @fastrpc.method(tool=True)
    async def product(self, factors: list[int]) -> Product:
        value = 1
        for factor in factors:
            value *= factor
        return Product(value, factors)

    @fastrpc.method(tool=True)
    async def fail(self, text: str = "no such number") -> None:
        raise CallError(Status.NOT_FOUND, text, details={"a": 1})

    @fastrpc.method
    async def count(self, limit: int = 3) -> AsyncIterator[int]:
        try:
            for number in range(limit):
                yield number
                await asyncio.sleep(0)
            if limit > 100:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int], start: int = 0) -> int:
        return start + sum([number async for number in numbers])

    @fastrpc.method
    async def large(self) -> int:
        return 2**63 + 1

    @fastrpc.method
    async def data(self, data: bytes, number: int) -> list[Any]:
        return [len(data), str(number), fastrpc.current_call().metadata.get("tenant")]


class Described:
    """A server with its address, and its services."""

    def __init__(self, server: Server, service: Arith, port: int) -> None:
        self.server = server
        self.service = service
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"


@asynccontextmanager
async def described(
    *more: Any, http: HTTP | None = None, reflection: bool | None = None, **options: Any
) -> AsyncIterator[Described]:
    """Serve by HTTP and by the native protocol."""
    service = Arith()
    protocols: Sequence[str] = ("native", "http")
    config = ServerConfig(
        protocols=tuple(protocols), http=http or HTTP(mcp=True, json=True), reflection=reflection
    )
    async with Server(service, *more, config=config, **options) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        assert address.port is not None
        yield Described(server, service, address.port)


@asynccontextmanager
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened
