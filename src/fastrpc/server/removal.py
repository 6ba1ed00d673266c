"""The running calls of a service that was removed from a server."""

import asyncio
import contextlib
import logging
from collections.abc import Set

from fastrpc._core.calls.call import MethodRoute, current_call
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall

__all__ = ["end_calls"]

logger = logging.getLogger("fastrpc.server")

#: Seconds for handlers to end after their calls were cut off.
_CLEANUP_SECONDS = 1.0


async def end_calls(gate: Gate, routes: Set[MethodRoute], seconds: float | None) -> bool:
    """Wait for the calls of withdrawn methods; cut off those that run after `seconds`, or when this is cancelled.

    A handler that removes its own service does not wait for itself.

    Returns:
        Whether every call ended by itself.
    """
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await gate.dispatcher.wait_until(lambda: not _running(gate, routes))
    finally:
        is_clean = not _cut_off(gate, routes)
    if not is_clean:
        try:
            async with asyncio.timeout(_CLEANUP_SECONDS):
                await gate.dispatcher.wait_until(lambda: not _running(gate, routes))
        except TimeoutError:
            methods = ", ".join(sorted({call.method for call in _running(gate, routes)}))
            logger.warning("handlers of a removed service still run: %s", methods)
    return is_clean


def _running(gate: Gate, routes: Set[MethodRoute]) -> set[ServerCall]:
    """Return the calls of these methods that run or wait for their start, without that of this handler."""
    try:
        own = current_call()
    except LookupError:
        own = None
    connections = [engine.connection for engine in list(gate.engines)]
    calls = (call for each in connections for call in (*each.running, *each.waiting))
    return {call for call in calls if call.route in routes and call is not own}


def _cut_off(gate: Gate, routes: Set[MethodRoute]) -> int:
    """Answer the calls that still run, and stop their handlers; return how many there were."""
    calls = _running(gate, routes)
    if calls:
        logger.warning("%d calls of a removed service were cut off", len(calls))
    for engine in list(gate.engines):
        text = "the service was removed, and the time for calls to finish is over"
        gate.end_calls(engine.connection, text, calls)
    return len(calls)
