"""A server that leaves: where its registry can mark records, they are marked until the announcement is over."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Endpoint, Server, ServerConfig, Timeouts
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.backend import Lease
from tests.support.fake_registry import FakeLease, FakeLookup, FakeRetiringLease
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith")
class Arith:
    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def wait(self) -> bool:
        await self.may_end.wait()
        return True


class KeptBackend:
    """Gives leases that record their requests."""

    def __init__(self, kind: type[FakeLease]) -> None:
        self._kind = kind
        self.lease: FakeLease | None = None

    @property
    def actions(self) -> list[str]:
        """The requests to the lease, except renewals, whose number is a matter of time."""
        return [] if self.lease is None else [one for one in self.lease.actions if one != "renew"]

    def open_lookup(self, service: str) -> FakeLookup:
        return FakeLookup([])

    def open_lease(self, service: str, endpoint: Endpoint) -> Lease:
        self.lease = self._kind()
        return self.lease

    def list_services(self) -> Iterable[str]:
        return ()

    def close(self) -> None:
        """Nothing is open."""


def config(announce: float) -> ServerConfig:
    return ServerConfig(timeouts=Timeouts(announce=announce))


async def listening(server: Server) -> str:
    return str(await server.listen("tcp://127.0.0.1:0"))


async def test_records_are_marked_while_the_drain_is_announced_and_removed_after_it() -> None:
    backend, arith = KeptBackend(FakeRetiringLease), Arith()
    registry = BackedRegistry(backend, "kept")
    async with Server(arith, config=config(0.5), registry=registry) as server:
        async with Client(await listening(server)) as client:
            waits = asyncio.create_task(client.call(Arith.wait))
            await eventually(lambda: server.stats()["live"]["calls"] == 1)
            drain = asyncio.create_task(server.drain())
            await eventually(lambda: backend.actions[-1:] == ["retire"])
            # Marked: it serves those who have not heard of it.
            assert await client.call(Arith.mul, 6, 7) == 42
            # Removed, although calls continue.
            await eventually(lambda: backend.actions[-1:] == ["release"])
            assert not waits.done()
            arith.may_end.set()
            assert await waits is True
        assert await drain is True
    assert backend.actions == ["acquire", "retire", "release"]
    await registry.aclose()


@pytest.mark.parametrize("announce", [0.0, 0.05])
@pytest.mark.parametrize(
    ("kind", "actions"),
    [(FakeRetiringLease, ["acquire", "retire", "release"]), (FakeLease, ["acquire", "release"])],
    ids=["marks", "no marks"],
)
async def test_every_drain_takes_its_records_out_once(kind: Any, actions: list[str], announce: float) -> None:
    backend = KeptBackend(kind)
    registry = BackedRegistry(backend, "kept")
    async with Server(Arith(), config=config(announce), registry=registry) as server:
        await listening(server)
    assert backend.actions == actions
    await registry.aclose()


async def test_a_record_that_cannot_be_marked_is_removed_before_the_announcement() -> None:
    backend = KeptBackend(FakeRetiringLease)
    registry = BackedRegistry(backend, "kept")
    async with Server(Arith(), config=config(30.0), registry=registry) as server:
        await listening(server)
        assert isinstance(backend.lease, FakeRetiringLease)
        backend.lease.is_taken_over = True
        drain = asyncio.create_task(server.drain())
        await eventually(lambda: backend.actions[-1:] == ["release"])
        assert not drain.done()
        drain.cancel()
        await server.close()
    assert backend.actions == ["acquire", "retire", "release"]
    await registry.aclose()


async def test_a_server_that_closes_while_it_announces_removes_its_record() -> None:
    backend = KeptBackend(FakeRetiringLease)
    registry = BackedRegistry(backend, "kept")
    async with Server(Arith(), config=config(30.0), registry=registry) as server:
        await listening(server)
        drain = asyncio.create_task(server.drain())
        await eventually(lambda: backend.actions[-1:] == ["retire"])
        drain.cancel()
        await server.close()
        assert backend.actions == ["acquire", "retire", "release"]
    await registry.aclose()
