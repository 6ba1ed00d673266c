"""Services of one shape under many names, for clients of many services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import fastrpc
from fastrpc.registries import StaticRegistry
from tests.support.served import Served, served

__all__ = ["Shops", "shop", "shops"]


def shop(number: int) -> Any:
    """Return an instance of the service `shop.s<number>`."""

    @fastrpc.service(f"shop.s{number}")
    class Shop:
        def __init__(self) -> None:
            self.is_waiting = asyncio.Event()
            self.may_go_on = asyncio.Event()

        @fastrpc.method(idempotent=True)
        async def number(self) -> int:
            return number

        @fastrpc.method
        async def plus(self, more: int) -> int:
            return number + more

        @fastrpc.method
        async def count(self, limit: int) -> AsyncIterator[int]:
            for each in range(limit):
                yield each

        @fastrpc.method
        async def held(self) -> int:
            self.is_waiting.set()
            await self.may_go_on.wait()
            return number

        @fastrpc.method
        async def metadata(self) -> dict[str, str]:
            return dict(fastrpc.current_call().metadata)

    return Shop()


class Shops:
    """Servers that have all shops, and the registry that lists them."""

    def __init__(self, sources: list[Any], targets: list[Served]) -> None:
        self.sources = sources
        self.targets = targets
        self.names = [f"shop.s{number}" for number in range(len(sources))]
        self.registry = StaticRegistry(dict.fromkeys(self.names, targets))

    @property
    def connections(self) -> int:
        """The number of connections, as the servers count them."""
        return sum(len(target.server.peers()) for target in self.targets)


@asynccontextmanager
async def shops(count: int, servers: int = 1) -> AsyncIterator[Shops]:
    """Serve the given number of shops on each of some servers."""
    async with AsyncExitStack() as stack:
        sources = [shop(number) for number in range(count)]
        targets = [await stack.enter_async_context(served(sources, scheme="tcp")) for _ in range(servers)]
        yield Shops(sources, targets)
