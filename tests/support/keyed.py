"""Servers that restart at their addresses, new clients of either kind, and the places of keys among them."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import fastrpc
from fastrpc import Client, Endpoint, Server, ServerConfig, SyncClient
from fastrpc.selectors import selector_for
from tests.support.either_client import Stepped
from tests.support.ports import free_ports
from tests.support.proxy import FaultProxy

__all__ = [
    *("SELECTORS", "KeyServers", "Place", "fresh", "full_listener", "key_servers", "places", "proxied"),
    "silent_listener",
]

#: The selectors that place calls by key.
SELECTORS = ("consistent_hash", "jump_hash", "double_jump")


@fastrpc.service("place")
class Place:
    """Answers its place, or fails on demand."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.is_failing = self.is_gone = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    @fastrpc.method(idempotent=True)
    async def name_of(self) -> str:
        if self.is_failing:
            raise fastrpc.CallError(fastrpc.Status.INTERNAL, "broken")
        if self.is_gone:
            raise fastrpc.CallError(fastrpc.Status.ABORTED, "gone", retry_after=0.001)
        await self.go_on.wait()
        return self.target

    @fastrpc.method
    async def once(self) -> str:
        return self.target

    @fastrpc.method(idempotent=True)
    async def names(self) -> AsyncIterator[str]:
        await self.go_on.wait()
        for _ in range(2):
            yield self.target


class KeyServers:
    """Servers at addresses that they keep over a restart; each answers its own address."""

    def __init__(self, count: int, config: ServerConfig) -> None:
        self.targets = [f"tcp://127.0.0.1:{port}" for port in free_ports(count)]
        self.places = {target: Place(target) for target in self.targets}
        self._config = config
        self._servers: dict[str, Server] = {}

    async def start(self, target: str) -> None:
        """Serve at an address."""
        self._servers[target] = Server(self.places[target], config=self._config)
        await self._servers[target].listen(target)

    async def stop(self, target: str) -> None:
        """End the server at an address; its connections end with a drain."""
        await self._servers.pop(target).close()

    async def restart(self, target: str) -> None:
        """End the server at an address, and serve there again."""
        await self.stop(target)
        await self.start(target)

    async def stop_all(self) -> None:
        """End all servers."""
        for target in list(self._servers):
            await self.stop(target)


@contextlib.asynccontextmanager
async def key_servers(
    count: int, *, down: Iterable[int] = (), config: ServerConfig | None = None
) -> AsyncIterator[KeyServers]:
    """Serve at addresses of their own, except at those with the numbers of `down`."""
    servers = KeyServers(count, config or ServerConfig())
    try:
        for number, target in enumerate(servers.targets):
            if number not in set(down):
                await servers.start(target)
        yield servers
    finally:
        await servers.stop_all()


@contextlib.asynccontextmanager
async def fresh(kind: str, targets: Any, **options: Any) -> AsyncIterator[Any]:
    """Yield a client of a kind that has made no connection."""
    if kind == "async":
        async with Client(targets, **options) as client:
            yield client
        return
    blocking = SyncClient(targets, **options)
    try:
        yield Stepped(blocking)
    finally:
        # Its goodbye is answered by the loop.
        await asyncio.to_thread(blocking.close)


def places(
    selector: str,
    targets: Sequence[str],
    keys: Iterable[Any],
    avoided: Sequence[str] = (),
    *,
    before: Sequence[str] = (),
) -> dict[Any, str]:
    """Return the endpoint of each key in any client, past the avoided ones; `before` is an earlier list."""
    choice = selector_for(selector)
    for each in (before, targets):
        choice.update([Endpoint(target) for target in each])
    found = {}
    for key in keys:
        call = SimpleNamespace(hash_key=key, method="place.name_of", arguments=())
        endpoint = choice.pick(call, [Endpoint(target) for target in avoided])
        choice.observe(endpoint, 0.0, None)
        found[key] = str(endpoint)
    return found


@contextlib.asynccontextmanager
async def proxied(targets: Sequence[str]) -> AsyncIterator[dict[str, FaultProxy]]:
    """Yield a proxy in front of each target, by its own address."""
    async with contextlib.AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(FaultProxy(target)) for target in targets]
        yield {proxy.address: proxy for proxy in proxies}


@contextlib.contextmanager
def silent_listener(target: str) -> Iterator[None]:
    """Accept connections at an address by the system alone: no byte ever comes back."""
    host, _, port = target.partition("://")[2].rpartition(":")
    with socket.create_server((host, int(port)), backlog=1_000):
        yield


@contextlib.contextmanager
def full_listener(target: str) -> Iterator[str]:
    """Listen at an address without room for a connection: dials hear nothing until a server takes the socket."""
    host, _, port = target.partition("://")[2].rpartition(":")
    with socket.create_server((host, int(port)), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(2):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(listener.getsockname())
        # The server closes its own.
        yield f"fd://{os.dup(listener.fileno())}"
