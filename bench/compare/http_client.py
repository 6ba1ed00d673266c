"""The client half of the Python peers that speak HTTP and JSON, a connection per call in flight.

It is aiohttp for the workloads that all stacks share, and the generator in C for HTTP-only workloads.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import aiohttp

from bench.compare.http_load import build_generator, load_command
from bench.compare.load import AsyncOperation
from bench.compare.measurement import LoadOrder
from bench.compare.peers.base import AsyncClient
from bench.compare.workloads import HTTP, RECORD_ID, RECORD_NAME, RECORD_SCORE, Operation, Workload

#: The largest body that servers are configured to accept, in bytes.
LARGEST_BODY = 64 * 1024 * 1024


class HttpClient(AsyncClient):
    """Posts to /echo, /mul and /record."""

    operations: ClassVar[Collection[Operation]] = ("echo", "mul", "record", "http_record", "http_hello")

    def prepare(self) -> None:
        super().prepare()
        build_generator()

    def client_command(self, order: LoadOrder) -> list[str]:
        return load_command(order) if order.workload in HTTP else super().client_command(order)

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        # No limit of connections: HTTP/1.1 carries one call at a time on each.
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(address, connector=connector) as session:
            yield _operation(session, workload)


def _operation(session: aiohttp.ClientSession, workload: Workload) -> AsyncOperation:
    async def post_json(path: str, value: Any) -> Any:
        async with session.post(path, json=value) as response:
            return await response.json()

    async def echo() -> bytes:
        async with session.post("/echo", data=payload) as response:
            return await response.read()

    payload = workload.payload
    if workload.operation == "echo":
        return AsyncOperation(echo)
    if workload.operation == "mul":
        return AsyncOperation(lambda: post_json("/mul", {"a": 6, "b": 7}), lambda product: product["value"])
    return AsyncOperation(lambda: post_json("/record", build_record()), _plain)


def build_record() -> dict[str, Any]:
    """Build the workloads' record, from nothing."""
    return {
        "id": RECORD_ID,
        "name": RECORD_NAME,
        "score": RECORD_SCORE,
        "tags": ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"],
    }


def _plain(record: Any) -> Any:
    return record["id"], record["name"], record["score"], tuple(record["tags"])
