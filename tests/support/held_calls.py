"""Calls that wait for their start at a server for as long as a test likes: their client takes no answers meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import fastrpc
from fastrpc import Client, ServerConfig
from tests.support.served import served
from tests.support.waiting import eventually

__all__ = ["HOLD_OUTPUT", "Bulk", "HeldCalls", "held_calls"]

#: The bit of `holding` for output above its soft limit; another one is set while the loop is late.
HOLD_OUTPUT = 2
#: More than the sockets take on the way to a client that reads nothing.
MUCH = 1_000_000


@fastrpc.service("bulk")
class Bulk:
    @fastrpc.method
    async def answer(self, size: int) -> bytes:
        return bytes(size)


class HeldCalls:
    """Calls of `desk.note` that wait for their start."""

    def __init__(self, target: Any, client: Client) -> None:
        self.target = target
        self.client = client.with_options(fail_mode="failfast")
        self.calls: list[Any] = []

    def add(self, name: str, priority: int, size: int) -> None:
        """Make one more call, with the given number of bytes of ballast."""
        view = self.client.with_options(priority=priority)
        self.calls.append(asyncio.ensure_future(view.call("desk.note", name, bytes(size))))

    def waiting(self) -> int:
        return int(self.target.server.stats()["live"]["waiting"])

    def refused(self) -> int:
        return int(self.target.server._gate.refusals.count)


@asynccontextmanager
async def held_calls(
    desk: Any,
    config: ServerConfig,
    calls: Sequence[tuple[str, int, int]],
    *,
    credentials: str | None = None,
    **options: Any,
) -> AsyncIterator[HeldCalls]:
    """Let calls (name, priority, ballast) wait for their start, in this order, until the block ends.

    Args:
        options: further ones of the server.
    """
    async with (
        served(desk, Bulk, scheme="unix", config=config, **options) as target,
        Client(target, credentials=credentials) as client,
    ):
        await client.ready()
        [session] = target.server._gate.engines
        client._pool.connections[0].transport.pause_reading()
        large = asyncio.ensure_future(client.call(Bulk.answer, MUCH))
        await eventually(lambda: session.connection.holding & HOLD_OUTPUT)
        held = HeldCalls(target, client)
        for name, priority, size in calls:
            held.add(name, priority, size)
            await eventually(lambda: held.waiting() == len(held.calls))
        yield held
        client._pool.connections[0].transport.resume_reading()
        await asyncio.gather(large, *held.calls, return_exceptions=True)
