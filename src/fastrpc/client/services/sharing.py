"""The connections that the clients of several services share: each address has as many connections as with one client.

A shared connection reports to `SharedConnections`, which passes each report on to the subchannels that use it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.renewal import Renewals
from fastrpc.client.services.places import SharedAddresses, failure_of
from fastrpc.config import ClientConfig
from fastrpc.errors import FastRPCError
from fastrpc.protocols.base import ClientEngine

__all__ = ["SharedConnections"]


def _passed_on(report: str) -> Any:
    """Return a method that passes a report of a connection on to each subchannel that uses the connection."""

    def pass_on(shared: "SharedConnections", connection: ClientEngine) -> None:
        users = list(shared.places.users(connection))
        if users and report == "connection_ready":
            shared.places.at(connection.endpoint).answered()
        for user in users:
            getattr(user, report)(connection)

    return pass_on


class SharedConnections:
    """The connections of several clients of one loop, and the owner to which they report."""

    #: The loop of all clients.
    loop: asyncio.AbstractEventLoop

    def __init__(self, config: ClientConfig) -> None:
        #: The renewals of the credentials of all connections.
        self.renewals = Renewals()
        #: The addresses of all clients.
        self.places: SharedAddresses[ClientEngine] = SharedAddresses(config, asyncio.Lock)
        #: The instant of each connection's dial.
        self.made_at: dict[ClientEngine, float] = {}
        self.connection_accepted, self.connection_refused = self.renewals.accepted, self.renewals.refused

    # The interface for subchannels

    async def connection(
        self,
        subchannel: EndpointPlan,
        make: Callable[["SharedConnections"], Awaitable[ClientEngine]],
    ) -> ClientEngine:
        """Return a connection that a subchannel does not use yet, dialled if necessary.

        Args:
            make: a function that dials a connection, which reports to this object.

        Raises:
            FastRPCError: the dial failed, or an earlier dial failed and the next is not due.
        """
        while True:
            place = self.places.join(subchannel)
            async with place.dialing:
                if self.places.join(subchannel) is not place:
                    # The record of the endpoint has another protocol now.
                    continue
                if (found := place.take(subchannel, self.loop.time())) is not None:
                    return found
                try:
                    return await make(self)
                except FastRPCError as error:
                    place.failed(error, self.loop.time())
                    raise

    def made(self, subchannel: EndpointPlan, connection: ClientEngine) -> None:
        """Add the connection that a subchannel has made."""
        self.places.at(connection.endpoint).add(connection, subchannel)
        self.made_at[connection] = self.loop.time()

    # Reports of connections

    connection_ready = _passed_on("connection_ready")
    connection_aged = _passed_on("connection_aged")
    connection_crowded = _passed_on("connection_crowded")
    connection_draining = _passed_on("connection_draining")
    connection_used = _passed_on("connection_used")

    def connection_lost(self, connection: ClientEngine, error: BaseException | None) -> None:
        """Pass on the loss of a connection, and forget it."""
        self.renewals.end(connection)
        self.made_at.pop(connection, None)
        if (place := self.places.find(connection.endpoint)) is None:
            return
        if users := place.connections.pop(connection, []):
            reason, was_ready = connection.closed_text or error, connection.is_ready
            ended = failure_of(connection.endpoint, connection, reason, was_ready=was_ready)
            place.failed(ended, self.loop.time())
        self.places.drop(place)
        for user in users:
            user.connection_lost(connection, error)
