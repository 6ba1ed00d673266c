"""Poll a registry for one service, and publish the lists that the rules accept."""

import contextlib
import logging
import queue
import random
import time
from collections.abc import Callable, Sequence

from fastrpc.config import Backoff
from fastrpc.config.delays import Delays
from fastrpc.endpoint import Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Entry, Listing, Lookup
from fastrpc.registries.base.cache import CacheFile
from fastrpc.registries.base.policy import AddressPolicy, AddressRefusedError
from fastrpc.registries.base.record import RecordError
from fastrpc.registries.base.rules import MOST_ENDPOINTS, ListRules
from fastrpc.registries.base.watch import Channel

__all__ = ["BACKOFF", "Poller", "RecordFilter", "StopFlag"]

logger = logging.getLogger("fastrpc.registry")

#: Pauses while a registry is unreachable; the longest bounds how late its return is noticed.
BACKOFF = Backoff(first=0.1, factor=1.6, longest=2.0, jitter=0.2)

#: Pauses after answers that came at once without a change; the longest delays the next change.
IDLE_BACKOFF = Backoff(first=0.05, factor=2.0, longest=0.5, jitter=0.2)

#: A second look due within this many seconds is a query without waiting.
SOON_SECONDS = 0.5

#: Seconds a registry may hold a query until a change. Each new query also checks that the registry is alive; rpcx
#: uses the same interval.
WAIT_SECONDS = 15.0

#: Pause after an answer, so that a constantly changing service is not polled in a tight loop.
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.02, 0.1

#: Pause after a list in multiples of the processor time that it took: some 5 % of a core at most, but for lists so long
#: that the longest pause ends it.
REST_FACTOR, LONGEST_REST_SECONDS = 20.0, 1.5

#: Most bad records remembered, to log each only once.
MOST_REMEMBERED = 1_000


class RecordFilter:
    """Filters an answer for dialable endpoints, and logs each rejected entry once."""

    def __init__(self, service: str, policy: AddressPolicy) -> None:
        self._service = service
        self._policy = policy
        self._logged: set[tuple[str, str]] = set()
        # The accepted endpoints of the last list by `id`, which the object in the value keeps its own.
        self._accepted: dict[int, tuple[str, Endpoint]] = {}

    def __call__(self, entries: Sequence[Entry]) -> list[Endpoint]:
        """Return the accepted endpoints in the order of their addresses, each address once."""
        before, self._accepted = self._accepted, {}
        found: dict[str, Endpoint] = {}
        for key, value in entries:
            if isinstance(value, RecordError):
                self._log(key, str(value))
                continue
            known = before.get(id(value)) or self._checked(key, value)
            if known is None:
                continue
            if len(found) >= MOST_ENDPOINTS:
                self._log("the list", f"only the first {MOST_ENDPOINTS} of {len(entries)} are used")
                break
            self._accepted[id(value)] = known
            found.setdefault(known[0], value)
        return [found[address] for address in sorted(found)]

    def _checked(self, key: str, endpoint: Endpoint) -> tuple[str, Endpoint] | None:
        """Return the text of an address with its endpoint; None if the policy refuses it."""
        try:
            self._policy.check(endpoint.address)
        except AddressRefusedError as error:
            self._log(key, str(error))
            return None
        return str(endpoint.address), endpoint

    def _log(self, key: str, reason: str) -> None:
        if (key, reason) in self._logged or len(self._logged) >= MOST_REMEMBERED:
            return
        self._logged.add((key, reason))
        logger.warning("%s: %r is left out: %s", self._service, key, reason)


class StopFlag:
    """Ends a polling thread; like `threading.Event`, but a finalizer may set it, even in the thread that waits.

    `Event.wait` allocates while it holds the lock of the event. A collection there may close the last watch of a
    service, and `Event.set` would wait for that lock for ever. `SimpleQueue.put` may interrupt `get`.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._woken.put(None)

    def wait(self, timeout: float) -> None:
        """Block until it is set, at most `timeout` seconds; for one thread."""
        if not self._is_set:
            with contextlib.suppress(queue.Empty):
                self._woken.get(timeout=max(0.0, timeout))


class Poller:
    """The poller of one service of one registry, driven step by step.

    Args:
        clock: gives an instant in seconds that never goes back.
        work_clock: gives the processor time of this thread in seconds.
        uniform: gives a random number between two.
    """

    def __init__(
        self,
        service: str,
        lookup: Lookup,
        channel: Channel,
        *,
        policy: AddressPolicy,
        cache: CacheFile | None = None,
        clock: Callable[[], float] = time.monotonic,
        work_clock: Callable[[], float] = time.thread_time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._service = service
        self._lookup = lookup
        self._channel = channel
        self._record_filter = RecordFilter(service, policy)
        self._rules = ListRules()
        self._cache = cache
        self._is_cache_read = False
        self._clock = clock
        self._work_clock = work_clock
        self._uniform = uniform
        self._delays = Delays(BACKOFF, uniform)
        self._idle_delays = Delays(IDLE_BACKOFF, uniform)
        self._failing_since: float | None = None
        # Seconds the next query may be held; 0 after a failure and if a second look is due.
        self._wait = 0.0

    def run(self, stop: StopFlag) -> None:
        """Run until stopped; the body of the polling thread."""
        while not stop.is_set():
            pause = self._step(stop)
            stop.wait(pause)

    def step(self) -> float:
        """Query once; return the seconds to pause before the next step."""
        return self._step(StopFlag())

    def _step(self, stop: StopFlag) -> float:
        asked, worked = self._clock(), self._work_clock()
        try:
            if not self._is_cache_read:
                self._read_cache()
            listing = self._lookup.fetch(self._wait)
            if stop.is_set():
                return 0.0
            pause = self._take(listing, asked)
            rest = REST_FACTOR * (self._work_clock() - worked)
            return max(pause, min(rest, LONGEST_REST_SECONDS))
        except Exception as error:
            # Closing the lookup interrupts the running query.
            return 0.0 if stop.is_set() else self._note_failure(error)

    def _take(self, listing: Listing, asked: float) -> float:
        now = self._clock()
        self._note_answer(now)
        if listing.is_restart:
            self._rules.note_failure()
        before = self._rules.believed
        decision = self._rules.decide(self._record_filter(listing.entries), now)
        if self._cache is not None and decision.endpoints and decision.endpoints != before:
            self._cache.keep(self._service, decision.endpoints)
        if decision.endpoints is not None:
            self._channel.publish(decision.endpoints)
        if decision.look_again is not None:
            is_soon = decision.look_again < SOON_SECONDS
            self._wait = 0.0 if is_soon else min(WAIT_SECONDS, decision.look_again)
            if self._wait == 0.0 or listing.pause_seconds:
                return min(decision.look_again, listing.pause_seconds or decision.look_again)
        else:
            self._wait = WAIT_SECONDS
        if listing.pause_seconds:
            return listing.pause_seconds
        if decision.endpoints == before and now - asked < LEAST_PAUSE_SECONDS:
            # It answered at once without a relevant change.
            return self._idle_delays.take()
        self._idle_delays.reset()
        return self._uniform(LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS)

    def _note_answer(self, now: float) -> None:
        self._delays.reset()
        if self._failing_since is not None:
            logger.info(
                "%s: the registry answers again after %.1f s", self._service, now - self._failing_since
            )
        self._failing_since = None
        self._channel.error = None

    def _note_failure(self, error: Exception) -> float:
        self._rules.note_failure()
        self._wait = 0.0
        self._channel.error = error
        if self._failing_since is None:
            self._failing_since = self._clock()
            believed = self._rules.believed or ()
            if believed and self._channel.latest is None:
                self._channel.publish(believed, is_cached=True)
            # Anything but StoreError is a defect of the backend; it must not end the thread, and its place is wanted.
            logger.warning(
                "%s: the registry is unreachable, the last list (%d endpoints) is used: %s",
                self._service,
                len(believed),
                error,
                exc_info=None if isinstance(error, StoreError) else error,
            )
        return self._delays.take()

    def _read_cache(self) -> None:
        """Start from the list of the last run: the first answer is compared with it, like every later one."""
        self._is_cache_read = True
        endpoints = [] if self._cache is None else self._record_filter(self._cache.load(self._service))
        if endpoints:
            self._rules.start_from(endpoints)
