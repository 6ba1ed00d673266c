"""The targets of a gateway: a registry, several registries as one, or one gRPC server."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from fastrpc.client.client import Client
from fastrpc.client.services.services import Services
from fastrpc.client.wire import wire_of
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Address
from fastrpc.errors import CallError, ConfigError
from fastrpc.gateway.dialing import Dialing
from fastrpc.gateway.grpc_servers.reflection import ServerDescriptors, check_protobuf, is_grpc
from fastrpc.registries.base.urls import names_service, split_target, target_for
from fastrpc.status import Status

__all__ = ["ASK_SECONDS", "Places", "check_places", "places_of"]

#: Seconds for a server to describe its services, connecting included.
ASK_SECONDS: Final = 3.0

_REFUSALS: Final = (Status.UNAUTHENTICATED, Status.PERMISSION_DENIED, Status.UNIMPLEMENTED)


class Places(Protocol):
    """Lists services, and has a client for each."""

    async def names(self) -> list[str] | None:
        """Return the names of the services; None if they are never listed."""

    def client(self, name: str) -> Client:
        """Return the client of a service; it shows only callers' credentials.

        Raises:
            ConfigError: no client accepts the name.
        """

    async def speaks_grpc(self, name: str) -> bool:
        """Return whether a service is called by gRPC."""

    def clients(self) -> set[str]:
        """Return the names of the services with a client."""

    async def forget(self, name: str) -> None:
        """Close the client of a service."""

    async def close(self) -> None:
        """Close all clients."""


def places_of(urls: Sequence[str], dial: Dialing, config: ClientConfig) -> Places:
    """Return the places of the URL of a gRPC server, or of the URLs of registries.

    Args:
        dial: the credentials that are sent to a registry, but not to a server.
        config: the settings for clients of the servers.
    """
    return _GrpcServer(urls[0], config) if is_grpc(urls[0]) else _Registries(urls, dial, config)


def check_places(urls: Sequence[str], dial: Dialing) -> None:
    """Refuse URLs before anything is served.

    Raises:
        ConfigError: a place is invalid, or cannot be combined with others, or credentials have no effect.
    """
    for url in urls if len(urls) > 1 else ():
        if is_grpc(url) or names_service(url):
            what = "a server" if is_grpc(url) else "a service"
            raise ConfigError(
                f"{url.partition('?')[0]} names {what}, and several --registry are registries of the same services",
                hint="give it alone, or write registry://host:port",
            )
    url = urls[0]
    if not is_grpc(url):
        dial.registry(*urls).close()
        return
    check_protobuf(f"{url} is a server of gRPC, whose messages")
    Address.parse(url)
    if dial.shows_identity:
        raise ConfigError(
            f"{url} is not a registry, and a gateway shows credentials only to a registry",
            hint="leave out --token-file, --cert and FASTRPC_TOKEN: callers show their own",
        )


class _Registries:
    """The services that one or several registries list."""

    def __init__(self, urls: Sequence[str], dial: Dialing, config: ClientConfig) -> None:
        self._urls = urls
        self._config = config
        self._registry = dial.registry(*urls)
        # The registry is opened here: clients would open it with the certificate for servers.
        self._followed = dial.registry(*(self._named(url, "services")[0] for url in urls))
        self._services = Services(self._followed, config=config)
        self._called: set[str] = set()

    async def names(self) -> list[str] | None:
        services = getattr(self._registry, "services", None)
        if services is None:
            return None
        names: list[str] = await asyncio.to_thread(services)
        return names

    def client(self, name: str) -> Client:
        client = self._services[self._named(self._urls[0], name)[1]]
        # Only a name that a client accepts is recorded here.
        self._called.add(name)
        return client

    def _named(self, url: str, name: str) -> tuple[str, str]:
        """Return the URL of a registry without a service, and the name of a service in that registry."""
        named = split_target(target_for(url, name))
        if named is None:
            raise ConfigError(f"{url} is not the URL of a registry")
        return named

    async def speaks_grpc(self, name: str) -> bool:
        watch = self._followed.watch(self._named(self._urls[0], name)[1])
        try:
            async for snapshot in watch:
                wires = {wire_of(one, self._config) for one in snapshot.endpoints}
                return wires == {"grpc"}
            return False
        finally:
            watch.close()

    def clients(self) -> set[str]:
        return set(self._called)

    async def forget(self, name: str) -> None:
        if name in self._called:
            self._called.discard(name)
            await self._services[self._named(self._urls[0], name)[1]].close()

    async def close(self) -> None:
        await self._services.close()
        for registry in (self._followed, self._registry):
            await registry.aclose()


class _GrpcServer:
    """The services that one gRPC server lists by its reflection."""

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
            # Do not ask again: the server would log a refusal each time.
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
        """Do nothing: one client serves all services."""

    async def close(self) -> None:
        await self._client.close()
