"""A record that changes in real registries: there at every instant, written again after losses and outages."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Endpoint
from fastrpc.endpoint import copied
from fastrpc.registries import Watch, open_registry
from fastrpc.registries.lan.keys import add_key
from tests.support.registry_servers import (
    ConsulAgent,
    EmbeddedServer,
    EtcdServer,
    NatsServer,
    RedisServer,
    ZookeeperServer,
)

ONE = Endpoint("tcp://127.0.0.1:1001", protocols=("native",))
HEAVY, LIGHT = copied(ONE, weight=9), copied(ONE, weight=2, labels={"group": "blue"})

MAKERS: dict[str, Callable[[str, Path], Any]] = {
    "consul": ConsulAgent,
    "etcd": EtcdServer,
    "nats": NatsServer,
    "redis": RedisServer,
    "zookeeper": ZookeeperServer,
}
KINDS = [
    "embedded",
    "embedded-kept",
    "consul?check=tcp",
    "consul?ttl=10",
    "consul?layout=rpcx",
    "etcd?ttl=10",
    "etcd?layout=rpcx",
    # As in the contract suite.
    pytest.param("nats?ttl=15", marks=pytest.mark.conformance),
    "redis?ttl=10",
    "zookeeper?ttl=10",
]


class Registry:
    """A registry in another process, which a test kills and starts again."""

    def __init__(self, server: Any, options: str) -> None:
        self.server, self._options = server, options

    def open(self) -> Any:
        return open_registry(f"{self.server.url}?{self._options}" if self._options else self.server.url)


@pytest.fixture(params=KINDS)
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    name, _, options = request.param.partition("?")
    server: Any
    if name.startswith("embedded"):
        server = EmbeddedServer(tmp_path, data_dir=tmp_path / "data" if name == "embedded-kept" else None)
    else:
        server = MAKERS[name](request.getfixturevalue(f"{name}_path"), tmp_path)
    with server.running():
        yield Registry(server, options)


@pytest.fixture
async def listening() -> AsyncIterator[None]:
    """Accept connections where the endpoint is, for checks that connect."""
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", ONE.address.port, reuse_port=True
    )
    async with server:
        yield


@pytest.fixture
async def opened(registry: Registry, listening: None) -> AsyncIterator[Callable[[], Any]]:
    async with contextlib.AsyncExitStack() as stack:

        def open_one() -> Any:
            made = registry.open()
            stack.push_async_callback(made.aclose)
            return made

        yield open_one


async def until(watch: Watch, *endpoints: Endpoint) -> None:
    """Read a watch until it has exactly these endpoints."""
    async with asyncio.timeout(30):
        while watch.latest is None or watch.latest.endpoints != endpoints:
            await anext(watch)


@contextlib.contextmanager
def looked_at(lookup: Any, seen: list[list[Any]]) -> Iterator[threading.Event]:
    """Fetch the list of a service again and again in a thread, and note all from the first that is not empty.

    The event is set by then.
    """
    is_over, has_begun = threading.Event(), threading.Event()

    def look() -> None:
        while not is_over.is_set():
            found = [endpoint for _, endpoint in lookup.fetch(0).entries]
            if found or has_begun.is_set():
                seen.append(found)
                has_begun.set()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield has_begun
    finally:
        is_over.set()
        thread.join()
        lookup.close()


async def changed_under_a_look(opened: Callable[[], Any]) -> None:
    """Change a record many times; each list that the registry itself gives meanwhile has the record, each once."""
    seen: list[list[Any]] = []
    async with opened().register("arith", ONE) as registration, opened().watch("arith") as watch:
        await until(watch, ONE)
        with looked_at(opened()._backend.open_lookup("arith"), seen) as has_begun:
            await asyncio.to_thread(has_begun.wait, 30)
            for number in range(20):
                await registration.change(copied(ONE, weight=number + 2))
            await until(watch, copied(ONE, weight=21))
    assert seen
    assert not [one for one in seen if {endpoint.address for endpoint in one} != {ONE.address}]


async def test_a_record_exists_at_every_instant_of_its_changes(opened: Callable[[], Any]) -> None:
    await changed_under_a_look(opened)


@pytest.mark.parametrize("kind", ["lan", "mdns"])
async def test_an_announced_record_exists_at_every_instant_of_its_changes(kind: str, tmp_path: Path) -> None:
    if kind == "mdns":
        pytest.importorskip("zeroconf", reason="zeroconf is not installed")
    add_key(tmp_path / "lan.keys")
    url = {"lan": f"lan://?interface=lo&key_file={tmp_path / 'lan.keys'}", "mdns": "mdns://?interface=lo"}[
        kind
    ]
    async with contextlib.AsyncExitStack() as stack:

        def open_one() -> Any:
            made: Any = open_registry(url)
            stack.push_async_callback(made.aclose)
            return made

        await changed_under_a_look(open_one)


async def test_a_change_during_an_outage_is_stored_once_the_registry_is_back(
    registry: Registry, opened: Callable[[], Any]
) -> None:
    servers = opened()
    async with servers.register("arith", ONE) as registration:
        async with opened().watch("arith") as watch:
            await until(watch, ONE)
            await asyncio.to_thread(registry.server.kill)
            async with asyncio.timeout(30):
                await registration.change(HEAVY)
                await registration.change(LIGHT)
            assert (registration.endpoint, registration.is_registered) == (LIGHT, False)
            await asyncio.to_thread(registry.server.start)
            await until(watch, LIGHT)
        async with asyncio.timeout(30):
            while not registration.is_registered:
                await asyncio.sleep(0.01)
    # A server that leaves now takes the changed record with it.
    async with opened().watch("arith") as watch:
        await until(watch)


async def test_a_change_of_a_removed_record_is_stored(opened: Callable[[], Any]) -> None:
    servers = opened()
    async with servers.register("arith", ONE) as registration, opened().watch("arith") as watch:
        await until(watch, ONE)
        assert await asyncio.to_thread(opened().remove, "arith", ONE.address)
        await registration.change(HEAVY)
        assert registration.is_registered
        await until(watch, HEAVY)


def lose_leases(server: Any) -> None:
    """End the leases of etcd, or the sessions of Consul, and the records with them."""
    if isinstance(server, EtcdServer):
        for lease in server.ask("lease/leases", {})["leases"]:
            server.ask("lease/revoke", lease)
    else:
        for session in server.ask("/v1/session/list"):
            server.ask(f"/v1/session/destroy/{session['ID']}", method="PUT")


@pytest.mark.parametrize("registry", ["etcd?ttl=10", "etcd?layout=rpcx", "consul?layout=rpcx"], indirect=True)
async def test_a_change_after_the_end_of_its_lease_is_stored(
    registry: Registry, opened: Callable[[], Any]
) -> None:
    async with opened().register("arith", ONE) as registration, opened().watch("arith") as watch:
        await until(watch, ONE)
        for changed in (HEAVY, LIGHT):
            await asyncio.to_thread(lose_leases, registry.server)
            await registration.change(changed)
            await until(watch, changed)
    async with opened().watch("arith") as watch:
        await until(watch)


async def test_a_record_that_changed_is_marked_and_leaves(opened: Callable[[], Any]) -> None:
    servers = opened()
    async with servers.register("arith", ONE) as registration, opened().watch("arith") as watch:
        await registration.change(HEAVY)
        await until(watch, HEAVY)
        if await registration.retire():
            await registration.change(LIGHT)
            await until(watch)
    async with opened().watch("arith") as watch:
        await until(watch)
