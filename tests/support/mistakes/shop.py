"""The service that mistaken programs use, and the list in which each of them stands."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastrpc
from fastrpc import Client, Server
from fastrpc.testing import connected

__all__ = ["NOWHERE", "Guarded", "Item", "Place", "Raisers", "Shop", "added_to", "asked", "started"]

#: A port of loopback at which no server listens.
NOWHERE = "tcp://127.0.0.1:9"

#: Functions that raise; each is given a folder.
Raisers = list[Callable[[Path], Awaitable[object] | object]]


def added_to(raisers: Raisers) -> Callable[[Any], Any]:
    """Return a decorator that adds a function to a list."""

    def add(raiser: Any) -> Any:
        raisers.append(raiser)
        return raiser

    return add


@dataclass
class Item:
    name: str
    pieces: int


@dataclass
class Place:
    name: str


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.waits = asyncio.Event()

    @fastrpc.method
    async def price(self, item: str, pieces: int = 1) -> int:
        return len(item) * pieces

    @fastrpc.method
    async def store(self, item: Item) -> int:
        return item.pieces

    @fastrpc.method
    async def count(self, most: int) -> AsyncIterator[int]:
        for number in range(most):
            yield number

    @fastrpc.method
    async def wait(self) -> None:
        self.waits.set()
        await asyncio.Event().wait()

    @fastrpc.method
    async def fail(self) -> None:
        raise KeyError("a fault of the handler")

    @fastrpc.method
    async def large(self) -> bytes:
        return bytes(64 * 1024)


@fastrpc.service("guarded")
class Guarded:
    @fastrpc.method(roles=("clerk",))
    async def close(self) -> None:
        return None


async def started(*sources: Any, **options: Any) -> None:
    """Start a server with these sources."""
    async with Server(*sources, **options) as server:
        await server.listen("tcp://127.0.0.1:0")


async def asked(call: Callable[[Client], Any], **options: Any) -> None:
    """Call a shop by a client that is connected."""
    async with connected(Shop(), **options) as client:
        await client.ready()
        await call(client)
