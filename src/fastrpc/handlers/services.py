"""The parts that serve calls on all connections of one side: gate, dispatcher, threads, methods."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, NamedTuple

from fastrpc._core.base.histogram import default_registry
from fastrpc._core.calls.call import MethodRoute, current_call
from fastrpc._core.limiting.limiters import RateLimiter
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.guards import CallLimits
from fastrpc._core.wire.settings import WireNumbers
from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.handlers.dispatcher import Dispatcher, accepted_address
from fastrpc.handlers.life import Life
from fastrpc.handlers.method_limits import MethodLimits, check_patterns, limiter_for
from fastrpc.handlers.sources import SourceScope, open_sources
from fastrpc.handlers.thread_pool import ThreadPool
from fastrpc.limits import CallLimit, Limit
from fastrpc.peers.peer_client import PeerCalling
from fastrpc.protocols.base import PeerConnection
from fastrpc.rpc.background.subscribing import subscriptions_of
from fastrpc.rpc.definition import MethodDefinition, ServiceDefinition
from fastrpc.rpc.functions import Functions, functions_of, is_function, take_function, with_function
from fastrpc.rpc.interceptor import Interceptor, split_call_log
from fastrpc.rpc.marshals import check_service, codec_for, marshal_for
from fastrpc.rpc.service import BUILTIN_PREFIX, service_definition

__all__ = ["ServedPart", "ServiceTable", "is_inside_handler"]

logger = logging.getLogger("fastrpc.server")

#: The most methods of removed services whose calls are refused as calls of removed methods. Calls of methods that were
#: removed earlier are refused as calls of unknown methods.
MOST_WITHDRAWN = 1_000


class ServedPart(NamedTuple):
    """The methods of one source of a service, the context managers around it, and the source."""

    routes: tuple[MethodRoute, ...]
    scope: SourceScope | None
    service: Any


class ServiceTable:
    """The services that this side offers on its connections.

    Args:
        calling: the part that outgoing calls use on the same connections, if the peer serves as well.
        address_of: returns the address of a connection's peer.
        limits: the limits of the server; this object applies the limits of calls.
    """

    def __init__(
        self,
        config: ServerConfig,
        interceptors: Sequence[Interceptor],
        numbers: WireNumbers,
        life: Life,
        calling: PeerCalling,
        address_of: Callable[[PeerConnection], Address] = accepted_address,
        limits: Sequence[Limit] = (),
    ) -> None:
        self._config = config
        self._call_log, self._interceptors = split_call_log(interceptors)
        self._numbers = numbers
        self.life = life
        self._calling = calling
        self._address_of = address_of
        self.limits = limits
        self._call_limits = [limit for limit in limits if isinstance(limit, CallLimit)]
        self._stack = AsyncExitStack()
        #: For each limit the counter that all processes of the server share; None: each process counts its own calls.
        self.shared: Sequence[RateLimiter | None] = [None] * len(limits)
        #: Notified when requests and calls end (`fastrpc.server.watching`); None in most servers.
        self.watch: Any = None
        self._threads: ThreadPool | None = None
        #: The services, in the order in which they were added.
        self.definitions: list[ServiceDefinition] = []
        # The sources of each service, in their order.
        self._parts: dict[str, list[ServedPart]] = {}
        # The routes of removed services, which refuse calls.
        self._withdrawn: list[MethodRoute] = []
        self.gate: Gate

    def make_gate(self) -> Gate:
        """Create the gate of calls on the running loop, without methods."""
        config = self._config
        loop = asyncio.get_running_loop()
        self._threads = ThreadPool(
            loop=loop,
            threads=config.admission.handler_threads,
            queue_length=config.admission.queue_length,
            queue_age=config.admission.queue_age,
        )
        dispatcher = Dispatcher(
            self._interceptors, self._threads, config, self.life, self._calling, self._address_of
        )
        gate = Gate(
            loop=loop,
            dispatcher=dispatcher,
            numbers=self._numbers,
            limits=config.limits,
            memory=config.memory,
            admission=config.admission,
            call_timeout=config.timeouts.call,
        )
        gate.runner.chain = dispatcher.chain if self._interceptors else None
        gate.runner.call_log = self._call_log
        if self.watch is not None:
            gate.refusals.watch, gate.runner.call_log = self.watch, self.watch.log_beside(self._call_log)
        gate.runner.checks_results = config.check_results
        if config.timeouts.stream_idle is not None:
            gate.runner.stream_idle_ns = max(1, int(config.timeouts.stream_idle * 1e9))
        if self._call_limits:
            limiters = [
                shared or limiter_for(limit)
                for shared, limit in zip(self.shared, self.limits, strict=True)
                if isinstance(limit, CallLimit)
            ]
            gate.guards.limit(CallLimits(MethodLimits(self._call_limits, limiters).bind))
        dispatcher.gate = self.gate = gate
        return gate

    async def enter(self, sources: Sequence[Any]) -> None:
        """Open the sources, and serve their services."""
        async with AsyncExitStack() as opening:
            # If a source fails to open, the exits of the sources opened before it receive the error.
            found = await open_sources(sources, await opening.enter_async_context(SourceScope()))
            self._stack.push_async_exit(opening.pop_all())
        for service, scope in found:
            self.add(service, scope)
        if self.definitions:
            # Check the patterns only if there are services: a server without sources gets its services later.
            check_patterns(
                self._call_limits, [*self._subscribed(), *(route.method for route in self.gate.routes)]
            )

    async def hold(self, context: AbstractAsyncContextManager[Any]) -> None:
        """Enter a context manager that is exited before the sources."""
        await self._stack.enter_async_context(context)

    def add(self, service: Any, scope: SourceScope | None = None) -> None:
        """Serve the methods of an instance, or a function.

        Raises:
            ConfigError: a method of that name is served already, or another source has the same service.
            TypeError: an alias is also the name of another method.
        """
        definition, names = self.definition_with(service)
        check_service(definition)
        handlers = definition.handlers(functions_of(definition) if is_function(service) else service)
        routes, returning = [], []
        for method in (definition.methods[name] for name in names):
            route = self.gate.routes.get(method.full_name)
            if route is not None and route.is_released and route.definition is method:
                returning.append(route)
            else:
                routes.append(self._route(method, handlers[method.name]))
        self.gate.routes.add(*routes)
        for route in returning:
            route.bring_back(handlers[route.definition.name])
        if self._withdrawn:
            self._forget_replaced()
        if is_function(service):
            take_function(definition)
            self.definitions[:] = [one for one in self.definitions if one.name != definition.name]
        self.definitions.append(definition)
        self._parts.setdefault(definition.name, []).append(ServedPart((*routes, *returning), scope, service))
        if scope is not None:
            scope.hold()
        http = self._config.http
        is_by_grpc = "grpc" in self._config.protocols or http.grpc_web or http.connect
        if is_by_grpc and not definition.name.startswith(BUILTIN_PREFIX):
            self._warn_of_unfit([definition.methods[name] for name in names])

    def instances(self) -> list[tuple[str, Any]]:
        """Return the served sources as pairs (service name, source)."""
        return [(name, part.service) for name, parts in self._parts.items() for part in parts]

    def definition_with(self, service: Any) -> tuple[ServiceDefinition, Sequence[str]]:
        """Return the definition that a service has once this source is served, and the names of its methods.

        Raises:
            ConfigError: functions and a class have the same service, two classes have it although one is not declared
                as a part, or two functions have the same name.
        """
        given = service_definition(service)
        known = next((one for one in self.definitions if one.name == given.name), None)
        if known is not None and issubclass(known.owner, Functions) != is_function(service):
            raise ConfigError(
                f"the service {given.name!r} is a class, and functions have its name as their prefix",
                hint="give the class or the functions another name",
            )
        if is_function(service):
            return with_function(known, service), tuple(given.methods)
        if known is not None and known.owner is not given.owner and not (known.is_part and given.is_part):
            raise ConfigError(
                f"the service {given.name!r} is two classes, {known.owner.__qualname__} and {given.owner.__qualname__}",
                hint=f'rename one of them, or mark each as a part: @fastrpc.service("{given.name}", part=True)',
            )
        return given, tuple(given.methods)

    def _subscribed(self) -> Iterator[str]:
        """Yield the methods that handle broker messages, because limits count deliveries of messages as well."""
        for name, service in self.instances():
            yield from (f"{name}.{method}" for method in subscriptions_of(type(service)))

    def _route(self, method: MethodDefinition, handler: Callable[..., Any]) -> MethodRoute:
        codec = codec_for(method, "msgpack")
        depth, items = self._config.limits.depth, self._config.memory.items
        marshal = marshal_for(method, codec, depth=depth, items=items)
        counters = default_registry.counters(method.full_name, "server")
        return MethodRoute(method, marshal, counters, handler=handler, timeout=self._longest(method))

    def withdraw(self, name: str) -> list[ServedPart]:
        """Refuse the calls of a service from now on, before they start; return its sources."""
        parts = self._parts.pop(name)
        self.definitions[:] = [one for one in self.definitions if one.name != name]
        routes = [route for part in parts for route in part.routes]
        for route in routes:
            route.withdraw()
        self._withdrawn += routes
        surplus = self._withdrawn[:-MOST_WITHDRAWN]
        if surplus:
            del self._withdrawn[:-MOST_WITHDRAWN]
            self.gate.routes.remove(*surplus)
            self._forget(surplus)
        self.gate.dispatcher.index_methods()
        return parts

    async def leave_parts(self, parts: Sequence[ServedPart]) -> None:
        """Exit, in reverse order, the context managers that only these sources needed."""
        for part in reversed(parts):
            if part.scope is not None:
                await part.scope.release()

    def _forget_replaced(self) -> None:
        """Drop cached authorisation decisions about withdrawn methods that were replaced or are served again."""
        table = self.gate.routes
        replaced = [route for route in self._withdrawn if table.get(route.method) is not route]
        self._withdrawn = [route for route in self._withdrawn if route.is_withdrawn and route not in replaced]
        if replaced:
            self._forget(replaced)

    def _forget(self, routes: Sequence[MethodRoute]) -> None:
        """Drop cached authorisation decisions about removed methods."""
        if self.gate.guards.access is not None:
            self.gate.guards.access.forget(routes, [engine.connection for engine in self.gate.engines])

    def _warn_of_unfit(self, methods: Sequence[MethodDefinition]) -> None:
        """Warn of methods that gRPC clients cannot call because a type has no protobuf equivalent."""
        from fastrpc.rpc.protobuf.marshals import message_marshal

        limits = self._config.limits
        for method in methods:
            try:
                message_marshal(method, depth=limits.depth, items=self._config.memory.items)
            except ConfigError as error:
                logger.warning("%s is not served by gRPC: %s", method.full_name, error)

    def _longest(self, method: MethodDefinition) -> float | None:
        """Return the longest timeout of a method's calls on this server in seconds; None: no limit."""
        caps = [method.timeout, None if _is_built_in(method) else self._config.limits.longest_call]
        return min((cap for cap in caps if cap is not None), default=None)

    async def leave(self) -> None:
        """Exit the sources in reverse order."""
        await self._stack.aclose()

    def close(self) -> None:
        """Accept no further jobs for threads."""
        if self._threads is not None:
            self._threads.close(wait=False)


def is_inside_handler(gate: Gate) -> bool:
    """Return whether this code runs inside a handler that was called through this gate."""
    try:
        connection = getattr(current_call(), "connection", None)
    except LookupError:
        return False
    return connection is not None and connection.gate is gate


def _is_built_in(method: MethodDefinition) -> bool:
    return method.full_name.startswith(BUILTIN_PREFIX)
