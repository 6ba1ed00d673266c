"""The service that peers of gRPC call and serve (`tests/services/grpc_peers`), and the calls that all of them make."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import fastrpc
from fastrpc import CallError, Client, DeadlineExceededError, Status, current_call

__all__ = ["EXPECTED", "Sums", "called"]

#: What each client gets; codes are codes of gRPC.
EXPECTED: dict[str, Any] = {
    "twice": 2**41,
    "up_to": [1, 2, 3],
    "total": 6,
    "running": [1, 3, 6],
    "fail": [Status.NOT_FOUND, "grün"],
    "wait": Status.DEADLINE_EXCEEDED,
    "seen": "value",
}


@fastrpc.service("shop.v1.sums", grpc="pascal")
class Sums:
    """Every kind of method, whose messages have one number each."""

    def __init__(self) -> None:
        self.started = 0

    @fastrpc.method(safe=True)
    async def twice(self, value: int) -> int:
        self.started += 1
        return 2 * value

    @fastrpc.method
    async def up_to(self, value: int) -> AsyncIterator[int]:
        self.started += 1
        for number in range(1, value + 1):
            yield number

    @fastrpc.method
    async def total(self, values: AsyncIterator[int]) -> int:
        return sum([value async for value in values])

    @fastrpc.method
    async def running(self, values: AsyncIterator[int]) -> AsyncIterator[int]:
        total = 0
        async for value in values:
            total += value
            yield total

    @fastrpc.method
    async def fail(self, value: int) -> int:
        raise CallError(Status.NOT_FOUND, "grün")

    @fastrpc.method
    async def wait(self, value: int) -> int:
        await asyncio.Event().wait()
        return value

    @fastrpc.method
    async def seen(self, value: int) -> int:
        call = current_call()
        call.reply_metadata["seen"] = call.metadata["key"]
        return value


async def called(client: Client) -> dict[str, Any]:
    """Call every method, and return the results."""
    found: dict[str, Any] = {
        "twice": await client.call(Sums.twice, 1 << 40),
        "up_to": [number async for number in client.stream(Sums.up_to, 3)],
        "total": await client.call(Sums.total, iter([1, 2, 3])),
        "running": [number async for number in client.stream(Sums.running, iter([1, 2, 3]))],
    }
    try:
        await client.call(Sums.fail, 1)
    except CallError as error:
        found["fail"] = [error.status, error.message]
    try:
        await client.with_options(timeout=0.3).call(Sums.wait, 1)
    except DeadlineExceededError as error:
        found["wait"] = error.status
    reply = await client.with_options(metadata={"key": "value"}).request(Sums.seen, 1)
    found["seen"] = reply.metadata["seen"]
    return found
