"""The common promises of registries: the same tests on all of them."""

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fastrpc import Backoff, Client, ClientConfig, ConfigError, Endpoint, Server, SyncClient
from fastrpc.coordination import RegistryServer, StoreService
from fastrpc.coordination.deimos.port import DeimosPort
from fastrpc.registries import StaticRegistry, open_registry
from fastrpc.registries.base.watch import Watch
from fastrpc.registries.lan.keys import add_key
from fastrpc.testing.registry_contract import CHECKS, RegistryCheck
from tests.support.either_client import in_own_thread
from tests.support.forking import in_child
from tests.support.ports import free_address
from tests.support.waiting import eventually
from tests.support.who import Who

#: Seconds within which a watch delivers a change.
PROMPT_SECONDS = 1.0

_numbers = itertools.count(1)

ONE, TWO = (
    Endpoint("tcp://127.0.0.1:1001", protocols=("native",)),
    Endpoint("tcp://[::1]:1002", protocols=("native",)),
)

Open = Callable[[], Any]


@contextlib.asynccontextmanager
async def opener(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Yield a function that opens a registry object, each time a new one if there can be several."""
    if kind == "static":
        registry = StaticRegistry()
        yield lambda: registry
    elif kind == "embedded":
        async with RegistryServer("tcp://127.0.0.1:0") as server:
            yield lambda: open_registry(server.url)
    elif kind == "deimos":
        async with StoreService() as service, DeimosPort(service, "http://127.0.0.1:0") as port:
            yield lambda: open_registry(f"deimos://127.0.0.1:{port.address.port}?base=contract&ttl=3")
    elif kind == "mdns":
        pytest.importorskip("zeroconf", reason="zeroconf is not installed")
        yield lambda: open_registry("mdns://?interface=lo")
    elif kind == "lan":
        path = request.getfixturevalue("tmp_path") / "lan.keys"
        add_key(path)
        yield lambda: open_registry(f"lan://?interface=lo&key_file={path}")
    else:
        server = request.getfixturevalue(kind.partition("-")[0])
        yield lambda: open_registry(f"{server.url}?{OPTIONS[kind]}")


OPTIONS = {
    "consul": "tag=contract",
    "consul-rpcx": "layout=rpcx&base=contract",
    "etcd": "base=contract",
    "etcd-rpcx": "layout=rpcx&base=contract-rpcx",
    "etcd_new": "base=contract",
    "nats": "base=contract",
    "redis": "base=contract",
    "zookeeper": "base=contract",
}
#: `make soak` runs these: a connection of nats-py may outlive its loop now and then, which fails the test after it,
#: and the newest etcd takes minutes to build.
SOAKED = {kind: pytest.param(kind, marks=pytest.mark.conformance) for kind in ("etcd_new", "nats")}
REMOTE = ["deimos", "embedded", "lan", "mdns", *(SOAKED.get(kind, kind) for kind in OPTIONS)]


@pytest.fixture(params=["static", *REMOTE])
async def opening(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    async with opener(request.param, request) as make, contextlib.AsyncExitStack() as stack:

        def open_one() -> Any:
            made = make()
            stack.push_async_callback(made.aclose)
            return made

        yield open_one


@pytest.mark.parametrize("check", CHECKS, ids=str)
async def test_contract(opening: Open, check: RegistryCheck) -> None:
    await check(opening)


@pytest.mark.parametrize("opening", ["consul"], indirect=True)
async def test_consul_itself_is_not_named(opening: Open) -> None:
    assert "consul" not in await asyncio.to_thread(opening().services)


@pytest.fixture
def service() -> str:
    # Without its own server a registry hears other runs on this machine.
    return f"shop.arith-{os.getpid()}-{next(_numbers)}"


async def until(watch: Watch, *endpoints: Endpoint) -> float:
    """Read a watch until it shows these endpoints; returns the seconds that took."""
    started = time.monotonic()
    async with asyncio.timeout(10):
        async for snapshot in watch:
            if set(snapshot.endpoints) == set(endpoints):
                break
    return time.monotonic() - started


@pytest.mark.measures
async def test_watch_reports_new_and_removed_records_within_a_second(opening: Open, service: str) -> None:
    servers = opening()
    async with opening().watch(service) as watch:
        await until(watch)
        async with servers.register(service, ONE):
            assert await until(watch, ONE) < PROMPT_SECONDS
            async with servers.register(service, TWO):
                assert await until(watch, ONE, TWO) < PROMPT_SECONDS
            assert await until(watch, ONE) < PROMPT_SECONDS
        assert await until(watch) < PROMPT_SECONDS


@pytest.mark.measures
async def test_closing_ends_iterations_and_threads(opening: Open, service: str) -> None:
    before = set(threading.enumerate())
    registry = opening()
    watch = registry.watch(service)
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(0)
    started = time.monotonic()
    await registry.aclose()
    assert await waiting is None
    # Although the registry would have held the question for many seconds more.
    assert time.monotonic() - started < 2
    left = set(threading.enumerate()) - before
    assert not [thread for thread in left if "registry" in thread.name]
    with pytest.raises(RuntimeError, match="closed"):
        registry.watch(service)


async def test_closed_watch_ends_its_thread(opening: Open, service: str) -> None:
    before = set(threading.enumerate())
    registry = opening()
    watch = registry.watch(service)
    await anext(watch)
    watch.close()
    async with asyncio.timeout(5):
        while any("registry watch" in one.name for one in set(threading.enumerate()) - before):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("opening", REMOTE, indirect=True)
@pytest.mark.parametrize("address", ["tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://127.0.0.1:0"])
async def test_address_nobody_can_dial_is_refused(opening: Open, service: str, address: str) -> None:
    with pytest.raises(ConfigError, match="no client can dial it"):
        opening().register(service, Endpoint(address))


@pytest.mark.parametrize("opening", REMOTE, indirect=True)
async def test_registry_used_before_a_fork_is_refused_in_the_child(opening: Open, service: str) -> None:
    registry = opening()
    watch = registry.watch(service)
    await anext(watch)

    def child() -> None:
        with pytest.raises(RuntimeError, match="used before the fork"):
            registry.watch(service)
        with pytest.raises(RuntimeError, match="used before the fork"):
            registry.register(service, ONE)
        watch.close()
        registry.close()

    await asyncio.to_thread(in_child, child)
    # The child closed only its own objects.
    async with registry.register(service, ONE):
        await until(watch, ONE)


@pytest.mark.parametrize("opening", REMOTE, indirect=True)
async def test_registry_made_before_a_fork_works_in_the_child(opening: Open, service: str) -> None:
    registry = opening()

    def child() -> None:
        with registry.watch(service) as watch:
            assert watch.wait(10) is not None
        registry.close()

    await asyncio.to_thread(in_child, child)


@pytest.mark.parametrize("opening", ["lan", "mdns"], indirect=True)
async def test_announcements_cannot_be_removed(opening: Open, service: str) -> None:
    with pytest.raises(ConfigError, match="deletes no records of other programs"):
        opening().remove(service, ONE.address)


@pytest.mark.parametrize("opening", [kind for kind in REMOTE if kind not in ("lan", "mdns")], indirect=True)
async def test_a_record_that_no_server_keeps_can_be_removed(opening: Open, service: str) -> None:
    registry = opening()
    # Written once, as by a server that was killed.
    for endpoint in (ONE, TWO):
        await asyncio.to_thread(registry._backend.open_lease(service, endpoint).acquire)
    async with opening().watch(service) as watch:
        await until(watch, ONE, TWO)
        assert await asyncio.to_thread(registry.remove, service, str(ONE.address))
        assert not await asyncio.to_thread(registry.remove, service, ONE.address)
        await until(watch, TWO)
        assert await asyncio.to_thread(registry.remove, service, TWO.address)
        await until(watch)


@contextlib.asynccontextmanager
async def listening(address: str) -> AsyncIterator[None]:
    async with Server(Who("one")) as server:
        await server.listen(address)
        yield


async def test_first_call_after_the_only_server_restarted_succeeds(opening: Open, service: str) -> None:
    """Its record stays, so the registry does not report the restart to the client."""
    address = free_address()
    # No call waits for the end of a pause.
    config = ClientConfig(backoff=Backoff(first=600, longest=600))
    async with (
        opening().register(service, Endpoint(address, protocols=("native",))),
        Client(service, registry=opening(), config=config) as client,
    ):
        blocking = SyncClient(service, registry=opening(), config=config)
        async with listening(address):
            assert await client.with_options(wait_for_ready=True).call(Who.name_of) == "one"
            assert await in_own_thread(blocking.with_options(wait_for_ready=True).call, Who.name_of) == "one"
        pool: Any = client._pool
        await eventually(lambda: any(each.error for each in pool.subchannels))
        async with listening(address):
            assert await client.call(Who.name_of) == "one"
            assert await in_own_thread(blocking.call, Who.name_of) == "one"
            await in_own_thread(blocking.close)
