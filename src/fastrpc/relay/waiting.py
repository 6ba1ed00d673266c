"""The callers of one name that wait for a data connection.

::

    full: one caller gives way             of the address with most callers ► with most calls ► the oldest caller
    a data connection: one caller is next  of the address with fewest calls ► the oldest caller
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from fastrpc.relay.refusals import RefusalReason, RelayRefusedError

__all__ = ["MOST_WAITING", "WaitingCaller", "WaitingCallers"]

#: The most callers of a name that wait. An address gets fewer places while callers from other addresses want places.
MOST_WAITING: Final = 256
#: Seconds for which the calls of an address count; a call that waits counts as long as it waits.
_COUNTED_SECONDS: Final = 5.0
#: The most calls that are counted; another call replaces the oldest. So a flood counts as long as it lasts.
_MOST_COUNTED: Final = 4_096


class WaitingCaller(Protocol):
    """A caller whose name was read."""

    @property
    def peer_name(self) -> Any:
        """The caller's address, as sockets name it."""

    @property
    def network(self) -> bytes:
        """The key that distinguishes callers: an address, or the /64 of an IPv6 address."""

    @property
    def first(self) -> bytes:
        """The caller's bytes so far."""

    def leave(self) -> asyncio.Transport:
        """Hand the caller's connection over to a pair."""

    def refuse(self, reason: RefusalReason) -> None:
        """Close the caller's connection."""


class WaitingCallers:
    """Callers in the order of their arrival; each address has its share of the places."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[WaitingCaller, None] = {}
        # `_calls`: the calls of the last seconds, the oldest first. `_calls_of`: their number by address.
        self._calls: deque[tuple[float, bytes]] = deque()
        self._calls_of: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[WaitingCaller]:
        return iter(self._waiting)

    def note_call(self, network: bytes) -> None:
        """Count a call of an address, whether it waits or not."""
        now = self._clock()
        self._calls.append((now, network))
        self._calls_of[network] += 1
        while len(self._calls) > _MOST_COUNTED or self._calls[0][0] <= now - _COUNTED_SECONDS:
            _, old = self._calls.popleft()
            self._calls_of[old] -= 1
            if not self._calls_of[old]:
                del self._calls_of[old]

    def add(self, caller: WaitingCaller) -> None:
        """Let a caller wait; if all places are taken, one caller gives way.

        Raises:
            RelayRefusedError: this caller has to give way: its address has the most callers or, among addresses with as
                many, the most calls.
        """
        if len(self._waiting) >= MOST_WAITING:
            self._make_room(caller)
        self._waiting[caller] = None

    def discard(self, caller: WaitingCaller) -> None:
        """Forget a caller that has disconnected."""
        self._waiting.pop(caller, None)

    def take(self) -> WaitingCaller | None:
        """Return the next caller and remove it, or return None."""
        if not self._waiting:
            return None
        found = min(self._waiting, key=lambda caller: self._calls_of[caller.network])
        del self._waiting[found]
        return found

    def take_all(self) -> list[WaitingCaller]:
        """Return all callers and remove them."""
        found = list(self._waiting)
        self._waiting.clear()
        return found

    def _make_room(self, caller: WaitingCaller) -> None:
        waiting = [*self._waiting, caller]
        number_of = Counter(one.network for one in waiting)
        # `max` returns the first of several equal callers, which is the oldest.
        found = max(waiting, key=lambda one: (number_of[one.network], self._calls_of[one.network]))
        is_one_of_many = number_of[found.network] > 1
        reason = RefusalReason.CALLER_FULL if is_one_of_many else RefusalReason.SLOW
        if found is caller:
            raise RelayRefusedError(reason)
        found.refuse(reason)
