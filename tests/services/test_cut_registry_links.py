"""The link to a registry is cut every few seconds while servers come and go."""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from fastrpc import Endpoint
from fastrpc.registries import open_registry
from fastrpc.registries.base.rules import SETTLE_SECONDS
from fastrpc.registries.base.urls import split_target
from tests.support.apiserver import NAMESPACE, Apiserver, pod, slice_of
from tests.support.dns_server import DnsServer
from tests.support.kube_apiserver import OWNER, KubeApiserver
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import (
    ConsulAgent,
    DeimosStore,
    EmbeddedServer,
    EtcdServer,
    NatsServer,
    RedisServer,
    ZookeeperServer,
)

pytestmark = pytest.mark.measures

#: Programs at which servers register, by the name of the fixture with their path.
KINDS: dict[str, Any] = {
    "consul": ConsulAgent,
    "etcd": EtcdServer,
    "nats": NatsServer,
    "redis": RedisServer,
    "zookeeper": ZookeeperServer,
}

#: Registries of our own.
OWN: dict[str, Any] = {"deimos": DeimosStore, "embedded": EmbeddedServer}

#: Servers at any time, and the seconds after which the oldest of them is replaced.
SERVERS, ROLL_SECONDS = 5, 4.0

#: Seconds of a run.
RUN_SECONDS = 48.0

#: Seconds for which the link is down after each cut.
DOWN_SECONDS = 0.3

#: Seconds for which a resolver fails: no connection is cut, and names are asked for once a second.
FAIL_SECONDS = 1.2


class Servers(Protocol):
    """Servers of `arith` that come and go; the oldest one goes first."""

    @property
    def addresses(self) -> set[str]: ...

    async def start(self) -> None: ...

    async def end(self) -> None: ...


class Registering:
    """Servers that are registered by links of their own, which nobody cuts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: deque[tuple[Endpoint, contextlib.AsyncExitStack]] = deque()
        self._ports = itertools.count(1001)

    @property
    def addresses(self) -> set[str]:
        return {str(endpoint.address) for endpoint, _ in self._running}

    async def start(self) -> None:
        stack = contextlib.AsyncExitStack()
        endpoint = Endpoint(f"tcp://127.0.0.1:{next(self._ports)}", protocols=("native",))
        registry: Any = await stack.enter_async_context(open_registry(self._url))  # type: ignore[arg-type]
        await stack.enter_async_context(registry.register("arith", endpoint))
        self._running.append((endpoint, stack))

    async def end(self) -> None:
        _, stack = self._running.popleft()
        await stack.aclose()


class Written:
    """Servers whose hosts are written into a registry by those who run the cluster.

    Args:
        write: replaces the hosts.
    """

    def __init__(self, write: Callable[[Sequence[str]], None]) -> None:
        self._write = write
        self._hosts: deque[str] = deque()
        self._numbers = itertools.count(1)

    @property
    def addresses(self) -> set[str]:
        return {f"tcp://{host}:8972" for host in self._hosts}

    async def start(self) -> None:
        self._hosts.append(f"10.0.0.{next(self._numbers)}")
        await asyncio.to_thread(self._write, tuple(self._hosts))

    async def end(self) -> None:
        self._hosts.popleft()
        await asyncio.to_thread(self._write, tuple(self._hosts))


class Scene:
    """A registry with its servers, and the link of a client to it.

    Args:
        place: the host and the port to which the link leads.
        target: returns the target that a client opens at a place, with the service.
    """

    down_seconds = DOWN_SECONDS

    def __init__(self, servers: Servers, place: str, target: Callable[[str], str]) -> None:
        self.servers = servers
        self._proxy = FaultProxy(f"tcp://{place}")
        self._target = target

    @contextlib.asynccontextmanager
    async def linked(self) -> AsyncIterator[str]:
        async with self._proxy:
            yield self._target(self._proxy.address.removeprefix("tcp://"))

    def cut(self) -> None:
        self._proxy.refuses = True
        self._proxy.reset_all()

    def mend(self) -> None:
        self._proxy.refuses = False


class NamesScene(Scene):
    """Names in DNS: there is no connection, so the resolver fails instead."""

    down_seconds = FAIL_SECONDS

    def __init__(self, resolver: DnsServer) -> None:
        self.servers = Written(lambda hosts: resolver.set("arith.test", "A", *hosts))
        self._resolver = resolver

    @contextlib.asynccontextmanager
    async def linked(self) -> AsyncIterator[str]:
        yield self._resolver.target("arith.test", 8972)

    def cut(self) -> None:
        self._resolver.is_failing = True

    def mend(self) -> None:
        self._resolver.is_failing = False


def slices_scene(put: Callable[..., None], place: str, options: str) -> Scene:
    servers = Written(lambda hosts: put(slice_of("arith-1", "arith", *map(pod, hosts))))
    return Scene(servers, place, lambda link: f"kubernetes://{NAMESPACE}/arith?server={options.format(link)}")


@contextlib.contextmanager
def scene_of(name: str, path: Callable[[str], str], folder: Path) -> Iterator[Scene]:
    """Yield the scene of a registry; `path` returns the path of a program."""
    if name == "dns":
        with DnsServer() as resolver:
            yield NamesScene(resolver)
    elif name == "kubernetes stand-in":
        with Apiserver() as stand_in:
            yield slices_scene(stand_in.put, f"127.0.0.1:{stand_in.port}", "http://{}")
    elif name == "kubernetes":
        with EtcdServer(path("etcd_new_path"), folder).running() as etcd:
            with KubeApiserver(path("kube_apiserver_path"), folder, etcd).prepared() as cluster:
                options = f"https://{{}}&ca_file={cluster.ca_file}&token={OWNER}"
                yield slices_scene(cluster.put, f"127.0.0.1:{cluster.port}", options)
    else:
        made = OWN[name](folder) if name in OWN else KINDS[name](path(f"{name}_path"), folder)
        with made.running() as server:
            scheme, _, place = server.url.partition("://")
            yield Scene(Registering(server.url), place, lambda link: f"{scheme}://{link}/arith")


@pytest.fixture(
    params=[
        "consul",
        "deimos",
        "dns",
        "embedded",
        "etcd",
        pytest.param("kubernetes", marks=pytest.mark.conformance),
        "kubernetes stand-in",
        pytest.param("nats", marks=pytest.mark.conformance),
        "redis",
        "zookeeper",
    ]
)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with scene_of(request.param, request.getfixturevalue, tmp_path) as found:
        yield found


@contextlib.asynccontextmanager
async def cut_link(scene: Scene, period: float) -> AsyncIterator[str]:
    """Yield the target of a registry whose link is cut every `period` seconds."""

    async def cut() -> None:
        while True:
            await asyncio.sleep(period - scene.down_seconds)
            scene.cut()
            await asyncio.sleep(scene.down_seconds)
            scene.mend()

    async with scene.linked() as target:
        cutting = asyncio.create_task(cut())
        try:
            yield target
        finally:
            cutting.cancel()
            await asyncio.gather(cutting, return_exceptions=True)


async def _agree(listed: Callable[[], set[str]], servers: Any, seconds: float) -> None:
    """Wait until the list has the servers that run, and no other."""
    async with asyncio.timeout(seconds):
        while listed() != servers.addresses:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("period", [4.0, 8.0])
async def test_a_link_that_is_cut_again_and_again_keeps_no_server_that_left(
    scene: Scene, period: float
) -> None:
    servers = scene.servers
    for _ in range(SERVERS):
        await servers.start()
    sizes: list[int] = []
    missed: list[set[str]] = []
    async with cut_link(scene, period) as target, contextlib.AsyncExitStack() as stack:
        url, service = split_target(target) or ("", "")
        registry: Any = await stack.enter_async_context(open_registry(url))  # type: ignore[arg-type]
        watch = await stack.enter_async_context(registry.watch(service))

        def listed() -> set[str]:
            return set() if watch.latest is None else {str(one.address) for one in watch.latest.endpoints}

        await _agree(listed, servers, 20)
        began, rolls = time.monotonic(), 0
        # The servers that run, and those that ran at the last two rolls as well: they are listed by now.
        staying, before = set(servers.addresses), set(servers.addresses)
        while (passed := time.monotonic() - began) < RUN_SECONDS:
            if passed >= ROLL_SECONDS * (rolls + 1):
                rolls += 1
                staying, before = before, set(servers.addresses)
                await servers.start()
                await servers.end()
                staying &= servers.addresses
            await asyncio.sleep(0.1)
            sizes.append(len(listed()))
            missed.append(staying - listed())
        # Nobody leaves any more: those that left are gone once the registry has answered for long enough.
        await _agree(listed, servers, 3 * SETTLE_SECONDS)
    while servers.addresses:
        await servers.end()
    assert not any(missed)
    # About the changes of the last twenty seconds.
    assert max(sizes) <= SERVERS + 2 * SETTLE_SECONDS / ROLL_SECONDS + 2
