"""A list that the program gives: for tests, and for clusters that hardly change."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.registries.base.backed import check_service_name
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.base.watch import Channel, Watch

__all__ = ["StaticRegistry", "open_static"]

_Places = Sequence[str | Address | Endpoint]


class StaticRegistry:
    """Knows what it is told, and believes it at once; no thread, no network, no rules.

    Args:
        endpoints: addresses or endpoints that serve everything, or a list for each service.

    Raises:
        ConfigError: an address cannot be read.
    """

    def __init__(self, endpoints: _Places | Mapping[str, _Places] = ()) -> None:
        self._versions = itertools.count(1)
        self._channels: dict[str, Channel] = {}
        self._lists: dict[str, list[Endpoint]] = {}
        self._everything: list[Endpoint] = []
        self._is_closed = False
        if isinstance(endpoints, Mapping):
            for service, places in endpoints.items():
                self.update(service, places)
        else:
            self._everything = _endpoints(endpoints)

    def update(self, service: str, endpoints: _Places) -> None:
        """Replace the list of a service; watches are told at once."""
        self._lists[check_service_name(service)] = _endpoints(endpoints)
        if service in self._channels:
            self._publish(service)

    def register(self, service: str, endpoint: Endpoint) -> AbstractAsyncContextManager[None]:
        """Return what keeps an endpoint in the list of a service, for the watches of this object."""
        return self._registered(check_service_name(service), endpoint)

    @contextlib.asynccontextmanager
    async def _registered(self, service: str, endpoint: Endpoint) -> AsyncIterator[None]:
        self.update(service, [*self._list(service), endpoint])
        try:
            yield
        finally:
            self.update(service, [one for one in self._list(service) if one.address != endpoint.address])

    def watch(self, service: str) -> Watch:
        """Follow who serves a service."""
        if self._is_closed:
            raise RuntimeError(f"{self!r} is closed")
        if check_service_name(service) not in self._channels:
            self._channels[service] = Channel(self._versions)
            self._publish(service)
        return Watch(self._channels[service], lambda: None)

    def _list(self, service: str) -> list[Endpoint]:
        return self._lists.get(service, self._everything)

    def _publish(self, service: str) -> None:
        unique = {endpoint.address: endpoint for endpoint in reversed(self._list(service))}
        self._channels[service].publish(sorted(unique.values(), key=str))

    def close(self) -> None:
        """End all watches. Closing twice is fine."""
        self._is_closed = True
        for channel in self._channels.values():
            channel.close()

    async def aclose(self) -> None:
        """Do what `close` does."""
        self.close()

    def __repr__(self) -> str:
        return f"<static registry of {', '.join(sorted(self._lists)) or 'any service'}>"


def open_static(url: RegistryURL) -> StaticRegistry:
    """Open `static://host:port,host:port`."""
    places = [f"tcp://{place}" for place in url.place.split(",") if place]
    url.take_shared()
    if not places:
        raise ConfigError(f"{url} names no address", hint="write static://host:port,host:port")
    return StaticRegistry(places)


def _endpoints(places: _Places) -> list[Endpoint]:
    if isinstance(places, str):
        raise ConfigError(f"{places!r} is one address", hint="give a list of addresses")
    return [one if isinstance(one, Endpoint) else Endpoint(one) for one in places]
