"""A peer of a store that repeats one thing as fast as it can: `python -m tests.support.churning_peer ADDRESS KIND`.

It prints a line once it has begun, and continues until it is killed.
"""

import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable

import uvloop

from fastrpc import Client, FastRPCError
from fastrpc.coordination import StoreService

__all__ = ["KINDS"]

#: The number of requests under way at once.
AT_ONCE = 256


async def watch(client: Client, number: int) -> None:
    async with client.stream(StoreService.watch, "churned/") as batches:
        await batches.receive()


async def changes(client: Client, number: int) -> None:
    await client.call(StoreService.changes, "churned/", 0, 0.0)


async def put(client: Client, number: int) -> None:
    await client.call(StoreService.put, f"churned/{number % 100}", b"x")


KINDS: dict[str, Callable[[Client, int], Awaitable[object]]] = {
    "watch": watch,
    "changes": changes,
    "put": put,
    "get": lambda client, number: client.call(StoreService.get, "churned/1"),
    "lease": lambda client, number: client.call(StoreService.lease, 5.0),
    "list": lambda client, number: client.call(StoreService.list, "churned/"),
    "renew": lambda client, number: client.call(StoreService.renew, "none"),
}


async def _churn(address: str, kind: str) -> None:
    async def go_on() -> None:
        for number in itertools.count():
            try:
                await KINDS[kind](client, number)
            except FastRPCError:
                # The peer is refused, and continues.
                await asyncio.sleep(0)

    async with Client(address) as client:
        await client.ready()
        print("begins", flush=True)
        await asyncio.gather(*(go_on() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    uvloop.run(_churn(*sys.argv[1:]))
