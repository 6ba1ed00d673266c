"""Poll a registry for one service, and publish the lists that the rules accept."""

import contextlib
import queue
import random
import time
from collections.abc import Callable

from fastrpc.config import Backoff
from fastrpc.config.delays import Delays
from fastrpc.registries.base.accepting import ListAcceptor, ListOutcome
from fastrpc.registries.base.backend import Listing, Lookup

__all__ = ["BACKOFF", "Poller", "WakeFlag", "rest_after"]

#: Pauses while a registry is unreachable. The end of an outage is noticed after the longest pause at most.
BACKOFF = Backoff(first=0.1, factor=1.6, longest=2.0, jitter=0.2)

#: Pauses after immediate answers without a change. A later change is noticed after the longest pause at most.
IDLE_BACKOFF = Backoff(first=0.05, factor=2.0, longest=0.5, jitter=0.2)

#: If a list has to be queried again within this many seconds, the next query does not wait for a change.
SOON_SECONDS = 0.5

#: Seconds for which a registry may hold a query until a change. Each new query also checks that the registry is alive.
#: rpcx uses the same interval.
WAIT_SECONDS = 15.0

#: The least and the most seconds of the pause after an answer, so that a service that changes all the time is not
#: polled in a tight loop.
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.02, 0.1

#: The pause after a list, as a multiple of the processor time for the list, and its limit. Polling uses at most about 5
#: % of a core, or more if the pause for a very long list would exceed the limit.
REST_FACTOR, LONGEST_REST_SECONDS = 20.0, 1.5


def rest_after(worked_seconds: float) -> float:
    """Return the shortest allowed pause after lists that took `worked_seconds` of processor time."""
    return min(REST_FACTOR * worked_seconds, LONGEST_REST_SECONDS)


class WakeFlag:
    """Wakes a polling thread. It is like `threading.Event`, but a finalizer may set it, even in the thread that waits.

    `Event.wait` allocates memory while it holds the lock of the event. A garbage collection there may close the last
    watch of a service, and `Event.set` would then wait for the lock for ever. `SimpleQueue.put` may interrupt `get`.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._woken.put(None)

    def clear(self) -> None:
        """Unset the flag; only the waiting thread calls this."""
        self._is_set = False
        # If another thread sets the flag now, it stays set, even if its queue entry is dropped here.
        with contextlib.suppress(queue.Empty):
            while True:
                self._woken.get_nowait()

    def wait(self, timeout: float) -> None:
        """Block until the flag is set, at most `timeout` seconds; only one thread may wait."""
        if not self._is_set:
            with contextlib.suppress(queue.Empty):
                self._woken.get(timeout=max(0.0, timeout))


class Poller:
    """The poller of one service of one registry, driven step by step.

    Args:
        longest_wait: the most seconds for which a query is held.
        clock: returns monotonic time in seconds.
        work_clock: returns the processor time of this thread in seconds.
        uniform: returns a random number between two numbers.
    """

    def __init__(
        self,
        acceptor: ListAcceptor,
        lookup: Lookup,
        *,
        longest_wait: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time.thread_time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.lookup = lookup
        #: True if the list is suspicious and has to be queried again after the pause of the last step.
        self.has_doubts = False
        self._acceptor, self._longest_wait = acceptor, longest_wait
        self._clock, self._work_clock, self._uniform = clock, work_clock, uniform
        self._delays, self._idle_delays = Delays(BACKOFF, uniform), Delays(IDLE_BACKOFF, uniform)
        # Seconds for which the registry may hold the next query; 0 after a failure, and to query a suspicious list
        # again.
        self._wait = 0.0
        # The time at which to query a suspicious list again; infinite if the list is accepted.
        self._look_at = float("inf")

    def run(self, stop: WakeFlag) -> None:
        """Run until stopped; the body of the polling thread."""
        while not stop.is_set():
            pause = self.step(stop)
            stop.wait(pause)

    def step(self, stop: WakeFlag | None = None) -> float:
        """Query once; return the seconds to pause before the next step."""
        asked, worked = self._clock(), self._work_clock()
        self.has_doubts = False
        try:
            self._acceptor.begin()
            listing = self.lookup.fetch(self._wait)
            if stop is not None and stop.is_set():
                return 0.0
            pause = self._take(listing, asked)
            return max(pause, rest_after(self._work_clock() - worked))
        except Exception as error:
            # After `stop`, the error comes from the query that closing the lookup has interrupted.
            return 0.0 if stop is not None and stop.is_set() else self._note_failure(error)

    def _take(self, listing: Listing, asked: float) -> float:
        now = self._clock()
        self._delays.reset()
        if listing.is_repeated:
            # There was no new answer, so a suspicious list still has to be queried again.
            is_due = self._look_at < float("inf")
            accepted = ListOutcome(max(0.0, self._look_at - now) if is_due else None, has_changed=False)
        else:
            accepted = self._acceptor.accept(listing)
            self._look_at = float("inf") if accepted.look_again is None else now + accepted.look_again
        if accepted.look_again is not None:
            is_soon = self.has_doubts = accepted.look_again < SOON_SECONDS
            self._wait = 0.0 if is_soon else min(self._longest_wait, accepted.look_again)
            if self._wait == 0.0 or listing.pause_seconds:
                return min(accepted.look_again, listing.pause_seconds or accepted.look_again)
        else:
            self._wait = self._longest_wait
        if listing.pause_seconds:
            return listing.pause_seconds
        if not accepted.has_changed and now - asked < LEAST_PAUSE_SECONDS:
            # The registry answered immediately, without a relevant change.
            return self._idle_delays.take()
        self._idle_delays.reset()
        return self._uniform(LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS)

    def _note_failure(self, error: Exception) -> float:
        self._wait = 0.0
        self._acceptor.fail_alone(error)
        return self._delays.take()
