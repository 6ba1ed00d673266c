"""The endpoints of a client: which of them may be picked, and what their results come to.

::

    registry ─► filters ─► not leaving ─► not ejected ─► selector ─► breaker of endpoint and method ─► attempt
                             (if any)   (if half are left)   ▲                                            │
                                                             └──────────── result ◄───────────────────────┘

The first three happen when something changes; the rest for each attempt. There is no timer: a placement that finds the
next comparison due makes it.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.breaker cimport Breaker
from fastrpc._core.endpoint_health cimport OutlierDetector
from fastrpc._core.selector cimport BaseSelector, Candidate, UserSelector
from fastrpc._core.wire cimport now_ns

from fastrpc.errors import (
    CallError,
    CircuitOpenError,
    ConnectionLostError,
    NoEndpointError,
    UnavailableError,
    is_endpoint_fault,
)

cdef tuple NEVER_STARTED = (UnavailableError, ConnectionLostError)


@cython.final
cdef class Placement:

    @property
    def endpoint(self):
        return self.candidate.endpoint

    def ended(self, error=None):
        self.end(error)

    cdef int end(self, object error) except -1:
        cdef Fleet fleet = self._fleet
        if fleet is not None:
            self._fleet = None
            fleet.ended(self, error)
        return 0

    def concluded(self, error=None):
        self.conclude(error)

    cdef int conclude(self, object error) except -1:
        if error is not None and type(error) in NEVER_STARTED and error.processed == "no":
            # A server that leaves, or a connection that went before the request did: that is no fault.
            self.dropped()
            return 0
        return self.end(error)

    def dropped(self):
        """Take the attempt back: it was not made, or says nothing about the endpoint."""
        cdef Fleet fleet = self._fleet
        cdef Breaker breaker
        if fleet is None:
            return
        self._fleet = None
        fleet.selector.take_back(self.candidate)
        if self._ticket:
            breaker = self.candidate.breakers.get(self._method)
            if breaker is not None:
                breaker.forget(self._ticket)

    def __del__(self):
        # A placement that nobody ended, say of a task that was never resumed, must not hold its place for ever.
        self.dropped()


@cython.final
cdef class Fleet:

    def __init__(self, BaseSelector selector not None, *, breaker=None, outlier=None, clock=None):
        self.selector = selector
        self._breaker_settings = breaker
        self._detector = None if outlier is None else OutlierDetector(outlier)
        self._clock = clock
        self._makes_keys = type(selector).key_of is not BaseSelector.key_of
        self._known = {}

    cdef uint64_t now(self) except? 0:
        return now_ns() if self._clock is None else <uint64_t>(self._clock() * 1e9)

    # What the registry and the connections say

    @property
    def candidates(self):
        return list(self._known.values())

    @property
    def endpoints(self):
        return self.selector.endpoints

    def __len__(self):
        return len(self._known)

    def update(self, endpoints):
        cdef Candidate candidate
        known = {}
        for endpoint in endpoints:
            name = str(endpoint.address)
            candidate = self._known.get(name)
            if candidate is None:
                candidate = Candidate(endpoint)
            elif candidate.endpoint is not endpoint:
                candidate.renew(endpoint)
            known.setdefault(name, candidate)
        self._known = known
        self._narrow()

    def set_leaving(self, Candidate candidate not None, bint is_leaving):
        if candidate.is_leaving != is_leaving:
            candidate.is_leaving = is_leaving
            self._narrow()

    def set_all_leaving(self, leaving):
        cdef Candidate candidate
        cdef bint has_changed = False
        cdef bint is_leaving
        for candidate in self._known.values():
            is_leaving = candidate in leaving
            if candidate.is_leaving != is_leaving:
                candidate.is_leaving = is_leaving
                has_changed = True
        if has_changed:
            self._narrow()
        return has_changed

    def sweep(self):
        if self._detector is not None and self._detector.compare(self._healths(), self.now()):
            self._narrow()

    def _healths(self):
        return [(<Candidate>candidate).health for candidate in self._known.values()]

    def _is_sound(self, endpoint):
        cdef Candidate candidate = self._known[str(endpoint.address)]
        return not candidate.is_leaving and not candidate.health.is_ejected

    cdef int _narrow(self) except -1:
        """Tell the selector which endpoints it may pick now."""
        cdef Candidate candidate
        endpoints = [(<Candidate>each).endpoint for each in self._known.values()]
        for narrow in self.selector.filters:
            endpoints = narrow(endpoints, self._is_sound)
        candidates = [self._known[str(endpoint.address)] for endpoint in endpoints]
        candidates = [candidate for candidate in candidates if not candidate.is_leaving] or candidates
        sound = [candidate for candidate in candidates if not candidate.health.is_ejected]
        # With more than half of them out the fault is hardly theirs, and the rest could not bear the load.
        self.is_panicking = 2 * len(sound) < len(candidates)
        return self.selector.take_up(candidates if self.is_panicking else sound)

    # What happens for each attempt

    def pick(self, call, tried=()):
        return self.place(call, getattr(call, "hash_key", None), call.method, tuple(tried))

    def pick_at(self, call, Candidate candidate not None):
        cdef Placement placement = Placement.__new__(Placement)
        cdef uint64_t now = self.now()
        cdef str method = call.method
        cdef int64_t ticket = 0 if candidate.breakers is None else self._enter(candidate, method, now)
        if ticket < 0:
            raise self._held([candidate], method, now)
        candidate.in_flight += 1
        placement.candidate, placement._method, placement._ticket = candidate, method, ticket
        placement._started_ns, placement._fleet = now, self
        return placement

    cdef Placement place(self, object call, object key, str method, tuple tried):
        """Pick an endpoint whose breaker lets a call of this method through."""
        cdef uint64_t now = self.now()
        cdef Placement placement = Placement.__new__(Placement)
        cdef Candidate candidate
        cdef int64_t ticket
        cdef tuple held = ()
        if self._detector is not None and now >= self._detector.due_ns:
            self.sweep()
        if not self.selector.size:
            raise NoEndpointError(f"{method}: {'the filters leave no endpoint' if self._known else 'nobody serves it'}")
        if key is None and self._makes_keys:
            key = self.selector.key_of(call)
        while True:
            if isinstance(self.selector, UserSelector):
                candidate = self.selector.choose(call, tried + held)
            else:
                candidate = self.selector.choose_key(key, tried + held)
            ticket = 0 if candidate.breakers is None else self._enter(candidate, method, now)
            if ticket >= 0:
                break
            self.selector.take_back(candidate)
            if candidate.endpoint not in held:
                held += (candidate.endpoint,)
            elif tried:
                tried = ()  # Better one that was tried than none at all.
            else:
                raise self._held(self.selector.candidates, method, now)
        placement.candidate, placement._method, placement._ticket = candidate, method, ticket
        placement._started_ns, placement._fleet = now, self
        return placement

    cdef int64_t _enter(self, Candidate candidate, str method, uint64_t now) except -2:
        """Return the ticket of the breaker, 0 when there is none, -1 when it holds the call back."""
        cdef Breaker breaker = candidate.breakers.get(method)
        if breaker is None:
            return 0
        return breaker.enter(now) or -1

    def _held(self, list candidates, str method, uint64_t now):
        cdef Candidate candidate
        cdef Breaker breaker
        waits = []
        for candidate in candidates:
            breaker = None if candidate.breakers is None else candidate.breakers.get(method)
            if breaker is not None:
                waits.append(f"{candidate.name} for {breaker.opens_in(<double>now * 1e-9):.3g} s")
        return CircuitOpenError(
            f"{method}: the breaker holds calls back at {'; '.join(waits)}",
            hint="the calls before this one failed there; see their errors",
        )

    cdef int ended(self, Placement placement, object error) except -1:
        cdef Candidate candidate = placement.candidate
        cdef uint64_t now = self.now()
        cdef double seconds = <double>(now - min(placement._started_ns, now)) * 1e-9
        cdef Breaker breaker
        if error is None:
            self._note(placement, False, seconds, now)
        elif is_endpoint_fault(error):
            self._note(placement, True, seconds, now)
        elif isinstance(error, CallError):
            self._note(placement, False, seconds, now)
        elif placement._ticket:
            # Cancelled, or our own mistake: that says nothing.
            breaker = candidate.breakers.get(placement._method)
            if breaker is not None:
                breaker.forget(placement._ticket)
        return self.selector.settle(candidate, seconds, error)

    cdef int _note(self, Placement placement, bint is_fault, double seconds, uint64_t now) except -1:
        """An attempt told something about its endpoint."""
        cdef Candidate candidate = placement.candidate
        cdef Breaker breaker = None
        candidate.health.note(is_fault, seconds)
        if is_fault and candidate.breakers is None and self._breaker_settings is not None:
            candidate.breakers = {}
        if candidate.breakers is not None:
            breaker = candidate.breakers.get(placement._method)
            if breaker is None and is_fault:
                breaker = candidate.breakers[placement._method] = Breaker(self._breaker_settings)
        if breaker is not None:
            # What began before there was a breaker belongs to its first generation.
            breaker.leave(placement._ticket or 1, is_fault, now)
            if not is_fault and breaker.is_idle(now):
                del candidate.breakers[placement._method]
        if (
            is_fault
            and self._detector is not None
            and 0 < self._detector.consecutive <= candidate.health.faults_in_row
            and not candidate.health.is_ejected
        ):
            self._detector.eject(candidate.health, now)
            self._narrow()
        return 0

    def _measure_placements(self, Py_ssize_t count, list keys not None):
        # Bench hook: place and end attempts, one key after the other, as the engine does it.
        cdef Py_ssize_t index
        cdef Py_ssize_t size = len(keys)
        for index in range(count):
            self.place(None, keys[index % size], "bench.echo", ()).end(None)
