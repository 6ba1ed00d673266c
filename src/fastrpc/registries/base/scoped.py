"""Registries of several scopes, at whose address a server may listen: `any://`."""

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

from fastrpc.config import TLS
from fastrpc.endpoint import Address
from fastrpc.registries.base.registry import RegistryOption, WatchedRegistry
from fastrpc.registries.base.urls import open_registry

__all__ = ["ScopedRegistry", "open_scopes"]


@runtime_checkable
class ScopedRegistry(WatchedRegistry, Protocol):
    """A registry that knows the addresses at which its servers listen."""

    @property
    def filters(self) -> Sequence[Any]:
        """The filters of its clients, behind those of their selectors."""

    def places(self, *, is_one_process: bool = True) -> list[Address]:
        """Return the addresses at which a new server listens.

        Args:
            is_one_process: whether one process accepts and serves the connections.

        Raises:
            ConfigError: there is no scope in which a server can listen.
            StoreError: the host folder cannot be used.
        """

    def beyond(self, wan: RegistryOption) -> Self:
        """Return the same registry with another one in its farthest scope, instead of this one."""


def open_scopes(address: Address, registry: RegistryOption | None, tls: TLS | None) -> ScopedRegistry:
    """Return the registry of a server that listens in all scopes of an address; who calls this closes it.

    Args:
        registry: that of the server. One of several scopes is returned as it is, another one is the farthest scope.
        tls: the certificates for a URL that names none.

    Raises:
        ConfigError: the address has an option that is wrong.
    """
    found = None if registry is None else open_registry(registry, tls=tls)
    if isinstance(found, ScopedRegistry):
        return found
    scopes = open_registry(str(address), tls=tls)
    assert isinstance(scopes, ScopedRegistry)
    return scopes if found is None else scopes.beyond(found)
