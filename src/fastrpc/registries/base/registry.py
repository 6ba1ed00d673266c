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
    """Maps a service name to endpoints; the interface to implement for a custom registry.

    A client needs `watch`, a server needs `register`. Neither does I/O before its result is used.
    """

    def register(self, service: str, endpoint: Endpoint) -> AbstractAsyncContextManager[Any]:
        """Return a registration that keeps an endpoint in the list of a service while its block lasts.

        If an address is registered twice, the later registration is listed, and stays when the earlier one ends. This
        is how a server changes the weight and the labels of a record: it enters another registration, then leaves the
        previous one. If the block yields an object with the method `async def change(endpoint)`, the server calls that
        instead: the method replaces the record at once, and returns when the registry has it or is known to be
        unreachable.

        Raises:
            ConfigError: this registry cannot hold the endpoint. The status UNIMPLEMENTED says that no server registers
                in this kind of registry; in a list of registries such a registry is skipped.
        """

    def watch(self, service: str) -> AsyncIterator[Snapshot]:
        """Watch the endpoints of a service. Each snapshot replaces the previous one; an async generator is enough.

        The client closes the watch by `close` or `aclose`. When the watch raises an error, the last list stays in use.
        A `SyncClient` has no loop: it needs the `latest` and `wait` of a `Watch`.
        """

    def close(self) -> None:
        """End all watches and registrations; blocks while the registry removes them."""

    async def aclose(self) -> None:
        """Close without blocking the loop."""


class WatchedRegistry(Registry, Protocol):
    """A registry of fastrpc. Its watches work with a loop and without one.

    Every registry on a network follows the rules of `fastrpc.registries.base`: an unreachable registry changes nothing,
    a suspicious list is fetched again, and addresses are checked.
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
        """Watch the names of the services in the registry: each snapshot is a sorted tuple. Used like `watch`.

        If the registry cannot list its services, the watch ends with ConfigError.
        """

    def remove(self, service: str, address: str | Address) -> bool:
        """Delete the record of an address, written by any program; blocks while the registry answers.

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
        registry: may have a method `tls_for` with the other arguments; without it the client's settings apply.
        own: the certificates of the client.
    """
    chosen = getattr(registry, "tls_for", None)
    return own if chosen is None else cast(TLS | None, chosen(endpoint, own))
