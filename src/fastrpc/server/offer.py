"""The services that a server offers, their health, and their records in a registry."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fastrpc.config import ServerConfig
from fastrpc.config_errors import ShownAtProgram
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.handlers.life import Life
from fastrpc.handlers.services import ServiceTable
from fastrpc.place import Place, checked_place
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.service import is_service
from fastrpc.server.accepting import Accepting
from fastrpc.server.access import ServerAccess
from fastrpc.server.background.work import BackgroundWork, ServerResources
from fastrpc.server.builtin import BUILTIN_PREFIX, Reflection
from fastrpc.server.health import GRPC_HEALTH, GrpcHealth, Health, HealthSource, ServingState
from fastrpc.server.removal import end_calls

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import RegistryOption
    from fastrpc.registries.base.scoped import ScopedPlace
    from fastrpc.server.advertising import Advertising

__all__ = ["Offer"]


class Offer:
    """Adds services to a server and removes them, together with their health and their records."""

    def __init__(
        self,
        config: ServerConfig,
        served: ServiceTable,
        access: ServerAccess,
        accepting: Accepting,
        resources: ServerResources,
    ) -> None:
        self._config = config
        self._served = served
        self._access = access
        self._accepting = accepting
        #: Returns the address of the admin pages, or None before they are served.
        self.admin_address: Callable[[], Address | None] = lambda: None
        #: The place where the server runs; None means the place that the environment states.
        self.place: Place | None = None
        self.health = ServingState(lambda: served.definitions)
        #: The server's records; None without a registry.
        self.advertising: Advertising | None = None
        self.background = BackgroundWork(served, resources, config)
        #: True if the server is closed.
        self.is_closed = False

    def advertise_in(self, registry: "RegistryOption", place: Place) -> None:
        """Keep records in a registry.

        Raises:
            ConfigError: the registry is not a URL, a registry or a list of registries.
        """
        # Imported on first use, because most servers have no registry.
        from fastrpc.server.advertising import Advertising

        self.advertising = Advertising(registry, self._config, self.serving_now, place, self.admin_address)

    def places(self, address: Address) -> "list[tuple[ScopedPlace, Endpoint | None]]":
        """Return the places to listen in all scopes of an address, with the endpoints to register; keep records there.

        Raises:
            ConfigError: an option of the address is wrong.
            StoreError: the host folder cannot be used.
        """
        place = checked_place(self.place)
        if self.advertising is None:
            self.advertise_in(str(address), place)
        assert self.advertising is not None
        return [(one, one.advertised(place)) for one in self.advertising.widen(address).places()]

    def scopes(self) -> dict[str, list[str]]:
        """Return the addresses of the server in each scope; empty without `any://`."""
        return {} if self.advertising is None else self.advertising.scopes()

    @property
    def is_leaving(self) -> bool:
        """True if the server is draining or closed, and registers nothing."""
        return self.health.is_draining or self.is_closed

    async def enter(self, sources: Sequence[Any]) -> None:
        """Create and enter the sources; serve their services and the built-in services.

        Raises:
            ConfigError: a source has an unknown kind, or a service cannot be offered.
        """
        await self.background.open()
        await self._served.enter(sources)
        entered = self._served.instances()
        for name, source in entered:
            # The health of an only service is also the health of the whole server.
            self._follow(source, name, *([""] if len(entered) == 1 else []))
        self._served.add(self._make_health())
        services = self._served.definitions
        if self._config.reflection is not False:
            self._served.add(self._make_reflection(services))
        self._access.check(services)
        self._accepting.check_services(services)
        self._served.gate.dispatcher.index_methods()
        await self.background.begin()

    def _follow(self, source: Any, *names: str) -> None:
        """Follow the health of a source that reports its health."""
        if isinstance(source, HealthSource):
            source.tell_health(partial(self._set_serving, names))

    def _set_serving(self, names: Sequence[str], serving: bool) -> None:
        for name in names:
            self.health.set(serving, name)
        self.advertise_again()

    def _make_health(self) -> Health | GrpcHealth:
        """Create the health service. With gRPC it also has gRPC's names, unless a source has them."""
        is_taken = any(one.name == GRPC_HEALTH for one in self._served.definitions)
        kind = GrpcHealth if "grpc" in self._config.protocols and not is_taken else Health
        return kind(self.health)

    def _make_reflection(self, services: Sequence[ServiceDefinition]) -> object:
        """Create the reflection service. With gRPC it also has gRPC's names, unless a source has one of them.

        Args:
            services: a live view of the server's services.
        """
        if "grpc" not in self._config.protocols:
            return Reflection(lambda: services, self._access.may_call)
        # Imported on first use, because most servers do not speak gRPC.
        from fastrpc.server.grpc_reflection import REFLECTIONS, GrpcReflection

        is_taken = any(one.name in REFLECTIONS for one in services)
        return (Reflection if is_taken else GrpcReflection)(lambda: services, self._access.may_call)

    @property
    def services(self) -> tuple[ServiceDefinition, ...]:
        """The services without the built-in ones."""
        return tuple(one for one in self._served.definitions if not one.name.startswith(BUILTIN_PREFIX))

    def serving_now(self) -> dict[str, str | None]:
        """Return the healthy services with their versions. Bare functions are omitted: they have no service name."""
        return {
            one.name: one.version for one in self.services if one.name and self.health.is_serving(one.name)
        }

    def advertise_again(self) -> None:
        """Send changes of the services to the registry without waiting for it."""
        if self.advertising is not None and not self.is_leaving:
            self.advertising.update()

    def add(self, source: Any) -> None:
        """Start to serve an instance or a function.

        Raises:
            ConfigError: a method of that name is served already, or the source has an unknown kind.
        """
        if not is_service(source):
            raise ConfigError(
                f"{source!r} cannot be added to a running server", hint="add an instance of a service"
            )
        with ShownAtProgram():
            definition, _ = self._served.definition_with(source)
            others = [one for one in self._served.definitions if one.owner is not definition.owner]
            self._accepting.check_services([*others, definition])
            # Check first, because the program may continue after the error.
            self._access.check([*others, definition])
            self._served.add(source)
            self._follow(source, definition.name)
            self.background.add(definition.name, source)
        self._served.gate.dispatcher.index_methods()
        self.health.watchers.wake()
        self.advertise_again()

    async def remove(self, name: str, timeout: float | None, life: Life) -> bool:
        """Withdraw a service, refuse its calls and exit its sources; return whether all calls ended by themselves.

        Raises:
            ConfigError: the service does not exist, or is being removed already.
        """
        service = self.health.removable(name)
        try:
            with self.health.removing(service):
                await self._announce_removal()
                parts = self._served.withdraw(service)
        except BaseException:
            # After a cancellation the service is still served, so register it again.
            self.advertise_again()
            raise
        self.health.watchers.wake()
        seconds = self._config.timeouts.drain if timeout is None else timeout
        routes = frozenset(route for part in parts for route in part.routes)
        try:
            ended = end_calls(self._served.gate, routes, seconds, lambda: self.is_closed or life.has_cut_off)
            return await self.background.stop_beside(ended, seconds, service)
        finally:
            for route in routes:
                route.release()
            await self._served.leave_parts(parts)

    async def _announce_removal(self) -> None:
        """Withdraw the records, and continue to serve while clients notice that."""
        if self.advertising is not None and not self.is_leaving:
            await self.advertising.settle()
        if self._config.timeouts.announce:
            await asyncio.sleep(self._config.timeouts.announce)
