"""Query a registry for many services in turn, in one thread."""

import heapq
import itertools
import queue
import time
from collections.abc import Callable

from fastrpc.registries.base.accepting import ListAcceptor
from fastrpc.registries.base.backend import Backend, BesideBackend, Lookup
from fastrpc.registries.base.poller import Poller, WakeFlag

__all__ = ["TURN_SECONDS", "TurnPoller"]

#: Seconds between two queries for the same service. With the time of the queries themselves, a list is at most five
#: seconds old.
TURN_SECONDS = 4.5

#: Seconds for which the thread sleeps while it follows no service.
_IDLE_SECONDS = 60.0


class TurnPoller:
    """The poller of many services, driven step by step by one thread. Any thread may add and drop services.

    Args:
        clock: returns monotonic time in seconds.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float] = time.monotonic) -> None:
        self._backend = backend
        self._clock = clock
        # Services to follow (with a poller) or to drop (with None). Any thread writes here, even in a finalizer.
        self._orders: queue.SimpleQueue[tuple[ListAcceptor, Poller | None]] = queue.SimpleQueue()
        self._woken, self._stop = WakeFlag(), WakeFlag()
        # `_first`: the lookup whose connection further lookups share if possible. `_asked`: the lookup that runs a
        # query now.
        self._first: Lookup | None = None
        self._asked: Lookup | None = None
        # Only the polling thread uses the pollers. `_due` is a heap by the time of the next query; `_numbers` orders
        # entries with the same time.
        self._pollers: dict[ListAcceptor, Poller] = {}
        self._due: list[tuple[float, int, ListAcceptor, Poller]] = []
        self._numbers = itertools.count()

    def add(self, acceptor: ListAcceptor) -> None:
        """Follow a service from now on.

        Raises:
            ConfigError: this kind of registry cannot look the service up.
        """
        lookup = self._opened(acceptor.service)
        # No query waits for a change: that would delay the other services.
        self._orders.put((acceptor, Poller(acceptor, lookup, longest_wait=0.0)))
        self._woken.set()

    def drop(self, acceptor: ListAcceptor) -> None:
        """Stop following a service, unless another acceptor follows it now."""
        self._orders.put((acceptor, None))

    def stop(self) -> None:
        """End the thread, as soon as possible."""
        self._stop.set()
        self._woken.set()
        for lookup in (self._first, self._asked):
            if lookup is not None:
                lookup.close()

    def run(self) -> None:
        """Run until stopped; the body of the polling thread."""
        while not self._stop.is_set():
            pause = self.step()
            self._woken.wait(pause)
        for poller in self._pollers.values():
            poller.lookup.close()

    def step(self) -> float:
        """Query for one service at most; return the seconds to pause before the next step."""
        self._woken.clear()
        self._take_orders()
        if not self._due:
            return _IDLE_SECONDS
        due, _, acceptor, poller = self._due[0]
        now = self._clock()
        if due > now:
            return due - now
        if self._pollers.get(acceptor) is not poller:
            heapq.heappop(self._due)
            return 0.0
        self._asked = poller.lookup
        pause = poller.step(self._stop)
        self._asked = None
        if not poller.has_doubts:
            pause = max(pause, TURN_SECONDS)
        heapq.heapreplace(self._due, (self._clock() + pause, next(self._numbers), acceptor, poller))
        return 0.0

    def _opened(self, service: str) -> Lookup:
        if self._first is not None and isinstance(self._backend, BesideBackend):
            return self._backend.open_beside(service, self._first)
        lookup = self._backend.open_lookup(service)
        if isinstance(self._backend, BesideBackend):
            self._first = lookup
        return lookup

    def _take_orders(self) -> None:
        while not self._orders.empty():
            acceptor, poller = self._orders.get()
            before = self._pollers.pop(acceptor, None)
            if before is not None and not isinstance(self._backend, BesideBackend):
                before.lookup.close()
            if poller is not None:
                self._pollers[acceptor] = poller
                heapq.heappush(self._due, (self._clock(), next(self._numbers), acceptor, poller))
