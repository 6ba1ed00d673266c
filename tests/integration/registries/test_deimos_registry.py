"""Servers registered in Deimos: found by our clients, and as Phobos writes and reads them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import Client, Endpoint, Server, ServerConfig
from fastrpc.registries.base.rpcx_record import RpcxRecord
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.deimos import keys as keys_module
from fastrpc.registries.deimos.keys import DeimosLease
from fastrpc.registries.deimos.node import DeimosAccess, DeimosAnswer, DeimosClient
from tests.support.deimos_vectors import DeimosServer, deimos_cases, deimos_server
from tests.support.opened_registries import opened, shown

pytestmark = pytest.mark.one_loop

PLACE = "/keys/phobos/Arith/tcp@127.0.0.1:8972"


class Args(msgspec.Struct):
    A: int
    B: int


@fastrpc.service("Arith")
class Arith:
    @fastrpc.method
    async def Mul(self, args: Args) -> dict[str, int]:
        return {"C": args.A * args.B}


@pytest.fixture
async def server() -> AsyncIterator[DeimosServer]:
    async with deimos_server() as server:
        yield server


@pytest.fixture
def url(server: DeimosServer) -> str:
    return f"deimos://127.0.0.1:{server.address.port}"


async def node(server: DeimosServer, path: str = PLACE) -> Any:
    found = await server.ask("GET", path)
    return found.value["node"] if found.status == 200 else None


async def test_server_is_found_and_called(url: str, server: DeimosServer) -> None:
    config = ServerConfig(protocols=("native", "phobos"))
    async with Server(Arith(), config=config, registry=f"{url}?ttl=4") as served:
        address = await served.listen("tcp://127.0.0.1:0")
        async with Client(f"{url}/Arith") as client:
            assert await client.call(Arith.Mul, Args(6, 7)) == {"C": 42}
        found = await node(server, f"/keys/phobos/Arith/tcp@127.0.0.1:{address.port}")
        assert found["ttl"] <= 4
        assert "protocols=" in found["value"]
    assert await node(server, f"/keys/phobos/Arith/tcp@127.0.0.1:{address.port}") is None


async def test_clients_of_phobos_can_read_the_record(url: str, server: DeimosServer) -> None:
    endpoint = Endpoint("tcp://127.0.0.1:8972", weight=5, labels={"group": "a"})
    async with opened(f"{url}?ttl=4") as registry, registry.register("Arith", endpoint):
        (recorded,) = (
            one
            for one in deimos_cases()["phobos_registers"]
            if one.get("request", "").startswith("PUT")
            and one["status"] == 201
            and "ttl" in one["request_body"]
        )
        ours, theirs = await node(server), msgspec.json.decode(recorded["body"])["node"]
        assert {ours["key"], ours["ttl"]} == {theirs["key"], theirs["ttl"]}
        assert sorted(ours["value"].split("&")) == sorted(theirs["value"].split("&"))


async def test_record_of_phobos_speaks_phobos(url: str, server: DeimosServer) -> None:
    async with opened(url) as registry, registry.watch("Arith") as watch:
        await server.ask("PUT", PLACE, "value=weight%3D5%26group%3Da&ttl=4")
        await shown(
            watch,
            Endpoint("tcp://127.0.0.1:8972", weight=5, labels={"group": "a"}, protocols=("phobos",)),
        )
        assert await asyncio.to_thread(registry.services) == ["Arith"]
        server.advance(5)
        await shown(watch)


async def test_lost_record_is_written_again(url: str, server: DeimosServer) -> None:
    async with (
        opened(f"{url}?ttl=2") as registry,
        registry.register("Arith", Endpoint("tcp://127.0.0.1:8972")),
        asyncio.timeout(20),
    ):
        changes = server.store.watch("phobos/Arith/")
        await server.ask("DELETE", "/keys/phobos?recursive=true")
        assert (await anext(changes)).item is None
        assert (await anext(changes)).item is not None


async def test_list_is_read_again_without_an_event(
    url: str, server: DeimosServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "READ_SECONDS", 0.1)
    monkeypatch.setattr(server.app.tree.log, "commit", lambda revision: None)
    async with opened(url) as registry, registry.watch("Arith") as watch:
        await shown(watch)
        await server.ask("PUT", PLACE, "value=&ttl=4")
        await shown(watch, Endpoint("tcp://127.0.0.1:8972", protocols=("phobos",)))


class Taken(DeimosClient):
    """A client whose key another server takes over after a read, if the test says so."""

    taken_by: str | None = None

    def get(self, key: str, *, recursive: bool = False) -> DeimosAnswer:
        answer = super().get(key, recursive=recursive)
        if self.taken_by is not None:
            self.put(key, {"value": self.taken_by, "ttl": 4})
        return answer


@pytest.mark.parametrize("taken_by", [None, "weight=9"])
async def test_renewal_overwrites_no_other_server(
    url: str, server: DeimosServer, taken_by: str | None
) -> None:
    """The own write that had no answer is renewed, unless another server registers after it was read."""
    record = RpcxRecord(Endpoint("tcp://127.0.0.1:8972", weight=5))
    client = Taken(DeimosAccess(RegistryURL(url)))
    lease = DeimosLease(client, PLACE.removeprefix("/keys/"), record, 4)
    own = record.value().decode()

    def renewed() -> bool:
        lease.acquire()
        client.put(PLACE.removeprefix("/keys/"), {"value": own, "ttl": 4})
        client.taken_by = taken_by
        return lease.renew()

    assert await asyncio.to_thread(renewed)
    assert (await node(server))["value"] == (taken_by or own)
    await asyncio.to_thread(lease.release)
    assert (await node(server) is None) == (taken_by is None)
    client.close()
