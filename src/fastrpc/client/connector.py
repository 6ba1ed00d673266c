"""The dials of an asynchronous client: credentials, transport, and the engine of the connection."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fastrpc._core.base.histogram import CallTotals
from fastrpc.client.credentials import ClientCredentials
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.target import Target
from fastrpc.client.wire import protocol_of
from fastrpc.config import ClientConfig
from fastrpc.errors import ConfigError, ConnectError
from fastrpc.protocols.base import ClientEngine, ClientParts, Protocol, client_engine, client_stream
from fastrpc.time_limit import time_limit
from fastrpc.transports.base import dial_options, transport_for

if TYPE_CHECKING:
    from fastrpc.client.serving import ClientServices

__all__ = ["Connector"]


@dataclass(eq=False, slots=True)
class Connector:
    """Makes the connections of one client."""

    target: Target
    config: ClientConfig
    #: The settings that each connection announces.
    settings: Any
    #: The services of the client; None if it only calls.
    serving: "ClientServices | None"
    #: The totals of the client, in which each new connection is counted.
    totals: CallTotals
    #: The credentials that connections show to servers.
    credentials: ClientCredentials | None = None
    #: The time for which the loop polls after the last activity; shorter than the setting if polling cannot help.
    spin_microseconds: int = 0

    async def connect(
        self, plan: EndpointPlan, owner: Any, made: Callable[[ClientEngine], None]
    ) -> ClientEngine:
        """Return a new connection to an endpoint.

        Args:
            owner: gets the reports of the connection, and has the `renewals` of its credential.
            made: called with the connection before it may report.

        Raises:
            FastRPCError: the dial failed.
        """
        endpoint, config = plan.endpoint, self.config
        address = endpoint.address
        protocol = protocol_of(endpoint, config)
        if self.serving is not None and not protocol.traits.serves:
            raise ConfigError(
                f"{address} is called by {protocol.name}, and servers of {protocol.name} do not call their clients",
                hint="leave out services=, or call it by the native protocol",
            )
        credentials, has_token = self.credentials, False
        try:
            async with time_limit(config.timeouts.connect):
                token = None if credentials is None else await credentials.current(address)
                has_token = True
                wanted = _Wanted(plan, owner, made, token, protocol)
                _, stream = await transport_for(address).dial(
                    address,
                    partial(self._new_stream, wanted, asyncio.get_running_loop()),
                    dial_options(config, protocol.agreed[0], self.target.tls_for(endpoint, config.tls)),
                )
        except TimeoutError:
            if not has_token:
                raise ConnectError(
                    f"no credentials for {address} within {config.timeouts.connect:g} s",
                    hint="keep the token in the function given as credentials, or raise Timeouts.connect",
                ) from None
            raise ConnectError(
                f"no connection to {address} within {config.timeouts.connect:g} s",
                hint="check the address, or raise Timeouts.connect if the network is slow",
            ) from None
        self.totals.connections += 1
        return cast(ClientEngine, stream.engine)

    def _new_stream(self, wanted: "_Wanted", loop: asyncio.AbstractEventLoop) -> Any:
        config, plan = self.config, wanted.plan
        parts = ClientParts(
            protocol=wanted.protocol,
            endpoint=plan.endpoint,
            config=config,
            timeouts=replace(config.timeouts, idle=None) if plan.is_warm else config.timeouts,
            settings=self.settings.copy(),
            owner=wanted.owner,
            loop=loop,
            credential=wanted.credential,
            renews=self.credentials is not None and self.credentials.can_renew,
            serves=self.serving is not None,
            ping_factor=plan.ping_factor,
        )
        connection = client_engine(parts)
        if self.serving is not None:
            self.serving.attend(connection)
        wanted.owner.renewals.begin(connection, self.credentials, wanted.credential, config.backoff, loop)
        wanted.made(connection)
        return client_stream(parts, connection, self.spin_microseconds)


class _Wanted(NamedTuple):
    """The connection that a dial is to make."""

    plan: EndpointPlan
    owner: Any
    made: Callable[[ClientEngine], None]
    credential: bytes | None
    protocol: Protocol
