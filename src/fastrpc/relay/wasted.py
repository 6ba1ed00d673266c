"""Addresses whose connections to a relay are never used.

An opening costs a transport, a timer and a place among the openings; closing a connection on accept costs none of
these. So a flood from one address is closed on accept once it has used up its openings of a second.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from fastrpc.networks import network_name, packed_address

__all__ = ["WastedOpenings"]

#: Seconds for which openings are counted.
_COUNTED_SECONDS: Final = 1.0
#: The most addresses whose network is cached, since the same address occurs many times in a flood.
_MOST_KNOWN: Final = 1_024


@lru_cache(_MOST_KNOWN)
def _network(host: str) -> bytes:
    return network_name(packed_address(host))


class WastedOpenings:
    """Counts the openings of each caller in the current second that have not named a target.

    Args:
        most: the openings of one caller: an IPv4 address, or the /64 of an IPv6 address.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._counts: Counter[bytes] = Counter()
        self._ends_at = float("-inf")

    def admits(self, host: str) -> bool:
        """Return whether an address may open one more connection."""
        return self._counts[_network(host)] < self._most or self._is_over()

    def add(self, caller: bytes) -> float:
        """Count an opening of a caller; return the end of the second in which it counts."""
        self._is_over()
        self._counts[caller] += 1
        return self._ends_at

    def remove(self, caller: bytes, counted_in: float) -> None:
        """Forget an opening that named its target, in the second that ends at `counted_in`."""
        if counted_in == self._ends_at:
            self._counts[caller] -= 1

    def _is_over(self) -> bool:
        """Return whether the last second has passed; then begin the next one."""
        now = self._clock()
        if now < self._ends_at:
            return False
        self._counts.clear()
        self._ends_at = now + _COUNTED_SECONDS
        return True
