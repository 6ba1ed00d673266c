"""Registries with several scopes. A server may listen at their address, `any://`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from fastrpc.config import TLS
from fastrpc.endpoint import Address, Endpoint, copied
from fastrpc.place import Place
from fastrpc.registries.base.registry import RegistryOption, WatchedRegistry
from fastrpc.registries.base.urls import RegistryURL, open_registry, open_url

__all__ = ["ScopedPlace", "ScopedRegistry", "open_scopes"]

_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


class ScopedPlace(NamedTuple):
    """An address at which a new server listens."""

    scope: str
    address: Address
    #: The address to register instead of `address`; its port 0 means the bound port. `labels` are added to the record.
    advertise: Address | None = None
    labels: Mapping[str, str] = _NO_LABELS
    #: The certificates of the listener; None means the server's certificates.
    tls: TLS | None = None

    def advertised(self, place: Place) -> Endpoint | None:
        """Return the endpoint that a server registers for a place; None means the bound address."""
        if self.advertise is None:
            return None
        endpoint = place.endpoint(self.advertise)
        return copied(endpoint, labels={**endpoint.labels, **self.labels})


@runtime_checkable
class ScopedRegistry(WatchedRegistry, Protocol):
    """A registry that knows the addresses at which its servers listen."""

    @property
    def filters(self) -> Sequence[Any]:
        """The filters that clients of this registry apply after the filters of their selectors."""

    def places(self, *, is_one_process: bool = True) -> list[ScopedPlace]:
        """Return the addresses at which a new server listens.

        Args:
            is_one_process: True if one process accepts and serves all connections.

        Raises:
            ConfigError: there is no scope in which a server can listen, or an option has no effect on servers.
            StoreError: the host folder cannot be used.
        """

    @property
    def encrypts(self) -> bool:
        """True if connections to a server are encrypted in at least one scope."""

    def scope_of(self, endpoint: Endpoint) -> str:
        """Return the scope in which this registry registers an endpoint; "" for no scope."""

    @property
    def farthest(self) -> RegistryOption | None:
        """The registry of the farthest scope; None if that scope has no registry."""


def open_scopes(address: Address, registry: RegistryOption | None, tls: TLS | None) -> ScopedRegistry:
    """Return the registry of a server that listens in all scopes of an address. The caller closes it.

    Args:
        registry: the registry of the server, which becomes the registry of the farthest scope. If it has several scopes
            itself, only its farthest registry is used, because `address` defines the scopes.
        tls: the certificates if the address names none.

    Raises:
        ConfigError: an option of the address is wrong.
    """
    found: RegistryOption | None = None if registry is None else open_registry(registry, tls=tls)
    if isinstance(found, ScopedRegistry):
        found = found.farthest
    scopes = open_url(RegistryURL(str(address), tls, farthest=found))
    assert isinstance(scopes, ScopedRegistry)
    return scopes
