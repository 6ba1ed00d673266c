"""The changes of a list, one by one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastrpc import Endpoint
from fastrpc.registries import EndpointChange, Snapshot, StaticRegistry, changes

ONE, TWO, THREE = (Endpoint(f"tcp://10.0.0.1:{port}") for port in (1, 2, 3))
HEAVY = Endpoint(TWO.address, weight=9)


async def taken(found: Any, count: int) -> list[tuple[str, Endpoint]]:
    async with asyncio.timeout(5):
        read = [await anext(found) for _ in range(count)]
    return [(one.kind, one.endpoint) for one in read]


async def test_present_endpoints_come_first_then_each_change() -> None:
    registry = StaticRegistry({"arith": [ONE, TWO]})
    async with aclosing(changes(registry, "arith")) as found:
        assert await taken(found, 2) == [("added", ONE), ("added", TWO)]
        registry.update("arith", [HEAVY, THREE])
        assert await taken(found, 3) == [("removed", ONE), ("changed", HEAVY), ("added", THREE)]
        registry.close()
        assert [one async for one in found] == []


async def test_record_that_is_written_again_is_no_change() -> None:
    registry = StaticRegistry({"arith": [ONE]})
    async with aclosing(changes(registry, "arith")) as found:
        await taken(found, 1)
        registry.update("arith", [Endpoint(ONE.address), TWO])
        assert await taken(found, 1) == [("added", TWO)]


async def test_watch_of_a_registry_of_the_program_is_closed() -> None:
    closed = []

    class Own:
        async def watch(self, service: str) -> AsyncGenerator[Snapshot, None]:
            try:
                yield Snapshot(1, (ONE,))
                yield Snapshot(2, ())
            finally:
                closed.append(service)

    registry: Any = Own()
    assert [one async for one in changes(registry, "arith")] == [
        EndpointChange("added", ONE),
        EndpointChange("removed", ONE),
    ]
    async with aclosing(changes(registry, "orders")) as found:
        await taken(found, 1)
    assert closed == ["arith", "orders"]
