"""Tests for custom registries: the promises of `WatchedRegistry` on which clients, servers and programs rely.

For a client a registry whose `watch` is an async generator is enough. These checks need more: they use the methods of a
`Watch`, the names of services, and threads without a loop.

::

    @pytest.mark.parametrize("check", registry_contract.CHECKS, ids=str)
    def test_registry(check: registry_contract.RegistryCheck) -> None:
        check.run(lambda: open_registry("redis-of-ours://127.0.0.1:7000"))

Each check uses a different service, so the tests may use a running registry server. A failed check raises
AssertionError.
"""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, FastRPCError
from fastrpc.server.registrar import Registrar
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["CHECKS", "RegistryCheck", "RegistryOpener"]

#: Returns a new registry object for the same records on each call. The check closes the object.
RegistryOpener: TypeAlias = Callable[[], Any]

_Check: TypeAlias = Callable[["_Registries"], Awaitable[None]]

#: Seconds to wait for a change that must arrive, and for a change that must not arrive.
ARRIVE_SECONDS, ABSENT_SECONDS = 20.0, 1.5

#: Seconds between two requests to a registry in a loop.
PAUSE_SECONDS = 0.002

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
NEWER = Endpoint(ONE.address, weight=9, protocols=("native",))
OUT = Endpoint(ONE.address, weight=0, labels={"group": "blue"}, protocols=("native",))


class RegistryCheck:
    """The check of one promise of a registry. Its text states the promise."""

    def __init__(self, check: _Check) -> None:
        self.name = check.__name__.removeprefix("_")
        self._check = check

    def run(self, opener: RegistryOpener) -> None:
        """Check a registry, on a new event loop."""
        asyncio.run(self(opener))

    async def __call__(self, opener: RegistryOpener) -> None:
        """Check a registry on the running loop."""
        async with contextlib.AsyncExitStack() as stack:
            await self._check(_Registries(opener, stack))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<registry check {self.name}>"


class _Registries:
    """The registry objects and the service of one check."""

    def __init__(self, opener: RegistryOpener, stack: contextlib.AsyncExitStack) -> None:
        self._opener = opener
        self._stack = stack
        self.service = f"contract.of-{secrets.token_hex(6)}"

    def open(self) -> Any:
        made = self._opener()
        self._stack.push_async_callback(made.aclose)
        return made

    @contextlib.asynccontextmanager
    async def watch(self, service: str = "") -> AsyncIterator[Any]:
        async with self.open().watch(service or self.service) as watch:
            yield watch


async def _unserved_service_has_an_empty_list(registries: _Registries) -> None:
    async with registries.watch() as watch:
        await _shows(watch)


async def _record_arrives_whole(registries: _Registries) -> None:
    async with registries.open().register(registries.service, FULL), registries.watch() as watch:
        await _shows(watch, FULL)
        [found] = watch.latest.endpoints
        _require(dict(found.labels) == dict(FULL.labels), f"the labels are {found.labels}")


async def _watch_shows_servers_that_come_and_go(registries: _Registries) -> None:
    servers = registries.open()
    async with registries.watch() as watch:
        await _shows(watch)
        async with servers.register(registries.service, ONE):
            await _shows(watch, ONE)
            async with servers.register(registries.service, TWO):
                await _shows(watch, ONE, TWO)
            await _shows(watch, ONE)
        await _shows(watch)


async def _snapshots_are_values_with_growing_versions(registries: _Registries) -> None:
    servers, seen = registries.open(), []
    async with registries.watch() as watch, time_limit(ARRIVE_SECONDS):
        seen.append(await anext(watch))
        for endpoint in (ONE, TWO):
            async with servers.register(registries.service, endpoint):
                while watch.latest.endpoints != (endpoint,):
                    seen.append(await anext(watch))
    versions = [snapshot.version for snapshot in seen]
    _require(versions == sorted(set(versions)), f"the versions are {versions}")
    _require(len(set(seen)) == len(seen), "snapshots that differ are equal")


async def _services_do_not_mix(registries: _Registries) -> None:
    servers, other = registries.open(), f"{registries.service}-other"
    async with (
        servers.register(registries.service, ONE),
        servers.register(other, TWO),
        registries.watch() as watch,
        registries.watch(other) as others,
    ):
        await _shows(watch, ONE)
        await _shows(others, TWO)


async def _one_registry_follows_many_services(registries: _Registries) -> None:
    servers, clients = registries.open(), registries.open()
    names = [f"{registries.service}-{number}" for number in range(10)]
    async with contextlib.AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(clients.watch(name)) for name in names]
        for watch in watches:
            await _shows(watch)
        for number, name in enumerate(names):
            await stack.enter_async_context(servers.register(name, _numbered(number)))
        for number, watch in enumerate(watches):
            await _shows(watch, _numbered(number))


async def _many_watches_follow_one_service(registries: _Registries) -> None:
    clients = registries.open()
    async with contextlib.AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(clients.watch(registries.service)) for _ in range(20)]
        async with registries.open().register(registries.service, ONE):
            for watch in watches:
                await _shows(watch, ONE)


async def _later_watch_has_the_list_at_once(registries: _Registries) -> None:
    clients = registries.open()
    async with (
        registries.open().register(registries.service, ONE),
        clients.watch(registries.service) as first,
    ):
        await _shows(first, ONE)
        with clients.watch(registries.service) as later:
            found = later.wait(0)
        _require(found is not None and found.endpoints == (ONE,), f"the later watch has {found}")


async def _service_that_is_followed_again_has_its_list(registries: _Registries) -> None:
    clients = registries.open()
    async with (
        registries.open().register(registries.service, ONE),
        clients.watch(f"{registries.service}-other") as kept,
    ):
        await _shows(kept)
        for _ in range(2):
            async with clients.watch(registries.service) as watch:
                await _shows(watch, ONE)


async def _server_that_starts_again_at_its_address_is_listed_once(registries: _Registries) -> None:
    # The previous server was killed, so its lease still exists.
    left = registries.open().register(registries.service, ONE)
    await left.__aenter__()
    async with registries.open().register(registries.service, NEWER), registries.watch() as watch:
        await _shows(watch, NEWER)
    await left.__aexit__(None, None, None)
    async with registries.watch() as watch:
        await _shows(watch)


async def _later_one_at_an_address_stays_when_the_earlier_one_leaves(registries: _Registries) -> None:
    earlier = registries.open().register(registries.service, ONE)
    await earlier.__aenter__()
    async with registries.open().register(registries.service, NEWER), registries.watch() as watch:
        await _shows(watch, NEWER)
        watch.wait(0)
        await earlier.__aexit__(None, None, None)
        change = asyncio.ensure_future(anext(watch))
        # Longer than a registry waits before it checks an empty list again.
        done, _ = await asyncio.wait([change], timeout=ABSENT_SECONDS)
        change.cancel()
        await asyncio.gather(change, return_exceptions=True)
        _require(not done, "the record of the later server changed")


async def _earlier_one_at_an_address_comes_back_when_the_later_one_leaves(registries: _Registries) -> None:
    async with registries.watch() as watch, registries.open().register(registries.service, ONE):
        await _shows(watch, ONE)
        async with registries.open().register(registries.service, NEWER):
            await _shows(watch, NEWER)
        await _shows(watch, ONE)


async def _record_that_changes_is_never_missing(registries: _Registries) -> None:
    clients, registrar = registries.open(), Registrar(registries.open())
    try:
        await _registered(registrar, registries.service, ONE)
        async with clients.watch(registries.service) as watch:
            await _shows(watch, ONE)
            async with _always_named(clients, registries.service):
                for changed in (NEWER, OUT, ONE, NEWER):
                    await _registered(registrar, registries.service, changed)
                    for found in await _lists_until(watch, changed):
                        _require(len(found) == 1, f"the list is {list(found)} while a record changes")
    finally:
        await registrar.close()
    async with registries.watch() as watch:
        await _shows(watch)


async def _earlier_one_at_an_address_that_changes_leaves_the_later_one(registries: _Registries) -> None:
    async with registries.watch() as watch, registries.open().register(registries.service, ONE) as earlier:
        if not hasattr(earlier, "change"):
            # In such a registry a change is a second registration, the later one.
            return
        await _shows(watch, ONE)
        async with registries.open().register(registries.service, NEWER):
            await _shows(watch, NEWER)
            watch.wait(0)
            await earlier.change(OUT)
            change = asyncio.ensure_future(anext(watch))
            done, _ = await asyncio.wait([change], timeout=ABSENT_SECONDS)
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)
            _require(not done, "the record of the later server changed")
        await _shows(watch, OUT)


async def _thread_without_a_loop_registers_and_watches(registries: _Registries) -> None:
    servers, clients = registries.open(), registries.open()

    def work() -> Any:
        with (
            servers.register(registries.service, ONE) as registration,
            clients.watch(registries.service) as watch,
        ):
            _require(registration.is_registered, "the block begins before the record is written")
            while (found := watch.wait(ARRIVE_SECONDS)) is not None and not found.endpoints:
                pass
            return found

    found = await asyncio.to_thread(work)
    _require(found is not None and found.endpoints == (ONE,), f"the watch has {found}")


async def _closing_ends_iterations_and_threads(registries: _Registries) -> None:
    before = set(threading.enumerate())
    registry = registries.open()
    watch = registry.watch(registries.service)
    await anext(watch)
    waiting = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(0)
    await registry.aclose()
    async with time_limit(ARRIVE_SECONDS):
        _require(await waiting is None, "the iteration goes on")
    left = await asyncio.to_thread(_threads_left, before)
    _require(not left, f"threads are left: {left}")
    with _raises(RuntimeError):
        registry.watch(registries.service)


async def _services_are_named(registries: _Registries) -> None:
    servers, clients = registries.open(), registries.open()
    async with servers.register(registries.service, ONE), clients.watch_services() as watch:
        names = await asyncio.to_thread(clients.services)
        _require(names == sorted(set(names)), f"the names are not sorted, each once: {names}")
        _require(registries.service in names, f"{registries.service} is missing in {names}")
        async with time_limit(ARRIVE_SECONDS):
            async for shown in watch:
                if registries.service in shown:
                    break


async def _record_is_removed_by_its_address(registries: _Registries) -> None:
    registry = registries.open()
    async with registries.open().register(registries.service, ONE), registries.watch() as watch:
        await _shows(watch, ONE)
        try:
            found = await asyncio.to_thread(registry.remove, registries.service, ONE.address)
        except ConfigError:
            # In this kind of registry, records are removed with their servers.
            return
        _require(found, "remove returns False for a record")
        _require(
            not await asyncio.to_thread(registry.remove, f"{registries.service}-other", ONE.address),
            "remove returns True without a record",
        )


async def _invalid_names_are_refused(registries: _Registries) -> None:
    registry = registries.open()
    for name in ("", "a b", "a/b", "../a", "a\n", "a?b", "x" * 300):
        with _raises(ConfigError):
            registry.watch(name)
        with _raises(ConfigError, but=Status.UNIMPLEMENTED):
            registry.register(name, ONE)


CHECKS = tuple(
    RegistryCheck(check)
    for check in (
        _unserved_service_has_an_empty_list,
        _record_arrives_whole,
        _watch_shows_servers_that_come_and_go,
        _snapshots_are_values_with_growing_versions,
        _services_do_not_mix,
        _one_registry_follows_many_services,
        _many_watches_follow_one_service,
        _later_watch_has_the_list_at_once,
        _service_that_is_followed_again_has_its_list,
        _server_that_starts_again_at_its_address_is_listed_once,
        _later_one_at_an_address_stays_when_the_earlier_one_leaves,
        _earlier_one_at_an_address_comes_back_when_the_later_one_leaves,
        _record_that_changes_is_never_missing,
        _earlier_one_at_an_address_that_changes_leaves_the_later_one,
        _thread_without_a_loop_registers_and_watches,
        _closing_ends_iterations_and_threads,
        _services_are_named,
        _record_is_removed_by_its_address,
        _invalid_names_are_refused,
    )
)


async def _shows(watch: Any, *endpoints: Endpoint) -> None:
    """Return when a watch has exactly these endpoints."""
    try:
        async with time_limit(ARRIVE_SECONDS):
            while watch.latest is None or set(watch.latest.endpoints) != set(endpoints):
                await anext(watch)
    except TimeoutError:
        found = None if watch.latest is None else [str(one) for one in watch.latest.endpoints]
        wanted = [str(one) for one in endpoints]
        raise AssertionError(
            f"the list is {found} after {ARRIVE_SECONDS:g} s instead of {wanted}"
        ) from watch.error


async def _registered(registrar: Registrar, service: str, endpoint: Endpoint) -> None:
    """Register an endpoint as a server does."""
    registrar.want({(service, endpoint.address): endpoint})
    await registrar.settle()


async def _lists_until(watch: Any, endpoint: Endpoint) -> list[tuple[Endpoint, ...]]:
    """Return all lists that a watch reports until it has exactly this endpoint."""
    found = []
    try:
        async with time_limit(ARRIVE_SECONDS):
            while watch.latest.endpoints != (endpoint,):
                found.append((await anext(watch)).endpoints)
    except TimeoutError:
        text = f"the list is {watch.latest.endpoints} after {ARRIVE_SECONDS:g} s instead of {endpoint!r}"
        raise AssertionError(text) from watch.error
    return found


@contextlib.asynccontextmanager
async def _always_named(registry: Any, service: str) -> AsyncIterator[None]:
    """Request the names of all services repeatedly, and fail if an answer lacks a service."""
    is_over = threading.Event()

    def ask() -> bool:
        is_named = service in registry.services()
        while is_named and not is_over.wait(PAUSE_SECONDS):
            is_named = service in registry.services()
        return is_named

    asking = asyncio.ensure_future(asyncio.to_thread(ask))
    try:
        yield
    finally:
        is_over.set()
        is_named = await asking
    _require(is_named, f"{service} had no record for a moment")


def _threads_left(before: set[threading.Thread]) -> list[str]:
    """Return the names of new threads that do not end, except the event loop's executor threads."""
    until = time.monotonic() + ARRIVE_SECONDS
    new = [one for one in set(threading.enumerate()) - before if not one.name.startswith("asyncio_")]
    for one in new:
        one.join(max(0.0, until - time.monotonic()))
    return [one.name for one in new if one.is_alive()]


def _numbered(number: int) -> Endpoint:
    return Endpoint(f"tcp://127.0.0.1:{number + 1}", protocols=("native",))


@contextlib.contextmanager
def _raises(kind: type[FastRPCError | RuntimeError], *, but: Status | None = None) -> Iterator[None]:
    """Expect an error with any status except one."""
    try:
        yield
    except kind as error:
        if isinstance(error, FastRPCError):
            _require(error.status is not but, f"{error} has the status {but!r}")
        return
    raise AssertionError(f"no {kind.__name__} is raised")


def _require(is_kept: bool, text: str) -> None:
    if not is_kept:
        raise AssertionError(text)
