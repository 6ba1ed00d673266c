"""The interface of all registries."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from fastrpc.endpoint import Endpoint
from fastrpc.registries.base.snapshot import Snapshot
from fastrpc.registries.base.watch import Watch

__all__ = ["Registry", "WatchedRegistry"]


class Registry(Protocol):
    """Says which endpoints serve a name; what a registry of one's own has to have.

    A client needs `watch`, a server `register`. Neither does I/O before it is used.
    """

    def register(self, service: str, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        """Return what keeps an endpoint in the list of a service while its block lasts.

        Raises:
            ConfigError: this registry cannot hold it.
        """

    def watch(self, service: str) -> AsyncIterator[Snapshot]:
        """Follow who serves a service: each snapshot replaces the one before. An async generator will do.

        It is closed, by `close` or `aclose`, with the client. When it raises the last list stays in use. A `SyncClient`
        has no loop: it needs the `latest` and `wait` of a `Watch`.
        """

    def close(self) -> None:
        """End all watches and registrations, blocking while the registry is told."""

    async def aclose(self) -> None:
        """Do the same without blocking the loop."""


class WatchedRegistry(Registry, Protocol):
    """A registry of fastrpc: its watches can be used with a loop and without.

    Whatever it asks over a network, it follows the rules of `fastrpc.registries.base`: a registry that is away changes
    nothing, a list that looks wrong is looked at again, and addresses are checked.
    """

    def watch(self, service: str) -> Watch:
        """Follow who serves a service: `async for snapshot in watch`, or `watch.wait()` without a loop."""
