"""End the running calls of a service that was removed from a server."""

import contextlib
import logging
from collections.abc import Callable, Set

from fastrpc._core.calls.call import Call, MethodRoute, current_call
from fastrpc._core.server.gate import Gate
from fastrpc._core.server.served_call import ServerCall
from fastrpc.protocols.base import ServerEngine
from fastrpc.time_limit import time_limit

__all__ = ["end_calls"]

logger = logging.getLogger("fastrpc.server")

#: The most seconds for handlers to end after their calls were cancelled.
_CLEANUP_SECONDS = 1.0


async def end_calls(
    gate: Gate, routes: Set[MethodRoute], seconds: float | None, is_stopped: Callable[[], bool]
) -> bool:
    """Wait for the calls of withdrawn methods. Cancel them after `seconds`, or if this coroutine is cancelled.

    A handler that removes its own service does not wait for itself.

    Args:
        is_stopped: returns whether the server itself has cancelled its calls, for example because it closes.

    Returns:
        True if every call ended by itself.
    """
    running = _RunningCalls(gate, routes)
    is_clean = not running.calls()
    try:
        is_clean = is_clean or (await running.end_within(seconds) and not is_stopped())
    finally:
        # Do this even after a cancellation, because the context managers around the service exit next.
        if not is_clean and running.cut_off() and not await running.end_within(_CLEANUP_SECONDS):
            methods = ", ".join(sorted({call.method for call in running.calls()}))
            logger.warning("handlers of a removed service still run: %s", methods)
    return is_clean


class _RunningCalls:
    """The running and waiting calls of withdrawn methods, without the call of the current handler.

    Each time a call ends, only connections that still have such a call are checked again, because no further call of
    these methods starts.
    """

    def __init__(self, gate: Gate, routes: Set[MethodRoute]) -> None:
        self._gate = gate
        self._routes = routes
        try:
            self._own: Call | None = current_call()
        except LookupError:
            self._own = None
        self._engines = list(gate.engines)

    def calls(self) -> set[ServerCall]:
        """Return the calls that have not ended."""
        found = {engine: self._of(engine) for engine in self._engines}
        self._engines = [engine for engine, calls in found.items() if calls]
        return set().union(*found.values())

    async def end_within(self, seconds: float | None) -> bool:
        """Wait until all calls have ended, at most `seconds`; return whether they have."""
        with contextlib.suppress(TimeoutError):
            async with time_limit(seconds):
                await self._gate.dispatcher.wait_until(lambda: not self.calls())
        return not self.calls()

    def cut_off(self) -> int:
        """Answer the calls with an error and stop their handlers; return the number of calls."""
        calls = self.calls()
        if calls:
            logger.warning("%d calls of a removed service were cut off", len(calls))
        text = "the service was removed, and the time for calls to finish is over"
        # Calls of lost connections have already been stopped.
        for engine in self._gate.engines.intersection(self._engines):
            self._gate.end_calls(engine.connection, text, calls)
        return len(calls)

    def _of(self, engine: ServerEngine) -> list[ServerCall]:
        connection = engine.connection
        calls = (*connection.running, *connection.waiting)
        return [call for call in calls if call.route in self._routes and call is not self._own]
