"""A program that makes calls, or connections, and prints how much memory that took.

::

    python -m tests.support.memory_growth KIND WARM_UP COUNT [LOOP [WIRE]]

prints the bytes by which its resident memory grew from the WARM_UP-th to the COUNT-th.
"""

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

import fastrpc
from fastrpc import CallError, Client, ClientConfig, Limits, Server, ServerConfig, Status
from tests.support.waiting import eventually

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CALLERS = 50


@fastrpc.service("growth")
class Growth:
    @fastrpc.method(codec="raw")
    async def quick(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method
    async def slow(self, number: int) -> int:
        await asyncio.sleep(0)
        return number

    @fastrpc.method
    async def refuse(self, number: int) -> int:
        raise CallError(Status.NOT_FOUND, "no such number", details={"number": number})

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.Event().wait()


def resident_bytes() -> int:
    """Return the smallest resident size of a few looks after a collection of garbage."""
    sizes = []
    for _ in range(3):
        gc.collect()
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES)
    return min(sizes)


async def quick(client: Client) -> None:
    await client.call(Growth.quick, b"0123456789")


async def slow(client: Client) -> None:
    await client.with_options(metadata={"shard": "7"}).call(Growth.slow, 1)


async def refused(client: Client) -> None:
    with contextlib.suppress(CallError):
        await client.call(Growth.refuse, 1)


async def cancelled(client: Client) -> None:
    task = asyncio.ensure_future(client.call(Growth.wait))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def expired(client: Client) -> None:
    with contextlib.suppress(fastrpc.DeadlineExceededError):
        await client.with_options(timeout=0.001).call(Growth.wait)


async def notified(client: Client) -> None:
    await client.notify(Growth.quick, b"0123456789")
    # Nobody answers, so the senders would run ahead of the server.
    await client.call(Growth.quick, b"0123456789")


async def batch(client: Client) -> None:
    """Count as one call, in a batch of one."""
    await client.call_many(Growth.slow, [(1,)])


async def reconnected(client: Client) -> None:
    await client.call(Growth.quick, b"x")
    [session] = client._pool.connections
    session.abort()
    await eventually(lambda: session not in client._pool.connections)
    await client.ready()


async def channel(client: Client) -> None:
    """Open a channel of the drop-in, call once, and close it."""
    # Imported on first use, with grpcio.
    from fastrpc.grpc import aio

    async with aio.insecure_channel(places[-1]) as opened:
        await opened.unary_unary("/growth/quick")(b"x")


async def leaking(client: Client) -> None:
    """Keep 16 bytes a call, to see that this is seen."""
    await quick(client)
    kept.append(object())


kept: list[object] = []
#: The address of the server, as channels name it.
places: list[str] = []

KINDS: dict[str, Callable[[Client], Awaitable[None]]] = {
    function.__name__: function
    for function in (quick, slow, refused, cancelled, expired, notified, batch, reconnected, channel, leaking)
}


async def measure(kind: str, warm_up: int, count: int, wire: str) -> int:
    """Do the work of `kind` `count` times and return the growth after the first `warm_up`."""
    config = ClientConfig(backoff=fastrpc.Backoff(first=0.001, longest=0.001), wire_protocol=wire)
    served = ServerConfig(protocols=(wire,), limits=Limits(concurrent_calls=10 * CALLERS))
    async with Server(Growth(), config=served) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        places.append(f"{address.host}:{address.port}")
        async with Client(str(address), config=config) as client:
            await client.ready()
            await repeat(KINDS[kind], client, warm_up)
            before = resident_bytes()
            await repeat(KINDS[kind], client, count - warm_up)
            return resident_bytes() - before


async def repeat(action: Callable[[Client], Awaitable[None]], client: Client, count: int) -> None:
    width = 1 if action in (reconnected, channel) else CALLERS

    async def caller() -> None:
        for _ in range(count // width):
            await action(client)

    await asyncio.gather(*(caller() for _ in range(width)))


def main(kind: str, warm_up: str, count: str, loop: str = "asyncio", wire: str = "native") -> None:
    make_loop = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        growth = runner.run(measure(kind, int(warm_up), int(count), wire))
    print(growth)


if __name__ == "__main__":
    main(*sys.argv[1:])
