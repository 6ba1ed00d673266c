"""The services of a client, which its servers may call on its connections."""

import os
from collections.abc import Sequence
from typing import Any, cast

from fastrpc._core.client.client_connection import ClientConnection
from fastrpc._core.server.served_calls import serve_on
from fastrpc._core.wire.settings import WireNumbers, WireSettings
from fastrpc.config import ClientConfig, ServerConfig
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.handlers.life import Life
from fastrpc.handlers.services import ServiceTable, is_inside_handler
from fastrpc.peers.peer_client import PeerCalling
from fastrpc.protocols.base import PeerConnection, client_protocol
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.rpc.interceptor import Interceptor, checked_interceptors
from fastrpc.time_limit import time_limit

__all__ = ["ClientServices", "client_services"]

#: The GOAWAY reason of a drain (PROTOCOL.md 3.4).
_REASON_DRAIN = 0


def _refuse_roles(services: Sequence[ServiceDefinition]) -> None:
    """Raise ConfigError for a method that needs a role: a client does not authenticate its servers."""
    for service in services:
        for method in service.methods.values():
            if method.roles:
                raise ConfigError(
                    f"{method.full_name} needs a role, but a client does not authenticate servers: no caller has one",
                    hint="check the call in the handler, or serve the method by a Server with authenticate=",
                )


class ClientServices:
    """The services of one client, behind one gate for all its connections.

    Args:
        interceptors: the client's interceptors; around calls by servers `side` is "server".
        numbers: the codecs and compressors that it accepts.
    """

    def __init__(
        self,
        sources: Sequence[Any],
        config: ClientConfig,
        interceptors: Sequence[Interceptor],
        numbers: WireNumbers,
    ) -> None:
        if config.pool.connections_per_endpoint not in (1, "auto"):
            raise ConfigError(
                f"Pool.connections_per_endpoint is {config.pool.connections_per_endpoint}, but a client with services "
                "keeps one connection to each endpoint",
                hint="use a second client for the calls",
            )
        self._sources = sources
        self._config = config
        self._services = ServiceTable(
            ServerConfig(
                timeouts=config.timeouts,
                keepalive=config.keepalive,
                limits=config.limits,
                memory=config.memory,
                admission=config.admission,
            ),
            checked_interceptors(interceptors),
            numbers,
            Life(),
            PeerCalling(config, numbers, config.codec),
            _address_of,
        )
        #: Whether the sources were entered, so that calls can be served.
        self.is_entered = False

    async def enter(self, settings: WireSettings) -> None:
        """Make and enter the sources on the running loop, and set in the client's settings that it serves.

        Raises:
            ConfigError: a source has an unknown kind, or two methods have one name.
        """
        gate = self._services.make_gate()
        try:
            await self._services.enter(self._sources)
            _refuse_roles(self._services.definitions)
        except BaseException:
            self._services.definitions.clear()
            await self._services.leave()
            raise
        gate.dispatcher.index_methods()
        limits = self._config.limits
        settings.max_calls = limits.concurrent_calls
        settings.max_streams = min(limits.streams, limits.concurrent_calls)
        settings.client_id = os.urandom(16)
        self.is_entered = True

    def attend(self, connection: ClientConnection) -> None:
        """Serve on a new connection."""
        serve_on(connection, self._services.gate)

    async def drain(self) -> None:
        """Accept no new calls from servers, and let calls in flight finish within `Timeouts.drain`."""
        if not self.is_entered:
            return
        gate = self._services.gate
        for connection in cast(list[ClientConnection], list(gate.engines)):
            if connection.is_open:
                connection.begin_drain(_REASON_DRAIN, "the client closes")
            else:
                connection.close()
        # A handler that closes its own client must not wait for itself.
        limit = 0 if is_inside_handler(gate) else self._config.timeouts.drain
        try:
            async with time_limit(limit):
                await gate.dispatcher.wait_idle()
        except TimeoutError:
            for cut in list(gate.engines):
                cut.end_calls("the client closes, and the time for calls to finish is over (Timeouts.drain)")

    async def leave(self) -> None:
        """End the threads, and exit the sources."""
        if self.is_entered:
            self.is_entered = False
            self._services.close()
            await self._services.leave()

    def stats(self) -> dict[str, int]:
        """Return the numbers of running and of waiting calls by servers."""
        if not self.is_entered:
            return {"serving": 0, "serving_waiting": 0}
        return {
            "serving": self._services.gate.running,
            "serving_waiting": self._services.gate.admission.waiting,
        }


def client_services(
    services: Any, config: ClientConfig, interceptors: Sequence[Interceptor], numbers: WireNumbers
) -> ClientServices | None:
    """Return the services of a client; None if it only calls.

    Raises:
        ConfigError: the services are not a list, the settings keep several connections to an endpoint, or servers of
            their protocol cannot call clients.
    """
    if not isinstance(services, list | tuple):
        raise ConfigError(
            f"services is {services!r}, it must be a list of services", hint="write services=[Feed()]"
        )
    if not services:
        return None
    wire = config.wire_protocol
    if wire is not None and not client_protocol(wire).traits.serves:
        raise ConfigError(
            f"services are given, but servers of {wire} do not call their clients",
            hint="leave services= out, or call the servers by the native protocol",
        )
    return ClientServices(services, config, interceptors, numbers)


def _address_of(connection: PeerConnection) -> Address:
    """Return the address of the server that a client connected to."""
    return cast(Address, cast(ClientConnection, connection).endpoint.address)
