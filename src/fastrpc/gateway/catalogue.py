"""The services of a gateway: from its contracts, and from the list of its registry or gRPC server."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from fastrpc.cancelling import cancelled
from fastrpc.config import TLS, ClientConfig, Pool, Timeouts
from fastrpc.errors import ConfigError, FastRPCError
from fastrpc.gateway.dialing import Dialing
from fastrpc.gateway.forwarded_types import described_methods
from fastrpc.gateway.forwarding import Forwarder, forwarded_methods, forwarding_service
from fastrpc.gateway.grpc_methods import described_by_grpc
from fastrpc.gateway.places import ASK_SECONDS, check_places, places_of
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.described_services import SERVICES_METHOD, read_descriptions
from fastrpc.rpc.service import service_definition
from fastrpc.server.builtin import BUILTIN_PREFIX
from fastrpc.server.server import Server
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["Catalogue", "catalogues", "remove_builtin"]

_REFUSALS: Final = (Status.UNAUTHENTICATED, Status.PERMISSION_DENIED)

logger = logging.getLogger("fastrpc.server")

#: Seconds between two checks of the registry's list of services.
LOOK_SECONDS: Final = 2.0

#: Seconds until a server that refused to describe its services is asked again, since it logs each refusal.
REFUSED_SECONDS: Final = 60.0


class Catalogue:
    """Adds the services of a registry, or of a gRPC server, to a server inside its `async with` block.

    Args:
        urls: the URL of the registry, of several registries, or of the gRPC server.
        dial: the credentials that are sent to registries, but not to servers.
        config: the settings for clients of the target servers.
        contracts: services whose types are known.
        own: this server's services named `fastrpc.…` that callers may use.
        hides_token: whether callers' tokens are not passed on.
    """

    def __init__(
        self,
        server: Server,
        urls: Sequence[str],
        dial: Dialing,
        *,
        config: ClientConfig,
        contracts: Sequence[ServiceDefinition] = (),
        own: Collection[str] = (),
        hides_token: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._own, self._hides_token = own, hides_token
        self._server = server
        self._contracts = contracts
        self._places = places_of(urls, dial, config)
        self._known: set[str] = set()
        #: Whether the registry has listed its services, or never will. `_awaited`: the listed services that no server
        #: has described yet.
        self._is_listed = False
        self._awaited: set[str] = set()
        #: Whether the server has started. Services that are found later are logged, as the report of the start does not
        #: name them.
        self._is_following = False
        #: The kind of the last error with a warning, by service; "" means the registry.
        self._warned: dict[str, str] = {}
        #: The next time to ask for a service whose server refused to describe it.
        self._refused_until: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # The requests run concurrently: each may wait for an unreachable registry.
        wires = await asyncio.gather(*(self._speaks_grpc(one.name) for one in self._contracts))
        for contract, is_grpc in zip(self._contracts, wires, strict=True):
            self._add(
                contract.name,
                forwarding_service(
                    contract.name,
                    forwarded_methods(contract, is_grpc=is_grpc),
                    self._forwarder(contract.name, is_grpc=is_grpc),
                    version=contract.version,
                    documentation=contract.documentation,
                    names=contract.names,
                ),
            )
        # The target servers have services of the same names; callers must not see the services of this server.
        gate = remove_builtin(self._server, keeps=self._own)
        gate.dispatcher.why_absent = self._why_absent
        await self._look()
        self._is_following = True
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            await cancelled([self._task])
        await self._places.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        """Add the listed services that are missing."""
        try:
            names = await self._places.names()
            if names is None:
                self._is_listed = True
                return
            found = sorted(
                name for name in names if not name.startswith(BUILTIN_PREFIX) and name not in self._known
            )
            due = [name for name in found if self._clock() >= self._refused_until.get(name, 0.0)]
        except ConfigError as error:
            self._is_listed = True
            self._warn("", "only services with a contract are served", error)
            return
        except Exception as error:
            # The registry is asked again after every kind of error.
            self._warn("", "the registry does not list its services", error)
            return
        self._is_listed = True
        self._awaited.intersection_update(names)
        self._warned.pop("", None)
        gone = (self._places.clients() | self._warned.keys()).difference(names, self._known)
        await asyncio.gather(*map(self._forget, gone), *map(self._open, due))

    async def _forget(self, name: str) -> None:
        """Close the client of a service that no server described and that the registry no longer lists."""
        self._warned.pop(name, None)
        self._refused_until.pop(name, None)
        try:
            await self._places.forget(name)
        except Exception:
            logger.exception("the client of %s, which is listed no more, could not be closed", name)

    async def _open(self, name: str) -> None:
        """Ask a server of a service for the methods of the service, and add the service."""
        if name not in self._warned:
            self._awaited.add(name)
        try:
            async with time_limit(ASK_SECONDS):
                made = await self._described(name)
            self._add(name, made)
        except Exception as error:
            # The server's reflection may be off or limited to some callers, it may be unreachable, or names may be
            # invalid. The other services are served all the same.
            if not _is_away(error):
                # A server has answered: waiting longer would not make its methods available.
                self._awaited.discard(name)
            if getattr(error, "status", None) in _REFUSALS:
                self._refused_until[name] = self._clock() + REFUSED_SECONDS
            advice = "" if isinstance(error, ConfigError) else " (--contract would supply its methods)"
            self._warn(name, f"{name} is not served{advice}", error)

    async def _described(self, name: str) -> Any:
        """Return a service that forwards calls, made from the description by its server."""
        client = self._places.client(name)
        view = client.with_options(timeout=ASK_SECONDS, idempotent=True)
        if await self._places.speaks_grpc(name):
            methods = await described_by_grpc(view, name)
            return forwarding_service(name, methods, self._forwarder(name, is_grpc=True))
        described = read_descriptions(await view.with_options(codec="msgpack").call(SERVICES_METHOD), name)
        [service] = [one for one in described if one.name == name]
        return forwarding_service(
            name,
            described_methods(service),
            self._forwarder(name),
            version=service.version,
            documentation=service.documentation,
        )

    def _forwarder(self, name: str, *, is_grpc: bool = False) -> Forwarder:
        return Forwarder(self._places.client(name), is_grpc=is_grpc, hides_token=self._hides_token)

    async def _speaks_grpc(self, name: str) -> bool:
        """Return whether the servers of a contract speak gRPC; False while no server is known."""
        try:
            async with time_limit(ASK_SECONDS):
                return await self._places.speaks_grpc(name)
        except Exception:
            # A registry that cannot be reached is reported when it is asked for its services.
            return False

    def _add(self, name: str, service: Any) -> None:
        self._server.add(service)
        self._known.add(name)
        self._awaited.discard(name)
        self._warned.pop(name, None)
        if self._is_following:
            methods = ", ".join(service_definition(service).methods)
            logger.info("serving %s: %s", name, methods)

    def _why_absent(self, method: str) -> str | None:
        """Return why an unknown method may appear later; None if it will not."""
        if not self._is_listed:
            return "the registry has not sent its services"
        service = method.rpartition(".")[0]
        return f"no server of {service} has described its methods" if service in self._awaited else None

    def _warn(self, about: str, text: str, error: Exception) -> None:
        """Log a fault once; log it again only when the type of the error changes, since its text may contain times."""
        kind = "" if _is_away(error) else f"{type(error).__name__} {getattr(error, 'status', '')}"
        if self._warned.get(about) != kind:
            self._warned[about] = kind
            told = str(error) if isinstance(error, FastRPCError) and str(error) else repr(error)
            logger.warning("%s: %s", text, told)


def remove_builtin(server: Server, *, keeps: Collection[str] = ()) -> Any:
    """Hide a server's services named `fastrpc.…`, except `keeps`, from callers; return the server's gate."""
    gate = server.opened_parts().gate
    names = [route for route in gate.routes if route.method.startswith(BUILTIN_PREFIX)]
    gate.routes.remove(*(one for one in names if one.method.rpartition(".")[0] not in keeps))
    return gate


def catalogues(
    urls: Sequence[str],
    dial: Dialing,
    contracts: Sequence[ServiceDefinition] = (),
    *,
    allows_plain: bool = False,
) -> Callable[..., Catalogue]:
    """Return the function that makes the catalogue of a server; the function may get further arguments of `Catalogue`.

    Args:
        urls, dial, contracts: as for `Catalogue`.
        allows_plain: whether servers at tcp:// beyond loopback are called.

    Raises:
        ConfigError: a URL or a credential cannot be used.
    """
    # A wrong URL is reported before anything is served.
    check_places(urls, dial)
    tls = dial.config.tls
    if allows_plain and tls is not None:
        raise ConfigError("--allow-plain is given with options of TLS", hint="leave one of them out")
    # A client with TLS never dials tcp:// beyond loopback. No certificate is shown to servers: it would name the
    # gateway as the caller of every call without a token.
    shown = None if allows_plain else replace(tls or TLS(), cert_file=None, key_file=None)
    # Each call has the deadline of its caller or of the gateway's server. There are no breakers: one caller could open
    # them for all others, by short deadlines or by its own rate limit.
    unbroken = Pool(breaker=None, outlier=None)
    config = ClientConfig(tls=shown, pool=unbroken, timeouts=Timeouts(call=None))
    return partial(Catalogue, urls=urls, dial=dial, config=config, contracts=contracts)


def _is_away(error: Exception) -> bool:
    """Return whether an error means that no server answered."""
    return isinstance(error, TimeoutError) or getattr(error, "status", None) is Status.UNAVAILABLE
