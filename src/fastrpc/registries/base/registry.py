"""The interface of all registries."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias, cast

from fastrpc.config import TLS
from fastrpc.endpoint import Address, Endpoint
from fastrpc.registries.base.snapshot import Snapshot
from fastrpc.registries.base.watch import ServicesWatch, Watch

__all__ = ["Registry", "RegistryOption", "WatchedRegistry", "tls_for"]


class Registry(Protocol):
    """Maps a service name to endpoints. A custom registry implements this interface.

    A client needs `watch`, a server needs `register`. Neither does I/O before its result is used.
    """

    def register(self, service: str, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        """Return a registration that keeps an endpoint in the list of a service while its block lasts.

        If an address is registered twice, the later registration is listed, even after the earlier one ends. A server
        that changes the weight or labels of its record relies on this: it enters another registration, then leaves the
        previous one. If the block yields an object with the method `async def change(endpoint)`, the server calls the
        method instead. The method replaces the record, and returns when the registry has it or is known to be
        unreachable.

        Raises:
            ConfigError: this registry cannot hold the endpoint. The status UNIMPLEMENTED means that no server registers
                in this kind of registry; in a list of registries it is skipped.
        """

    def watch(self, service: str) -> AsyncIterator[Snapshot]:
        """Watch the endpoints of a service. Each snapshot replaces the previous one. An async generator suffices.

        The client closes the watch by `close` or `aclose`. If the watch raises an error, the client keeps the last
        list. A `SyncClient` has no loop, so its watches need `latest` and `wait` like a `Watch`.
        """

    def close(self) -> None:
        """End all watches and registrations; blocks while the registry removes them."""

    async def aclose(self) -> None:
        """Close without blocking the loop."""


class WatchedRegistry(Registry, Protocol):
    """A registry of fastrpc. Its watches work with and without an event loop.

    Every remote registry follows the rules of `fastrpc.registries.base`: an outage changes no list, a suspicious list
    is fetched again, and addresses are checked.
    """

    def watch(self, service: str) -> Watch:
        """Watch the endpoints of a service: `async for snapshot in watch`, or `watch.wait()` without a loop."""

    def services(self) -> list[str]:
        """Return the names of the services in the registry; blocks while it answers.

        Raises:
            ConfigError: this kind of registry cannot list its services.
            StoreError: the registry cannot be reached now.
        """

    def watch_services(self) -> ServicesWatch:
        """Watch the names of the services in the registry. Each snapshot is a sorted tuple. Use the result like a
        `Watch`.

        If the registry cannot list its services, the watch ends with ConfigError.
        """

    def remove(self, service: str, address: str | Address) -> bool:
        """Delete the record of an address, whichever program wrote it; blocks while the registry answers.

        Returns:
            Whether there was a record.

        Raises:
            ConfigError: the address is invalid, or records of this kind of registry cannot be deleted.
            StoreError: the registry cannot be reached now, or refuses.
        """


#: The value of `registry=`: a URL, an object, or a list of these, which becomes a `Merged`.
RegistryOption: TypeAlias = str | Registry | Sequence[str | Registry]


def tls_for(registry: Any, endpoint: Endpoint, own: TLS | None) -> TLS | None:
    """Return the certificates for a client's connections to an endpoint that a registry lists.

    Args:
        registry: if it has the method `tls_for(endpoint, own)`, the method decides; otherwise `own` is returned.
        own: the certificates of the client.
    """
    chosen = getattr(registry, "tls_for", None)
    return own if chosen is None else cast(TLS | None, chosen(endpoint, own))
