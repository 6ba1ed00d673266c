"""Operations on all connections of a server: draining, closing, their peers and their state."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastrpc._core.server.gate import Gate
from fastrpc.handlers.life import Life
from fastrpc.peers.peer import Peer
from fastrpc.time_limit import time_limit

if TYPE_CHECKING:
    from fastrpc.server.accepting import Accepting

__all__ = [
    "abort_connections",
    "close_connections",
    "connected_peers",
    "connection_stats",
    "drain_connections",
    "move_connection",
    "outlast",
]

logger = logging.getLogger("fastrpc.server")

#: The GOAWAY reason of a drain (PROTOCOL.md 3.4).
_REASON_DRAIN = 0

#: The GOAWAY reason that asks the client to replace the connection.
_REASON_MAX_AGE = 1

#: The most connections that are compared to choose which one is moved.
_MOST_COMPARED = 64

#: The most seconds until a connection that was accepted just before a drain has to send its first bytes.
_FIRST_BYTES_SECONDS = 1.0

#: Seconds between two searches for connections that have not been notified of a drain.
_SEARCH_SECONDS = 0.02


class _Drain:
    """Drains all connections, including connections that get their session during the drain."""

    def __init__(self, gate: Gate, accepting: "Accepting") -> None:
        self._gate = gate
        self._accepting = accepting
        self._told: set[Any] = set()
        self._searches_at = asyncio.get_running_loop().time()
        self._shuts_at = self._searches_at + _FIRST_BYTES_SECONDS

    def reaches_all(self) -> bool:
        """Drain new connections; return whether no further connections can arrive. Call this repeatedly."""
        now = asyncio.get_running_loop().time()
        if now >= self._searches_at:
            self._searches_at = now + _SEARCH_SECONDS
            new = [engine for engine in self._gate.engines if engine not in self._told]
            self._told.update(new)
            for engine in new:
                engine.begin_drain(_REASON_DRAIN, "the server drains")
            if self._accepting.undecided and now >= self._shuts_at:
                self._accepting.shut()
        return not self._accepting.undecided


async def drain_connections(gate: Gate, accepting: "Accepting", life: Life, seconds: float | None) -> bool:
    """Tell every peer to send no further calls, and wait for running calls; after `seconds`, end the rest.

    Connections that were accepted just before the drain have one second for their first bytes, because a request may be
    on its way.

    Returns:
        True if every call ended by itself.
    """
    drain = _Drain(gate, accepting)
    drain.reaches_all()
    try:
        async with time_limit(seconds):
            await gate.dispatcher.wait_idle(drain.reaches_all)
            # Wait for this last, because calls may open further connections.
            await accepting.wait_kept()
        return True
    except TimeoutError:
        # Connections without a call do not make a drain unclean, even if they have not sent their first bytes.
        accepting.shut()
        if gate.dispatcher.is_at_rest():
            return True
        life.cut_off(gate.running, seconds)
        for engine in list(gate.engines):
            engine.end_calls("the server stops, and the time for calls to finish is over (Timeouts.drain)")
        return False


def move_connection(gate: Gate, moved: set[Any]) -> None:
    """Ask the client of the connection with the fewest calls to reconnect.

    Args:
        moved: the connections that have already moved. The chosen connection is added.
    """
    found = itertools.islice((one for one in gate.engines if one not in moved), _MOST_COMPARED)
    engine = min(found, key=lambda one: len(one.connection.running), default=None)
    if engine is not None:
        moved.add(engine)
        engine.begin_drain(_REASON_MAX_AGE, "the connection moves to another worker process")


async def close_connections(gate: Gate, linger: float | None) -> None:
    """Close every connection, and wait until all are closed: at most one second more than the time to linger."""
    for engine in list(gate.engines):
        engine.close(_REASON_DRAIN, "the server closes")
    with contextlib.suppress(TimeoutError):
        async with time_limit((linger or 0.0) + 1.0):
            await gate.dispatcher.wait_closed()


def abort_connections(gate: Gate) -> None:
    """Abort every open connection, even if aborting another connection fails."""
    for engine in list(gate.engines):
        try:
            engine.abort()
        except Exception as error:
            logger.error("fastrpc: %r cannot be aborted", engine, exc_info=error)


async def outlast(work: "asyncio.Task[None]", hurry: Callable[[], None]) -> None:
    """Wait for the end of a task, even if the waiting task is cancelled; then raise the cancellation.

    Args:
        hurry: is called at each cancellation of the waiting task.
    """
    cancelled = None
    try:
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                cancelled = error
                hurry()
        if cancelled is not None:
            raise cancelled from (None if work.cancelled() else work.exception())
        work.result()
    finally:
        # Break the cycle: the traceback of the cancellation refers to this frame.
        del cancelled


def connected_peers(gate: Gate | None) -> list[Peer]:
    """Return the peers of the connections that are open now; an empty list before the server starts."""
    if gate is None:
        return []
    engines = [engine for engine in gate.engines if getattr(engine, "is_open", True)]
    return [peer for engine in engines if (peer := engine.connection.describe_peer()) is not None]


def connection_stats(gate: Gate | None) -> dict[str, Any]:
    """Return gauges and totals of all connections as plain data; zeros before the server starts."""
    parts = [] if gate is None else [engine.stats() for engine in list(gate.engines)]
    return {
        "live": {
            "connections": len(parts),
            "calls": 0 if gate is None else gate.running,
            "waiting": 0 if gate is None else gate.admission.waiting,
            "calling": sum(part.get("calling", 0) for part in parts),
        },
        "buffered": sum(part["buffered"] for part in parts),
        "credit": [part["credit"] for part in parts],
        "totals": {} if gate is None else gate.totals(),
    }
