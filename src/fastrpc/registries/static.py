"""A fixed list of endpoints: for tests, and for clusters that rarely change."""

import copy
import itertools
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.registries.base.backed import check_service_name
from fastrpc.registries.base.closing import Closing
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.registries.base.watch import Channel, Latest, ServicesWatch, Watch

__all__ = ["StaticRegistration", "StaticRegistry", "open_static"]

_Places = Sequence[str | Address | Endpoint]


class StaticRegistry(Closing):
    """A registry whose lists the program sets. It has no threads, network or rules.

    Args:
        endpoints: addresses or endpoints that serve everything, or a list for each service.

    Raises:
        ConfigError: an address cannot be parsed.
    """

    def __init__(self, endpoints: _Places | Mapping[str, _Places] = ()) -> None:
        self._versions = itertools.count(1)
        self._channels: dict[str, Channel] = {}
        # The number of open watches of each channel.
        self._watches: Counter[str] = Counter()
        self._names: Latest[tuple[str, ...]] = Latest(itertools.count(1))
        self._lists: dict[str, list[Endpoint]] = {}
        self._everything: list[Endpoint] = []
        self._is_closed = False
        # Re-entrant: a watch may be dropped and collected on any line that holds the lock.
        self._lock = threading.RLock()
        if isinstance(endpoints, Mapping):
            for service, places in endpoints.items():
                self.update(service, places)
        else:
            self._everything = _endpoints(endpoints)

    def update(self, service: str, endpoints: _Places) -> None:
        """Replace the list of a service, and notify its watches immediately."""
        with self._lock:
            self._lists[check_service_name(service)] = _endpoints(endpoints)
            if service in self._channels:
                self._publish(service)
            self._publish_names()

    def register(self, service: str, endpoint: Endpoint) -> "StaticRegistration":
        """Return a registration that keeps an endpoint in the list of a service, for the watches of this object."""
        return StaticRegistration(self, check_service_name(service), endpoint)

    def add(self, service: str, endpoint: Endpoint) -> None:
        """Insert an endpoint into the list of a service, before any endpoint with the same address."""
        with self._lock:
            self.update(service, [endpoint, *self._list(service)])

    def replace(self, service: str, before: Endpoint, endpoint: Endpoint) -> None:
        """Put an endpoint in the place of the endpoint object `before` in the list of a service."""
        with self._lock:
            self.update(service, [endpoint if one is before else one for one in self._list(service)])

    def remove(self, service: str, address: str | Address | Endpoint) -> bool:
        """Remove an address, or an endpoint object, from the list of a service; return whether it was in the list."""
        with self._lock:
            listed = self._list(service)
            if isinstance(address, Endpoint):
                left = [one for one in listed if one is not address]
            else:
                place = Address.parse(address)
                left = [one for one in listed if one.address != place]
            if len(left) < len(listed):
                self.update(service, left)
        return len(left) < len(listed)

    def watch(self, service: str) -> Watch:
        """Watch the endpoints of a service."""
        if self._is_closed:
            raise RuntimeError(f"{self!r} is closed")
        with self._lock:
            # Count the new watch first: a collection on the next lines may release the last other watch.
            self._watches[check_service_name(service)] += 1
            if service not in self._channels:
                self._channels[service] = Channel(self._versions)
                self._publish(service)
            channel = self._channels[service]
        return Watch(channel, lambda: self._release(service))

    def _release(self, service: str) -> None:
        """Delete the channel of a service after its last watch, because callers may watch any number of names."""
        with self._lock:
            self._watches[service] -= 1
            if not self._watches[service]:
                del self._watches[service]
                self._channels.pop(service, None)

    def check_service(self, service: str) -> None:
        """Refuse an invalid service name.

        Raises:
            ConfigError: the name is invalid.
        """
        check_service_name(service)

    def services(self) -> list[str]:
        """Return the names of the services with endpoints."""
        return sorted(service for service, endpoints in self._lists.items() if endpoints)

    def watch_services(self) -> ServicesWatch:
        """Watch the names of the services with endpoints."""
        if self._is_closed:
            raise RuntimeError(f"{self!r} is closed")
        with self._lock:
            self._publish_names()
        return ServicesWatch(self._names, lambda: None)

    def _list(self, service: str) -> list[Endpoint]:
        return self._lists.get(service, self._everything)

    def _publish(self, service: str) -> None:
        unique = {endpoint.address: endpoint for endpoint in reversed(self._list(service))}
        self._channels[service].publish(sorted(unique.values(), key=str))

    def _publish_names(self) -> None:
        names = tuple(self.services())
        self._names.put(lambda _: names, lambda latest: latest == names)

    def close(self) -> None:
        """End all watches. Closing twice is allowed."""
        self._is_closed = True
        for channel in list(self._channels.values()):
            channel.close()
        self._names.close()

    def __repr__(self) -> str:
        return f"<static registry of {', '.join(sorted(self._lists)) or 'any service'}>"


class StaticRegistration:
    """One endpoint in the list of one service while the block of `with` or `async with` lasts."""

    def __init__(self, registry: StaticRegistry, service: str, endpoint: Endpoint) -> None:
        self.service = service
        self.endpoint = endpoint
        self.is_registered = False
        self._registry = registry
        # A copy identifies this registration: if an endpoint is registered twice, the end of each registration removes
        # only its entry.
        self._placed = copy.copy(endpoint)

    def __enter__(self) -> Self:
        self._registry.add(self.service, self._placed)
        self.is_registered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_registered = False
        self._registry.remove(self.service, self._placed)

    async def change(self, endpoint: Endpoint) -> None:
        """Register another endpoint of the same address. It replaces the current endpoint without a gap.

        Raises:
            ConfigError: the endpoint has another address.
        """
        if endpoint.address != self.endpoint.address:
            raise ConfigError(f"{self.endpoint} cannot be changed into {endpoint}, which has another address")
        before, self.endpoint, self._placed = self._placed, endpoint, copy.copy(endpoint)
        if self.is_registered:
            self._registry.replace(self.service, before, self._placed)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


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
