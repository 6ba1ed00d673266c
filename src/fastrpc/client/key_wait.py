"""The wait of one call for the endpoint of its key. It does no I/O, and is the same in both clients.

A selector that places keys picks from the list of endpoints, connected or not. So a call's endpoint may not have been
dialled yet, or may just have lost its connection. The call waits for one dial. It uses the key's next endpoint when the
dial fails or the wait is over: after `Timeouts.connect` or half of the call's remaining time, whichever is shorter.

Calls of a client that wait for an endpoint share the time for one dial, counted from the first of these calls. So a
server that accepts connections and stays silent delays only the first call.

On a loop a call gets this time once for all endpoints whose dial has begun, since these are dialled at the same time.
An endpoint gets a separate time if its dial has not begun, as in a thread, or if no endpoint is connected.
"""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastrpc.client.endpoint_plan import EndpointPlan

__all__ = ["KeyWait"]


class KeyWait:
    """The time that one call waits for endpoints of its key.

    Args:
        connect: `Timeouts.connect`.
    """

    def __init__(self, connect: float | None) -> None:
        self._connect = math.inf if connect is None else connect
        self._seconds = 0.0
        self._ends: float | None = None

    def ends(self, endpoint: "EndpointPlan", now: float, seconds_left: float | None) -> float | None:
        """Return the instant until which the call may wait for this endpoint; None if it may not.

        Args:
            now: the current instant.
            seconds_left: time until the deadline of the call; None without a deadline.
        """
        if not endpoint.is_expected:
            return None
        seconds, ends = self._seconds, self._ends
        if ends is None or not _has_begun(endpoint):
            seconds = self._length(seconds_left)
            ends = now + seconds
        if endpoint.awaited_since is not None:
            ends = min(ends, endpoint.awaited_since + seconds)
        return ends if ends > now else None

    def begin(self, endpoint: "EndpointPlan", now: float, seconds_left: float | None) -> None:
        """Begin to wait for an endpoint. Further endpoints whose dial has begun share the time of the first wait."""
        if self._ends is None or not _has_begun(endpoint):
            self._seconds = self._length(seconds_left)
            self._ends = now + self._seconds
        if endpoint.awaited_since is None:
            endpoint.awaited_since = now

    def renew(self) -> None:
        """Give the next endpoint the full time, since no connected endpoint could take the call instead."""
        self._ends = None

    def _length(self, seconds_left: float | None) -> float:
        return self._connect if seconds_left is None else min(self._connect, seconds_left / 2)


def _has_begun(endpoint: "EndpointPlan") -> bool:
    """Return whether a dial to the endpoint is in progress, or the endpoint has a connection."""
    return endpoint.is_dialing or bool(endpoint.connections)
