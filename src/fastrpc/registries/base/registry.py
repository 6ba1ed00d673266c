"""The interface of all registries."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.snapshot import Snapshot
from fastrpc.registries.base.watch import Watch

__all__ = ["Registry", "WatchedRegistry"]


class Registry(Protocol):
    """Maps a service name to endpoints; the interface to implement for a custom registry.

    A client needs `watch`, a server `register`. Neither does I/O before its result is used.
    """

    def register(self, service: str, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        """Return a registration that keeps an endpoint in the list of a service while its block lasts.

        Raises:
            ConfigError: this registry cannot hold it.
        """

    def watch(self, service: str) -> AsyncIterator[Snapshot]:
        """Watch the endpoints of a service: each snapshot replaces the one before. An async generator is enough.

        The client closes it, by `close` or `aclose`. When it raises, the last list stays in use. A `SyncClient` has no
        loop: it needs the `latest` and `wait` of a `Watch`.
        """

    def close(self) -> None:
        """End all watches and registrations; blocks while the registry removes them."""

    async def aclose(self) -> None:
        """Close without blocking the loop."""


class WatchedRegistry(Registry, Protocol):
    """A registry of fastrpc, whose watches work with a loop and without.

    Every networked one follows the rules of `fastrpc.registries.base`: an unreachable registry changes nothing, a
    suspicious list is fetched again, and addresses are checked.
    """

    def watch(self, service: str) -> Watch:
        """Watch the endpoints of a service: `async for snapshot in watch`, or `watch.wait()` without a loop."""

    def services(self) -> list[str]:
        """Return the names of the services in the registry; blocks while it answers.

        Raises:
            ConfigError: this kind of registry cannot list its services.
            StoreError: the registry cannot be reached now.
        """
