"""Follow many services of a registry by one lookup, in one thread."""

import heapq
import math
import queue
import random
import time
from collections.abc import Callable
from dataclasses import replace

from fastrpc.config.delays import Delays
from fastrpc.errors import StoreError
from fastrpc.registries.base.accepting import ListAcceptor, Outage
from fastrpc.registries.base.backend import Listing, SharedLookup
from fastrpc.registries.base.poller import (
    BACKOFF,
    IDLE_BACKOFF,
    LEAST_PAUSE_SECONDS,
    MOST_PAUSE_SECONDS,
    WAIT_SECONDS,
    WakeFlag,
    rest_after,
)
from fastrpc.status import Status

__all__ = ["ALONE_SECONDS", "PART_LISTS", "Rereads", "SharedPoller", "SingleLookup"]

#: Seconds until a list is read again after its read has failed. The pause is long because a list may have megabytes.
ALONE_SECONDS = 5.0

#: The most lists that one query reads because of their age. The more lists, the longer the query, and messages about
#: changes have to wait for its end.
PART_LISTS = 64

_AT_ONCE = float("-inf")


class SharedPoller:
    """The poller of many services, driven step by step by one thread. Any thread may add and drop services.

    Args:
        name: the name of the registry, in messages.
        refused: is called if services have to be queried one by one. The caller is the polling thread, which then ends.
        clock: returns monotonic time in seconds.
        work_clock: returns the processor time of this thread in seconds.
        uniform: returns a random number between two numbers.
    """

    def __init__(
        self,
        name: str,
        lookup: SharedLookup,
        refused: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time.thread_time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._lookup, self._refused = lookup, refused
        self._clock, self._work_clock, self._uniform = clock, work_clock, uniform
        self._delays, self._idle_delays = Delays(BACKOFF, uniform), Delays(IDLE_BACKOFF, uniform)
        self._outage = Outage(name, clock)
        # Services to follow (True) or to drop (False). Any thread writes here, even in a finalizer.
        self._orders: queue.SimpleQueue[tuple[ListAcceptor, bool]] = queue.SimpleQueue()
        self._woken = WakeFlag()
        self._is_stopped = False
        # Used by the polling thread only. `_look_again` has the time at which a list must be queried again.
        self._acceptors: dict[str, ListAcceptor] = {}
        self._look_again: dict[str, float] = {}
        self._has_changed = False
        # The services that the lookup knows.
        self._followed: frozenset[str] = frozenset()

    def add(self, acceptor: ListAcceptor) -> None:
        """Follow a service from now on."""
        self._orders.put((acceptor, True))
        self._woken.set()
        self._lookup.wake()

    def drop(self, acceptor: ListAcceptor) -> None:
        """Stop following a service, unless another acceptor follows it now."""
        self._orders.put((acceptor, False))

    def stop(self) -> None:
        """End the thread, as soon as possible."""
        self._is_stopped = True
        self._woken.set()
        self._lookup.close()

    def run(self) -> None:
        """Run until stopped; the body of the polling thread."""
        while not self._is_stopped:
            pause = self.step()
            self._woken.wait(pause)

    def step(self) -> float:
        """Query once; return the seconds to pause before the next step."""
        asked, worked = self._clock(), self._work_clock()
        self._woken.clear()
        try:
            self._take_orders(asked)
            if not self._acceptors:
                return WAIT_SECONDS
            listings = self._fetch(asked)
            if self._is_stopped:
                return 0.0
            self._delays.reset()
            self._outage.end()
            has_changed = [self._accept(service, listing) for service, listing in listings.items()]
        except Exception as error:
            return 0.0 if self._is_stopped else self._note_failure(error)
        held = max((one.pause_seconds for one in listings.values() if isinstance(one, Listing)), default=0.0)
        return max(self._pause(any(has_changed), asked, held), rest_after(self._work_clock() - worked))

    def _take_orders(self, now: float) -> None:
        while not self._orders.empty():
            acceptor, begins = self._orders.get()
            service = acceptor.service
            if begins:
                acceptor.begin()
                self._acceptors[service] = acceptor
                if service in self._followed:
                    # The previous acceptor received the list, so the lookup would not return it to this one.
                    self._look_again[service] = now
            elif self._acceptors.get(service) is acceptor:
                del self._acceptors[service]
                self._look_again.pop(service, None)
            self._has_changed = True

    def _fetch(self, now: float) -> dict[str, Listing | StoreError]:
        again = frozenset(service for service, due in self._look_again.items() if due <= now)
        if self._has_changed or again:
            self._followed, self._has_changed = frozenset(self._acceptors), False
            self._lookup.follow(self._followed, again)
        # If no list must be queried again, the wait is exactly `WAIT_SECONDS`. A rounded sum would differ each time,
        # and a lookup opens a new stream when the wait differs.
        due = min(self._look_again.values(), default=math.inf)
        return dict(self._lookup.fetch(max(0.0, min(WAIT_SECONDS, due - now))))

    def _accept(self, service: str, listing: Listing | StoreError) -> bool:
        """Handle a list, or the error of reading it; return whether the list in use changed."""
        acceptor = self._acceptors.get(service)
        if acceptor is None:
            return False
        self._look_again.pop(service, None)
        if isinstance(listing, StoreError):
            acceptor.fail_alone(listing)
            self._look_again[service] = self._clock() + ALONE_SECONDS
            return False
        accepted = acceptor.accept(listing)
        if accepted.look_again is not None:
            self._look_again[service] = self._clock() + accepted.look_again
        return accepted.has_changed

    def _pause(self, has_changed: bool, asked: float, held: float) -> float:
        now = self._clock()
        if held:
            pause = held
        elif not has_changed and now - asked < LEAST_PAUSE_SECONDS:
            # The registry answered immediately, without a relevant change.
            pause = self._idle_delays.take()
        else:
            self._idle_delays.reset()
            pause = self._uniform(LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS)
        return max(0.0, min([pause, *(due - now for due in self._look_again.values())]))

    def _note_failure(self, error: Exception) -> float:
        acceptors = list(self._acceptors.values())
        status = error.status if isinstance(error, StoreError) else None
        if status is Status.UNIMPLEMENTED or (status is Status.PERMISSION_DENIED and len(acceptors) > 1):
            self._is_stopped = True
            self._lookup.close()
            self._refused()
            return 0.0
        for acceptor in acceptors:
            acceptor.fail(error)
        # After an error the next `fetch` returns all lists.
        self._look_again.clear()
        self._outage.begin(error, f"the last lists of {len(acceptors)} services are used")
        return self._delays.take()


class SingleLookup:
    """A `Lookup` of one service over a `SharedLookup`."""

    def __init__(self, shared: SharedLookup, service: str) -> None:
        self._shared, self._services = shared, frozenset([service])
        self._listing = Listing(())

    def fetch(self, wait_seconds: float) -> Listing:
        self._shared.follow(self._services, frozenset() if wait_seconds > 0 else self._services)
        found = next(iter(self._shared.fetch(wait_seconds).values()), None)
        if isinstance(found, StoreError):
            raise found
        if found is None:
            return replace(
                self._listing, pause_seconds=0.0, is_restart=False, was_away=False, is_repeated=True
            )
        self._listing = found
        return found

    def close(self) -> None:
        self._shared.close()


class Rereads:
    """Schedules when each list has to be read.

    Args:
        longest_seconds: the age at which a list is read again, because a message about a change may have been lost.
        clock: returns monotonic time in seconds.
    """

    def __init__(self, longest_seconds: float, clock: Callable[[], float]) -> None:
        self._longest_seconds, self._clock = longest_seconds, clock
        self._due: dict[str, float] = {}

    def follow(self, services: frozenset[str]) -> None:
        """Schedule these lists and no others. New lists are due immediately."""
        self._due = {name: self._due.get(name, _AT_ONCE) for name in services}

    def hurry(self, service: str) -> None:
        """Make a list due immediately, if it is followed."""
        if service in self._due:
            self._due[service] = _AT_ONCE

    def next(self) -> float:
        """Return the time at which the next list has to be read; infinity if there is no list."""
        return min(self._due.values(), default=float("inf"))

    def take(self) -> list[str]:
        """Return the services to read now: all hurried ones, and the oldest once another is due by its age."""
        now = self._clock()
        parts = max(1, math.ceil(len(self._due) / PART_LISTS))
        size = math.ceil(len(self._due) / parts)
        urgent = [name for name, due in self._due.items() if due == _AT_ONCE]
        for place, name in enumerate(urgent):
            # Spread the next reads of lists that are read together now.
            self._due[name] = now + self._longest_seconds * (1 - place // size / parts)
        if self.next() > now:
            return urgent
        old = heapq.nsmallest(size, self._due.keys() - urgent, key=self._due.__getitem__)
        self._due |= dict.fromkeys(old, now + self._longest_seconds)
        return urgent + old
