"""A server with the interface of grpc.aio, over a `fastrpc.Server`."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from grpc import aio

from fastrpc.config import TLS, ServerConfig
from fastrpc.errors import ConfigError
from fastrpc.grpc.aio.interceptors import Intercepting
from fastrpc.grpc.faults import LoopFaults, ServicerFaults
from fastrpc.grpc.grpcio_credentials import checked_tls
from fastrpc.grpc.instrumentation import warn_of_wrapped
from fastrpc.grpc.options import server_options
from fastrpc.grpc.ports import Port, bound_port
from fastrpc.limits import ConcurrencyLimit, Limit
from fastrpc.server.server import Server as OurServer
from fastrpc.time_limit import time_limit
from fastrpc.value_class import value_class

if TYPE_CHECKING:
    from fastrpc.handlers.auth.access_options import Authenticate, Authorize
    from fastrpc.registries.base.registry import Registry

__all__ = ["AioServer", "new_server", "server"]


def server(
    migration_thread_pool: Executor | None = None,
    handlers: Sequence[Any] | None = None,
    interceptors: Sequence[Any] | None = None,
    options: Sequence[tuple[str, Any]] | None = None,
    maximum_concurrent_rpcs: int | None = None,
    compression: Any = None,
    *,
    config: ServerConfig | None = None,
    authenticate: "Authenticate | None" = None,
    authorize: "Authorize | None" = None,
    call_limits: Sequence[Limit] = (),
    registry: "str | Registry | None" = None,
) -> "AioServer":
    """Return a server for generated services, with the arguments of `grpc.aio.server` and some of `fastrpc.Server`.

    Args:
        migration_thread_pool: runs servicers with plain `def`; None: threads of the server.
        config: the settings of the server. The server always speaks gRPC, and also the protocols in `protocols`.
            Without settings callers get the texts of exceptions, as in grpcio; with settings `expose_errors` decides.
        authenticate, authorize, registry: as for `fastrpc.Server`.
        call_limits: how much callers may ask for, see `fastrpc.limits`.
    """
    warn_of_wrapped("grpc.aio.server", interceptors)
    given = (migration_thread_pool, handlers, interceptors, options, maximum_concurrent_rpcs, compression)
    access = {"authenticate": authenticate, "authorize": authorize, "registry": registry}
    return new_server(LoopFaults, given, config=config, call_limits=call_limits, **access)


def new_server(
    faults: type[ServicerFaults],
    given: Sequence[Any],
    *,
    config: ServerConfig | None = None,
    call_limits: Sequence[Limit] = (),
    **access: Any,
) -> "AioServer":
    """Return a server that reports faults to callers by these rules.

    Args:
        given: the arguments of `server` in grpcio, in their order.
    """
    thread_pool, handlers, interceptors, options, maximum_concurrent_rpcs, compression = given
    found = server_options(options, compression, config)
    limits = list(call_limits)
    if maximum_concurrent_rpcs is not None:
        limits.append(ConcurrencyLimit(maximum_concurrent_rpcs))
    rules: dict[str, Any] = {"faults": faults(exposes=found.config.expose_errors), "limits": found.limits}
    source = Intercepting(interceptors or (), thread_pool, found.compressor, **rules)
    source.add_generic_rpc_handlers(handlers or ())
    return AioServer(_Parts(source, found.config, {**access, "limits": limits}, found.reuse_port))


@value_class
class _Parts:
    """The parts of a server."""

    source: Intercepting
    config: ServerConfig
    #: The options of a `fastrpc.Server` in addition to its settings.
    access: Mapping[str, Any]
    reuse_port: bool


class AioServer(aio.Server):  # type: ignore[misc]
    """Serves the handlers of generated code."""

    def __init__(self, parts: _Parts) -> None:
        self._parts = parts
        self._ports: list[Port] = []
        self._tls: TLS | None = parts.config.tls
        self._server: OurServer | None = None
        self._is_stopped = asyncio.Event()

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[Any]) -> None:
        """Add the handlers of services."""
        self._parts.source.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Add the handlers of one service."""
        self._parts.source.add_registered_method_handlers(service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        """Bind an address and return its port. The server listens there after its start.

        Raises:
            RuntimeError: the address cannot be bound.
        """
        return self._bind(address, is_encrypted=False)

    def add_secure_port(self, address: str, server_credentials: Any) -> int:
        """Bind an address for TLS; `server_credentials` is a `fastrpc.TLS`, the same object for all ports.

        Raises:
            TypeError: the credentials are objects of grpcio, which hide their contents.
        """
        tls = checked_tls(server_credentials)
        if self._tls not in (None, tls):
            raise ConfigError(
                "the ports of a server have one TLS", hint="serve the other one by another server"
            )
        self._tls = tls
        return self._bind(address, is_encrypted=True)

    def _bind(self, address: str, *, is_encrypted: bool) -> int:
        port = bound_port(address, is_encrypted=is_encrypted, reuse_port=self._parts.reuse_port)
        self._ports.append(port)
        return port.number

    async def start(self) -> None:
        """Listen at the ports."""
        if self._server is not None:
            raise aio.UsageError("the server was started already")
        parts = self._parts
        config = replace(parts.config, tls=self._tls)
        self._server = OurServer(parts.source, config=config, **parts.access)
        for port in self._ports:
            for address, bound in port.sockets:
                await self._server.listen(address, socket=bound, allow_plain=self._tls is not None)

    async def stop(self, grace: float | None) -> None:
        """Stop the server. Running calls have `grace` seconds to end; None cancels them immediately."""
        if self._server is None:
            for port in self._ports:
                port.close()
        elif grace is None:
            await self._server.close()
        else:
            await self._server.drain(grace)
        self._is_stopped.set()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped; return whether the timeout passed before."""
        try:
            async with time_limit(timeout):
                await self._is_stopped.wait()
        except TimeoutError:
            return True
        return False
