"""Honest clients, which read their answers: `python -m tests.support.held_memory.honest ADDRESS USE`.

It prints as JSON how many calls were answered, how many failed, and the seconds that all of them took.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import uvloop

from fastrpc import Client, FastRPCError
from tests.support.http_talk import request
from tests.support.peer_writing import write_to

__all__ = ["USES"]

#: Clients of a long poll, whose answers become ready in one turn of the loop, and bytes of an answer.
POLLS: Final = 1_000
POLL_BYTES: Final = 1_000

#: Readers of a feed, its messages and bytes of a message.
READERS: Final = 100
MESSAGES: Final = 20
MESSAGE_BYTES: Final = 250_000

#: Downloads from a mounted application, bytes of each, and bytes that its reader takes a second.
DOWNLOADS: Final = 50
BODY_BYTES: Final = 15_000_000
TAKEN_A_SECOND: Final = 10_000_000

#: Connections that are opening at once.
AT_ONCE: Final = 50


async def _answered(calls: list[Coroutine[Any, Any, bool]]) -> tuple[int, int, float]:
    began = time.perf_counter()
    found = await asyncio.gather(*calls)
    return sum(found), len(found) - sum(found), time.perf_counter() - began


async def _connected(target: str, count: int) -> list[Client]:
    clients = [Client(target, fail_mode="failfast") for _ in range(count)]
    for at in range(0, count, AT_ONCE):
        await asyncio.gather(*(client.call("bench.echo", b"x") for client in clients[at : at + AT_ONCE]))
    return clients


async def _poll(client: Client) -> bool:
    try:
        return len(await client.with_options(timeout=30).call("bench.give_later", POLL_BYTES)) == POLL_BYTES
    except FastRPCError:
        return False


async def _polls(target: str) -> tuple[int, int, float]:
    """Wake a thousand clients at once."""
    return await _answered([_poll(client) for client in await _connected(target, POLLS)])


async def _read(client: Client) -> bool:
    size = 0
    try:
        async with client.stream("bench.feed_some", MESSAGE_BYTES, MESSAGES) as messages:
            async for message in messages:
                size += len(message)
    except FastRPCError:
        return False
    return size == MESSAGE_BYTES * MESSAGES


async def _feeds(target: str) -> tuple[int, int, float]:
    """Read a feed of large messages with a hundred readers."""
    return await _answered([_read(client) for client in await _connected(target, READERS)])


async def _download(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    write_to(writer, request("GET", "/app/body"))
    head = await reader.readuntil(b"\r\n\r\n")
    began, size = time.perf_counter(), 0
    while size < BODY_BYTES:
        part = await reader.read(2**18)
        if not part:
            break
        size += len(part)
        await asyncio.sleep(max(0.0, began + size / TAKEN_A_SECOND - time.perf_counter()))
    writer.close()
    return head.startswith(b"HTTP/1.1 200 ") and size == BODY_BYTES


async def _downloads(target: str) -> tuple[int, int, float]:
    """Download one body from a mounted application fifty times, each reader at its own rate."""
    host, _, port = target.removeprefix("tcp://").rpartition(":")
    return await _answered([_download(host, int(port)) for _ in range(DOWNLOADS)])


#: By name: polls, feeds, downloads.
USES: Final[dict[str, Callable[[str], Awaitable[tuple[int, int, float]]]]] = {
    "long polls": _polls,
    "feeds": _feeds,
    "downloads": _downloads,
}


async def _outcome(target: str, use: str) -> dict[str, float]:
    answered, failed, seconds = await USES[use](target)
    return {"answered": answered, "failed": failed, "seconds": seconds}


if __name__ == "__main__":
    outcome = uvloop.run(_outcome(sys.argv[1], sys.argv[2]))
    print(json.dumps(outcome), flush=True)
