"""What every registry does: the same tests on all of them."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint
from fastrpc.coordination import RegistryServer
from fastrpc.registries import Snapshot, StaticRegistry, open_registry
from fastrpc.registries.base.watch import Watch
from tests.support.forking import in_child

#: Seconds within which a watch delivers a change.
PROMPT_SECONDS = 1.0

_numbers = itertools.count(1)

FULL = Endpoint(
    "tcp://127.0.0.1:1001",
    weight=3,
    labels={"group": "blue", "rack": "7 ü&="},
    zone="eu-1a",
    version="1.4",
    protocols=("native",),
)
ONE, TWO = (
    Endpoint("tcp://127.0.0.1:1001", protocols=("native",)),
    Endpoint("tcp://[::1]:1002", protocols=("native",)),
)

Open = Callable[[], Any]


@contextlib.asynccontextmanager
async def opener(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Yield what opens a registry object, each time a new one where there can be several."""
    if kind == "static":
        registry = StaticRegistry()
        yield lambda: registry
    elif kind == "embedded":
        async with RegistryServer("tcp://127.0.0.1:0") as server:
            yield lambda: open_registry(server.url)
    else:
        server = request.getfixturevalue(kind.partition("-")[0])
        yield lambda: open_registry(f"{server.url}?{OPTIONS[kind]}")


OPTIONS = {
    "consul": "tag=contract",
    "consul-rpcx": "layout=rpcx&base=contract",
    "etcd": "base=contract",
    "etcd-rpcx": "layout=rpcx&base=contract-rpcx",
}
REMOTE = ["embedded", *OPTIONS]


@pytest.fixture(params=["static", *REMOTE])
async def opening(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    async with opener(request.param, request) as make, contextlib.AsyncExitStack() as stack:

        def open_one() -> Any:
            made = make()
            stack.push_async_callback(made.aclose)
            return made

        yield open_one


async def test_services_that_somebody_serves_are_named(opening: Open, service: str) -> None:
    registry = opening()
    async with registry.register(service, ONE):
        assert service in await asyncio.to_thread(registry.services)
        assert "consul" not in await asyncio.to_thread(registry.services)


@pytest.fixture
def service() -> str:
    return f"shop.arith-{next(_numbers)}"


async def until(watch: Watch, *endpoints: Endpoint) -> float:
    """Read a watch until it shows these endpoints; returns the seconds that took."""
    started = time.monotonic()
    async with asyncio.timeout(10):
        async for snapshot in watch:
            if set(snapshot.endpoints) == set(endpoints):
                break
    return time.monotonic() - started


async def test_service_nobody_serves_has_an_empty_list(opening: Open, service: str) -> None:
    async with opening().watch(service) as watch, asyncio.timeout(5):
        assert (await anext(watch)).endpoints == ()


async def test_record_arrives_whole(opening: Open, service: str) -> None:
    async with opening().register(service, FULL), opening().watch(service) as watch:
        await until(watch, FULL)
        assert watch.latest.endpoints[0].labels == FULL.labels


@pytest.mark.measures
async def test_watch_delivers_what_comes_and_goes_within_a_second(opening: Open, service: str) -> None:
    servers = opening()
    async with opening().watch(service) as watch:
        await until(watch)
        async with servers.register(service, ONE):
            assert await until(watch, ONE) < PROMPT_SECONDS
            async with servers.register(service, TWO):
                assert await until(watch, ONE, TWO) < PROMPT_SECONDS
            assert await until(watch, ONE) < PROMPT_SECONDS
        assert await until(watch) < PROMPT_SECONDS


async def test_snapshots_are_values_with_growing_versions(opening: Open, service: str) -> None:
    servers, seen = opening(), []
    async with opening().watch(service) as watch:
        seen.append(await anext(watch))
        for endpoint in (ONE, TWO):
            async with servers.register(service, endpoint), asyncio.timeout(10):
                while watch.latest.endpoints != (endpoint,):
                    seen.append(await anext(watch))
    versions = [snapshot.version for snapshot in seen]
    assert versions == sorted(set(versions))
    assert all(isinstance(snapshot, Snapshot) and hash(snapshot) for snapshot in seen)


async def test_services_do_not_mix(opening: Open, service: str) -> None:
    registry = opening()
    async with (
        registry.register(service, ONE),
        registry.register(f"{service}-other", TWO),
        opening().watch(service) as watch,
    ):
        await until(watch, ONE)


async def test_many_watch_one_service(opening: Open, service: str) -> None:
    readers = opening()
    watches = [readers.watch(service) for _ in range(20)]
    async with opening().register(service, ONE):
        for watch in watches:
            await until(watch, ONE)
    for watch in watches:
        watch.close()


async def test_later_watch_has_the_list_at_once(opening: Open, service: str) -> None:
    readers = opening()
    async with opening().register(service, ONE), readers.watch(service) as first:
        await until(first, ONE)
        assert readers.watch(service).wait(0).endpoints == (ONE,)


async def test_server_that_starts_again_at_its_address_is_there_once(opening: Open, service: str) -> None:
    # The one before had no time to say goodbye: its lease is still there.
    left = opening().register(service, ONE)
    await left.__aenter__()
    newer = Endpoint(ONE.address, weight=9, protocols=("native",))
    async with opening().register(service, newer), opening().watch(service) as watch:
        await until(watch, newer)
    # Its end does not leave the old one behind, nor does the old one's end do harm.
    await left.__aexit__(None, None, None)
    async with opening().watch(service) as watch:
        await until(watch)


async def test_of_two_at_one_address_the_later_one_stays_when_the_earlier_one_leaves(
    opening: Open, service: str
) -> None:
    newer = Endpoint(ONE.address, weight=9, protocols=("native",))
    earlier = opening().register(service, ONE)
    await earlier.__aenter__()
    async with opening().register(service, newer), opening().watch(service) as watch:
        await until(watch, newer)
        await earlier.__aexit__(None, None, None)
        changes = asyncio.ensure_future(anext(watch))
        # Longer than a second look at an empty list takes.
        done, _ = await asyncio.wait([changes], timeout=1.5)
        assert not done
        changes.cancel()
        await asyncio.gather(changes, return_exceptions=True)


async def test_of_two_at_one_address_the_earlier_one_comes_back_when_the_later_one_leaves(
    opening: Open, service: str
) -> None:
    newer = Endpoint(ONE.address, weight=9, protocols=("native",))
    async with opening().watch(service) as watch, opening().register(service, ONE):
        await until(watch, ONE)
        async with opening().register(service, newer):
            await until(watch, newer)
        await until(watch, ONE)


async def test_thread_without_a_loop_watches_and_registers(opening: Open, service: str) -> None:
    def work() -> tuple[Endpoint, ...]:
        with opening().register(service, ONE) as registration, opening().watch(service) as watch:
            assert registration.is_registered
            while (found := watch.wait(10)) is not None and not found.endpoints:
                pass
            assert found is not None
            return tuple(found.endpoints)

    assert await asyncio.to_thread(work) == (ONE,)


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
    registry = opening()
    watch = registry.watch(service)
    await anext(watch)
    watch.close()
    async with asyncio.timeout(5):
        while any(service in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "a\n", "a?b", "x" * 300])
async def test_name_that_is_none_is_refused(opening: Open, name: str) -> None:
    registry = opening()
    with pytest.raises(ConfigError, match="not a service name"):
        registry.watch(name)
    with pytest.raises(ConfigError, match="not a service name"):
        registry.register(name, ONE)


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
    # What the child closed was its own.
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
