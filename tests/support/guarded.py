"""Servers that know their callers, and clients of either kind that show who they are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import fastrpc
from fastrpc import CallError, Client, Server, SyncClient
from fastrpc.auth import Identity, StaticTokens
from tests.support.either_client import Stepped
from tests.support.served import address_of

__all__ = ["ADA", "BOB", "TOKENS", "Shop", "calling", "guarded", "refusal"]

ADA = Identity("ada", roles={"admin"})
BOB = Identity("bob")
TOKENS = StaticTokens({"token-of-ada": ADA, "token-of-bob": BOB})


@fastrpc.service("shop")
class Shop:
    """Methods of every kind, which note who called them."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def note(self) -> str:
        """Note that a handler started, and return who called it."""
        call = fastrpc.current_call()
        self.started.append(call.method)
        return "nobody" if call.identity is None else call.identity.name

    @fastrpc.method(safe=True, tool=True)
    async def who(self) -> str:
        return self.note()

    @fastrpc.method
    def in_thread(self) -> str:
        return self.note()

    @fastrpc.method(public=True)
    async def hello(self) -> str:
        return self.note()

    @fastrpc.method(roles=("admin", "root"))
    async def close_all(self) -> str:
        return self.note()

    @fastrpc.method
    async def echo(self, data: bytes) -> int:
        self.note()
        return len(data)

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[str]:
        name = self.note()
        for _ in range(limit):
            yield name

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        self.note()
        return sum([number async for number in numbers])

    @fastrpc.method
    async def both(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        self.note()
        async for number in numbers:
            yield number


@asynccontextmanager
async def guarded(*sources: Any, scheme: str = "tcp", **options: Any) -> AsyncIterator[str]:
    """Serve with the options of a Server, and yield the target."""
    options.setdefault("authenticate", TOKENS)
    with address_of(scheme) as address:
        async with Server(*sources, **options) as server:
            yield str(await server.listen(address))


@asynccontextmanager
async def calling(kind: str, target: str, **options: Any) -> AsyncIterator[Any]:
    """Yield a client of a kind."""
    if kind == "async":
        async with Client(target, **options) as client:
            yield client
        return
    blocking = SyncClient(target, **options)
    try:
        yield Stepped(blocking)
    finally:
        await asyncio.to_thread(blocking.close)


async def refusal(awaitable: Any) -> CallError:
    """Return the error that a call is refused with."""
    try:
        found = await awaitable
    except CallError as error:
        return error
    raise AssertionError(f"the call was not refused, it gave {found!r}")
