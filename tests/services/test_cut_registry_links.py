"""The link to a registry is cut every few seconds while servers come and go."""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Endpoint
from fastrpc.registries import open_registry
from fastrpc.registries.base.rules import SETTLE_SECONDS
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import (
    ConsulAgent,
    EmbeddedServer,
    EtcdServer,
    NatsServer,
    RedisServer,
    ZookeeperServer,
)

pytestmark = pytest.mark.measures

KINDS: dict[str, Any] = {
    "consul": ConsulAgent,
    "etcd": EtcdServer,
    "nats": NatsServer,
    "redis": RedisServer,
    "zookeeper": ZookeeperServer,
}

#: Servers at any time, and the seconds after which the oldest of them is replaced.
SERVERS, ROLL_SECONDS = 5, 4.0

#: Seconds of a run.
RUN_SECONDS = 48.0

#: Seconds for which the link is down after each cut.
DOWN_SECONDS = 0.3


@pytest.fixture(
    params=[
        "consul",
        "embedded",
        "etcd",
        pytest.param("nats", marks=pytest.mark.conformance),
        "redis",
        "zookeeper",
    ]
)
def registry_server(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "embedded":
        server: Any = EmbeddedServer(tmp_path)
    else:
        server = KINDS[request.param](request.getfixturevalue(f"{request.param}_path"), tmp_path)
    with server.running():
        yield server


@contextlib.asynccontextmanager
async def cut_link(url: str, period: float) -> AsyncIterator[str]:
    """Yield the URL of a registry behind a link that is cut every `period` seconds."""
    scheme, _, place = url.partition("://")
    async with FaultProxy(f"tcp://{place}") as proxy:

        async def cut() -> None:
            while True:
                await asyncio.sleep(period - DOWN_SECONDS)
                proxy.refuses = True
                proxy.reset_all()
                await asyncio.sleep(DOWN_SECONDS)
                proxy.refuses = False

        cutting = asyncio.create_task(cut())
        yield f"{scheme}://{proxy.address.removeprefix('tcp://')}"
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)


class Fleet:
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


@pytest.mark.parametrize("period", [4.0, 8.0])
async def test_a_link_that_is_cut_again_and_again_keeps_no_server_that_left(
    registry_server: Any, period: float
) -> None:
    fleet = Fleet(registry_server.url)
    for _ in range(SERVERS):
        await fleet.start()
    sizes: list[int] = []
    missed: list[set[str]] = []
    async with cut_link(registry_server.url, period) as url, contextlib.AsyncExitStack() as stack:
        registry: Any = await stack.enter_async_context(open_registry(url))  # type: ignore[arg-type]
        watch = await stack.enter_async_context(registry.watch("arith"))

        def listed() -> set[str]:
            return set() if watch.latest is None else {str(one.address) for one in watch.latest.endpoints}

        async with asyncio.timeout(20):
            while listed() != fleet.addresses:
                await asyncio.sleep(0.05)
        began, rolls = time.monotonic(), 0
        # The servers that run, and those that ran at the last two rolls as well: they are listed by now.
        staying, before = set(fleet.addresses), set(fleet.addresses)
        while (passed := time.monotonic() - began) < RUN_SECONDS:
            if passed >= ROLL_SECONDS * (rolls + 1):
                rolls += 1
                staying, before = before, set(fleet.addresses)
                await fleet.start()
                await fleet.end()
                staying &= fleet.addresses
            await asyncio.sleep(0.1)
            sizes.append(len(listed()))
            missed.append(staying - listed())
        # Nobody leaves any more: those that left are gone once the registry has answered for long enough.
        async with asyncio.timeout(3 * SETTLE_SECONDS):
            while listed() != fleet.addresses:
                await asyncio.sleep(0.1)
    while fleet.addresses:
        await fleet.end()
    assert not any(missed)
    # Those of the last twenty seconds, or thereabouts.
    assert max(sizes) <= SERVERS + 2 * SETTLE_SECONDS / ROLL_SECONDS + 2
