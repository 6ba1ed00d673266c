"""A registry that is killed, cut off or stopped changes nothing for those who use it."""

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Endpoint
from fastrpc.registries import Snapshot, open_registry
from tests.support.cluster import until
from tests.support.registry_servers import (
    ConsulAgent,
    EmbeddedServer,
    EtcdServer,
    NatsServer,
    RedisServer,
    ZookeeperServer,
)

ENDPOINTS = [Endpoint(f"tcp://127.0.0.1:{port}", protocols=("native",)) for port in (1001, 1002, 1003)]

#: Seconds in which everything is registered again once the registry is back.
RETURN_SECONDS = 5.0

KINDS = (
    "embedded",
    "embedded-kept",
    "consul",
    "consul-tcp",
    "consul-rpcx",
    "etcd",
    "etcd-emptied",
    "etcd-rpcx",
    "nats",
    "redis",
    "zookeeper",
)
#: Left out of CI, as in the contract suite.
LEFT_OUT = {"nats"}
#: They differ from other kinds only in layout, checks or data: their outages are measured in `make soak`.
VARIANTS = {"embedded-kept", "consul-tcp", "consul-rpcx", "etcd-emptied", "etcd-rpcx"}


def kinds_without(left_out: set[str]) -> list[Any]:
    """Return all kinds; `make soak` runs the kinds that are left out here."""
    return [pytest.param(kind, marks=pytest.mark.conformance) if kind in left_out else kind for kind in KINDS]


measured_kinds = pytest.mark.parametrize("registry_server", kinds_without(LEFT_OUT | VARIANTS), indirect=True)
OPTIONS = {"consul-tcp": "?check=tcp", "consul-rpcx": "?layout=rpcx", "etcd-rpcx": "?layout=rpcx"}


class EmptiedEtcd(EtcdServer):
    """A member that loses its data when it is killed."""

    def kill(self) -> None:
        super().kill()
        shutil.rmtree(self.data, ignore_errors=True)


@pytest.fixture(params=kinds_without(LEFT_OUT))
def registry_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A registry in a separate process; those but `embedded-kept` and etcd forget everything when they are killed."""
    server: Any
    if request.param.startswith("embedded"):
        kept = tmp_path / "data" if request.param == "embedded-kept" else None
        server = EmbeddedServer(tmp_path, data_dir=kept)
    elif request.param.startswith("etcd"):
        kind = EmptiedEtcd if request.param == "etcd-emptied" else EtcdServer
        server = kind(request.getfixturevalue("etcd_path"), tmp_path)
    elif request.param in {"nats", "redis", "zookeeper"}:
        kind = {"nats": NatsServer, "redis": RedisServer, "zookeeper": ZookeeperServer}[request.param]
        server = kind(request.getfixturevalue(f"{request.param}_path"), tmp_path)
    else:
        server = ConsulAgent(request.getfixturevalue("consul_path"), tmp_path)
    server.options = OPTIONS.get(request.param, "")
    with server.running():
        yield server


@pytest.fixture
async def listening() -> AsyncIterator[None]:
    """Accept connections where the endpoints are: to the first check that connects in vain, the endpoint is gone."""
    async with contextlib.AsyncExitStack() as stack:
        for endpoint in ENDPOINTS:
            server = await asyncio.start_server(
                lambda _, writer: writer.close(),
                "127.0.0.1",
                endpoint.address.port,
                # Tests that run at the same time, in other processes, listen there as well.
                reuse_port=True,
            )
            await stack.enter_async_context(server)
        yield


@contextlib.asynccontextmanager
async def cluster(server: Any) -> AsyncIterator[tuple[list[Snapshot], Any]]:
    """Three servers and a client of a registry; yields its view from the time it saw all three, and its watch."""
    async with contextlib.AsyncExitStack() as stack:
        for endpoint in ENDPOINTS:
            registry: Any = open_registry(server.url + server.options)
            await stack.enter_async_context(registry)
            await stack.enter_async_context(registry.register("arith", endpoint))
        client: Any = await stack.enter_async_context(open_registry(server.url + server.options))  # type: ignore[arg-type]
        watch = client.watch("arith")
        seen = [await everybody(watch)]

        async def follow() -> None:
            async for snapshot in watch:
                seen.append(snapshot)

        following = asyncio.create_task(follow())
        yield seen, watch
        watch.close()
        await following


async def everybody(watch: Any) -> Snapshot:
    async with asyncio.timeout(10):
        async for snapshot in watch:
            if set(snapshot.endpoints) == set(ENDPOINTS):
                return snapshot
    raise AssertionError("the watch ended")


async def seconds_until_all_are_back(server: Any) -> float:
    started = time.monotonic()
    async with open_registry(server.url + server.options) as registry:  # type: ignore[attr-defined]
        async with registry.watch("arith") as watch:
            await everybody(watch)
    return time.monotonic() - started


async def in_thread(function: Callable[..., None], *arguments: Any) -> None:
    await asyncio.to_thread(function, *arguments)


@pytest.mark.measures
@measured_kinds
@pytest.mark.usefixtures("listening")
async def test_killed_registry_loses_nobody_and_has_everybody_again_in_time(registry_server: Any) -> None:
    async with cluster(registry_server) as (seen, watch):
        for _ in range(2):
            await in_thread(registry_server.kill)
            await until(lambda: watch.error)
            await in_thread(registry_server.start)
            assert await seconds_until_all_are_back(registry_server) < RETURN_SECONDS
        assert [snapshot for snapshot in seen if len(snapshot.endpoints) < len(ENDPOINTS)] == []


@pytest.mark.usefixtures("listening")
async def test_registry_that_restarts_between_two_questions_loses_nobody(registry_server: Any) -> None:
    async with cluster(registry_server) as (seen, _):
        await in_thread(registry_server.kill)
        await in_thread(registry_server.start)
        await seconds_until_all_are_back(registry_server)
        assert [snapshot for snapshot in seen if len(snapshot.endpoints) < len(ENDPOINTS)] == []


@pytest.mark.measures
@measured_kinds
@pytest.mark.usefixtures("listening")
async def test_stopped_registry_delays_no_loop(registry_server: Any) -> None:
    async with cluster(registry_server) as (seen, _):
        registry_server.signal(signal.SIGSTOP)
        try:
            longest = 0.0
            until = time.monotonic() + 4.0
            async with open_registry(registry_server.url + registry_server.options) as registry:  # type: ignore[attr-defined]
                watch = registry.watch("other")
                registration = registry.register("other", ENDPOINTS[0])
                entering = asyncio.create_task(registration.__aenter__())
                while time.monotonic() < until:
                    before = time.monotonic()
                    await asyncio.sleep(0.01)
                    longest = max(longest, time.monotonic() - before - 0.01)
                before = time.monotonic()
                watch.close()
                longest = max(longest, time.monotonic() - before)
                # It was given up for now, and is tried again in the background.
                assert not (await entering).is_registered
                await registration.__aexit__(None, None, None)
        finally:
            registry_server.signal(signal.SIGCONT)
        await seconds_until_all_are_back(registry_server)
        assert [snapshot for snapshot in seen if len(snapshot.endpoints) < len(ENDPOINTS)] == []
    assert longest < 0.2


@pytest.mark.usefixtures("listening")
async def test_servers_start_while_the_registry_is_away(registry_server: Any) -> None:
    await in_thread(registry_server.kill)
    async with contextlib.AsyncExitStack() as stack:
        registry: Any = await stack.enter_async_context(
            open_registry(registry_server.url + registry_server.options)  # type: ignore[arg-type]
        )
        registrations = [
            await stack.enter_async_context(registry.register("arith", endpoint)) for endpoint in ENDPOINTS
        ]
        assert [one.is_registered for one in registrations] == [False] * 3
        await in_thread(registry_server.start)
        await seconds_until_all_are_back(registry_server)


@pytest.mark.usefixtures("listening")
async def test_client_starts_from_its_file_while_the_registry_is_away(
    registry_server: Any, tmp_path: Path
) -> None:
    options = registry_server.options or "?"
    url = f"{registry_server.url}{options}&cache_file={tmp_path / 'lists'}"
    async with cluster(registry_server):
        async with open_registry(url) as registry, registry.watch("arith") as watch:  # type: ignore[attr-defined]
            await everybody(watch)
        await in_thread(registry_server.kill)
        async with open_registry(url) as registry, registry.watch("arith") as watch:  # type: ignore[attr-defined]
            found = await everybody(watch)
            assert found.is_cached
            assert watch.error is not None
        await in_thread(registry_server.start)
