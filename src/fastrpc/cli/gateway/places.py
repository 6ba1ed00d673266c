"""The places before which a gateway stands: a registry, or one server of gRPC."""

import asyncio
from typing import Final, Protocol

from fastrpc.cli.calling.command import target_for
from fastrpc.cli.dialing import Dialing
from fastrpc.cli.grpc_servers.reflection import ServerDescriptors, check_protobuf, is_grpc
from fastrpc.client.client import Client
from fastrpc.client.wire import wire_of
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, ConfigError
from fastrpc.registries.base.registry import WatchedRegistry
from fastrpc.registries.base.urls import split_target
from fastrpc.status import Status

__all__ = ["ASK_SECONDS", "Places", "check_place", "places_of"]

#: Seconds for a server to describe its services, connecting included.
ASK_SECONDS: Final = 3.0

_REFUSALS: Final = (Status.UNAUTHENTICATED, Status.PERMISSION_DENIED, Status.UNIMPLEMENTED)


class Places(Protocol):
    """Lists services, and has a client for each."""

    async def names(self) -> list[str] | None:
        """Return the names of the services; None if they are never listed."""

    def client(self, name: str) -> Client:
        """Return the client of a service; it shows the credentials of callers alone.

        Raises:
            ConfigError: no client takes the name.
        """

    async def speaks_grpc(self, name: str) -> bool:
        """Return whether a service is called by gRPC."""

    def clients(self) -> set[str]:
        """Return the names of the services with a client."""

    async def forget(self, name: str) -> None:
        """Close the client of a service."""

    async def close(self) -> None:
        """Close all clients."""


def places_of(url: str, dial: Dialing, config: ClientConfig) -> Places:
    """Return the places of a URL.

    Args:
        dial: the credentials that are shown to a registry, and to no server.
        config: of the clients of servers.
    """
    return _GrpcServer(url, config) if is_grpc(url) else _Registry(url, dial, config)


def check_place(url: str, dial: Dialing) -> None:
    """Refuse a URL before anything is served.

    Raises:
        ConfigError: it cannot be used, or credentials have no effect.
    """
    if not is_grpc(url):
        dial.registry(url).close()
        return
    check_protobuf(url)
    Address.parse(url)
    if dial.shows_identity:
        raise ConfigError(
            f"{url} is no registry, and a gateway shows credentials to a registry alone",
            hint="leave out --token-file, --cert and FASTRPC_TOKEN: callers show their own",
        )


class _Registry:
    """The services that a registry lists."""

    def __init__(self, url: str, dial: Dialing, config: ClientConfig) -> None:
        self._url = url
        self._dial = dial
        self._config = config
        self._registry = dial.registry(url)
        #: Those of the clients: a client that opens its own shows that the certificate of servers.
        self._registries: dict[str, WatchedRegistry] = {}
        self._clients: dict[str, Client] = {}

    async def names(self) -> list[str] | None:
        services = getattr(self._registry, "services", None)
        if services is None:
            return None
        names: list[str] = await asyncio.to_thread(services)
        return names

    def client(self, name: str) -> Client:
        if name not in self._clients:
            service, registry = self._named(name)
            self._clients[name] = Client(service, registry=registry, config=self._config)
        return self._clients[name]

    def _named(self, name: str) -> tuple[str, WatchedRegistry]:
        """Return the name of a service in the registry, and the registry of its client."""
        named = split_target(target_for(self._url, name))
        if named is None:
            raise ConfigError(f"{self._url} is not the URL of a registry")
        place, service = named
        # A name that no client takes stays without one.
        if name not in self._registries:
            self._registries[name] = self._dial.registry(place)
        return service, self._registries[name]

    async def speaks_grpc(self, name: str) -> bool:
        service, registry = self._named(name)
        watch = registry.watch(service)
        try:
            async for snapshot in watch:
                wires = {wire_of(one, self._config) for one in snapshot.endpoints}
                return wires == {"grpc"}
            return False
        finally:
            watch.close()

    def clients(self) -> set[str]:
        return {*self._clients, *self._registries}

    async def forget(self, name: str) -> None:
        try:
            try:
                if name in self._clients:
                    await self._clients[name].close()
            finally:
                if name in self._registries:
                    await self._registries[name].aclose()
        except Exception:
            self._drop(name)
            raise
        self._drop(name)

    def _drop(self, name: str) -> None:
        # Behind the end of both: `close` also closes a client whose close was cancelled.
        self._clients.pop(name, None)
        self._registries.pop(name, None)

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        for registry in (*self._registries.values(), self._registry):
            await registry.aclose()


class _GrpcServer:
    """The services that one server of gRPC lists by its reflection."""

    def __init__(self, url: str, config: ClientConfig) -> None:
        self._url = url
        self._client = Client(url, config=config)
        self._is_silent = False

    async def names(self) -> list[str] | None:
        if self._is_silent:
            return None
        view = self._client.with_options(timeout=ASK_SECONDS)
        try:
            found = await ServerDescriptors(view, self._url).services()
        except CallError as error:
            if error.status not in _REFUSALS:
                raise
            # It would log a refusal each time.
            self._is_silent = True
            raise ConfigError(str(error)) from None
        return [name for name in found if not name.startswith(("grpc.health.", "grpc.reflection."))]

    def client(self, name: str) -> Client:
        return self._client

    async def speaks_grpc(self, name: str) -> bool:
        return True

    def clients(self) -> set[str]:
        return set()

    async def forget(self, name: str) -> None:
        """Do nothing: one client serves all."""

    async def close(self) -> None:
        await self._client.close()
