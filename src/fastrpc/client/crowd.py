"""Crowds: all connections of an endpoint have more calls than they serve well, so one more connection helps.

A connection reports when its calls in flight become a crowd; calls before that cost nothing. From then on a timer
checks all connections of the endpoint, until one has fewer calls or the time is over. A client without a crowd has no
timer.
"""

import asyncio
import contextvars
from collections.abc import Iterable, Sequence
from typing import Protocol

from fastrpc.client.endpoint_plan import CROWD_CALLS, CROWD_SECONDS
from fastrpc.protocols.base import ClientEngine

__all__ = ["Crowd", "Widening"]

#: The number of checks within the time for which all connections have to be crowded.
LOOKS = 5


class Widening(Protocol):
    """The part of an endpoint that may get one more connection."""

    @property
    def may_widen(self) -> bool:
        """Whether one more connection is allowed once all are crowded."""

    @property
    def usable_connections(self) -> Sequence[ClientEngine]:
        """The connections that accept calls."""

    def widen(self) -> None:
        """Allow one more connection."""

    def start(self) -> None:
        """Dial in the background if a connection is missing."""


class Crowd:
    """Watches the connections of one endpoint while another connection is allowed."""

    def __init__(self, subchannel: Widening) -> None:
        self._subchannel = subchannel
        self._timer: asyncio.Handle | None = None
        self._looks = 0

    def await_at(self, connections: Iterable[ClientEngine]) -> None:
        """Make these connections report when they are crowded, if the endpoint may then get another connection."""
        if self._subchannel.may_widen:
            for connection in connections:
                connection.await_crowd(CROWD_CALLS)

    def look_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the checks, as a connection is crowded."""
        if self._timer is None:
            self._looks = 0
            self._look_later(loop)

    def end(self) -> None:
        """End the checks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        # The timer gets a new context: it must not keep the context of the first crowded call alive.
        self._timer = loop.call_later(CROWD_SECONDS / LOOKS, self._due, loop, context=contextvars.Context())

    def _due(self, loop: asyncio.AbstractEventLoop) -> None:
        # The check waits until callers whose answers were read in this turn have made their next calls: a loop that is
        # late reads many answers together.
        self._timer = loop.call_soon(self._look, loop, context=contextvars.Context())

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        connections = self._subchannel.usable_connections
        self._looks += 1
        is_crowded = bool(connections) and all(
            connection.calls_in_flight > CROWD_CALLS for connection in connections
        )
        if is_crowded and self._looks < LOOKS:
            self._look_later(loop)
            return
        if is_crowded and self._subchannel.may_widen:
            self._subchannel.widen()
            self._subchannel.start()
        self.await_at(connections)
