"""The base of all selectors, and the built-in picks without a key: random, round robin, least loaded."""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.math cimport exp
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

import math
import random as random_module

from fastrpc._core.balancing.endpoint_health cimport EndpointHealth
from fastrpc._core.balancing.hash_ring cimport check_number, hash_key
from fastrpc._core.base.wire cimport now_ns

from fastrpc._core.balancing.endpoint_health import always_sound
from fastrpc.endpoint import Endpoint
from fastrpc.errors import CallError, ConfigError, NoEndpointError, UnavailableError, is_endpoint_fault
from fastrpc.user_code import plain_error

cdef extern from "Python.h":
    # Return the previous state.
    bint PyGC_Disable()
    bint PyGC_Enable()

cdef enum:
    # Most picks that smooth weighted round robin stores, 256 KiB.
    LONGEST_CYCLE = 65536
    MOST_WEIGHT = 65536
    # Ordinary picks that may return tried endpoints, before the endpoints are searched one by one.
    REPEATED_PICKS = 4
    # Most calls of a user's selector for one pick.
    MOST_ASKED = 64
    # A failed attempt counts as at least this many times the usual time: failing fast must not look fast.
    FAULT_FACTOR = 10

# Weight of one attempt in the average over all endpoints.
cdef double MEAN_SHARE = 0.05


@cython.final
cdef class EndpointState:

    def __init__(self, endpoint):
        self.name = endpoint.address.place
        self.node = -1
        self.identity = hash_key(self.name)
        self.health = EndpointHealth()
        self.connections = []
        self.renew(endpoint)

    def renew(self, endpoint):
        self.endpoint = endpoint
        self.weight = min(endpoint.weight, MOST_WEIGHT)

    @property
    def breaker_state(self):
        states = {breaker.state for breaker in list((self.breakers or {}).values())}
        return 2 if "open" in states else int("half_open" in states)

    def __repr__(self):
        return f"<EndpointState {self.name} weight={self.weight} in_flight={self.in_flight}>"


cdef int mark_gone(object endpoint_states, object names) except -1:
    """Mark the endpoints whose names are no longer in the list."""
    cdef EndpointState endpoint_state
    for endpoint_state in endpoint_states:
        if endpoint_state.name not in names:
            endpoint_state.is_gone = True
    return 0


# `inspect.signature` reads the first line of a compiled class.
cdef class BaseSelector:
    """BaseSelector(*, filters=(), seed=None)\n--\n\nThe base of the built-in selectors."""

    is_keyed = needs_whole_call = observes_each_pick = False

    def __cinit__(self, *args, **options):
        self._made = (args, options)

    def __init__(self, *, filters=(), seed=None):
        self.endpoint_states = []
        self._by_id, self._by_name = {}, {}
        try:
            self.filters = tuple(filters)
        except TypeError:
            raise ConfigError(f"filters is {filters!r}, it must be a list", hint="write filters=[…]") from None
        for narrow in self.filters:
            if not callable(narrow):
                raise ConfigError(
                    f"{narrow!r} is not a filter", hint="write filters=[labels(…), version(…), …] of fastrpc.selectors"
                )
        if seed is not None and not isinstance(seed, (str, bytes, int)):
            raise ConfigError(f"seed is {seed!r}, it must be a text, bytes or a whole number")
        self._is_seeded = seed is not None
        self._random = (random_module.getrandbits(64) if seed is None else hash_key(seed)) | 1

    def claimed(self):
        args, options = self._made
        if not self._is_claimed or hasattr(self, "__dict__"):
            # The attributes of a user's class cannot be copied.
            self._is_claimed = True
            return self
        if "filters" in options:
            # Not the given filters: they may have been an iterator, which is exhausted.
            options = {**options, "filters": self.filters}
        return type(self)(*args, **options)

    @property
    def endpoints(self):
        return [(<EndpointState>endpoint_state).endpoint for endpoint_state in self.endpoint_states]

    def __len__(self):
        return self.size

    cdef int reseed(self) except -1:
        if not self._is_seeded:
            self._random = <uint64_t>random_module.getrandbits(64) | 1
        return 0

    cdef uint64_t random(self) noexcept:
        # xorshift64* (Vigna, ACM Transactions on Mathematical Software 42, 2016): its high bits are good.
        cdef uint64_t state = self._random
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        self._random = state
        return state * <uint64_t>0x2545f4914f6cdd1d

    cdef uint32_t random_below(self, uint32_t size) noexcept:
        # The high half of 32 random bits times the size (Lemire, arXiv 1805.10941), uneven by less than 2**-20.
        return <uint32_t>(((self.random() >> 32) * size) >> 32)

    # Updates by the registry and the caller

    def update(self, endpoints):
        """Replace the endpoints; an endpoint that stays keeps its state.

        An endpoint of weight 0 is not picked, unless all have weight 0. An address that comes twice counts once.
        """
        cdef EndpointState endpoint_state
        endpoint_states = []
        for narrow in self.filters:
            endpoints = narrow(endpoints, always_sound)
        for endpoint in endpoints:
            endpoint_state = self.state_of(endpoint)
            if endpoint_state is None:
                endpoint_state = EndpointState(endpoint)
            elif endpoint_state.endpoint is not endpoint:
                endpoint_state.renew(endpoint)
            endpoint_states.append(endpoint_state)
        mark_gone(self.endpoint_states, {(<EndpointState>each).name for each in endpoint_states})
        self.take_up(endpoint_states)

    def update_endpoints(self, endpoint_states):
        self.take_up(list(endpoint_states))

    cdef int take_up(self, list endpoint_states) except -1:
        cdef EndpointState endpoint_state
        cdef bint is_collecting
        by_name = {}
        for endpoint_state in endpoint_states:
            by_name.setdefault(endpoint_state.name, endpoint_state)
        # Weight 0 means no calls; if all endpoints have weight 0, the weights are ignored.
        known = list(by_name.values())
        listed = [endpoint_state for endpoint_state in known if endpoint_state.weight] or known
        by_id = {id((<EndpointState>each).endpoint): each for each in known}
        # No pick may happen before all fields agree. Up to Python 3.11 each allocation may start a garbage collection,
        # which runs finalizers; these may pick, or let other threads pick. Objects released here may do the same.
        before = (self.endpoint_states, self._by_name, self._by_id)
        is_collecting = PyGC_Disable()
        try:
            for endpoint_state in self.endpoint_states:
                endpoint_state.is_listed = endpoint_state.is_shut = False
            for endpoint_state in listed:
                endpoint_state.is_listed = True
            self._by_name = by_name
            self._by_id = by_id
            self.endpoint_states = listed
            self.size = <uint32_t>len(listed)
            self._changed()
        finally:
            if is_collecting:
                PyGC_Enable()
        del before
        return 0

    def endpoint_state(self, endpoint):
        return self.state_of(endpoint)

    cdef EndpointState state_of(self, object endpoint):
        found = self._by_id.get(id(endpoint))
        # A record may have been renewed since, and another object may have the old object's id.
        if found is not None and (<EndpointState>found).endpoint is endpoint:
            return <EndpointState>found
        return self._by_name.get(endpoint.address.place)

    def key_of(self, call):
        """Return the key of a call; only selectors that hash use it."""
        return getattr(call, "hash_key", None)

    def pick(self, call, tried=()):
        """Return the endpoint of the next attempt; one of `tried` only if there is no other.

        Raises NoEndpointError if there are no endpoints. Each pick needs one `observe`.
        """
        return self.pick_endpoint(call, tried).endpoint

    def pick_endpoint(self, call, tried=()):
        return self.choose(call, self.key_of(call), tuple(tried), self.instant())

    def observe(self, endpoint, double seconds, error):
        """Record the outcome of an attempt; once for each pick, in any order. Removed endpoints are ignored."""
        cdef EndpointState endpoint_state = self.state_of(endpoint)
        if endpoint_state is not None:
            self.observe_endpoint(endpoint_state, seconds, error)

    def observe_endpoint(self, EndpointState endpoint_state not None, double seconds, error):
        self.settle(endpoint_state, seconds, error, self.instant())

    cdef uint64_t instant(self) except? 0:
        """Hook: the current time, for callers that pass none."""
        return now_ns()

    # Each attempt

    @cython.nonecheck(False)
    cdef EndpointState choose(self, object call, object key, tuple tried, uint64_t now):
        """Pick the endpoint of the next attempt; endpoints in `tried` only if there is no other."""
        cdef EndpointState endpoint_state
        if not self.size:
            raise NoEndpointError("there is no endpoint to pick from")
        # The list holds endpoints and nothing else.
        endpoint_state = (
            self._next_untried(call, key, tried, now)
            if tried
            else <EndpointState>self.endpoint_states[self._next(call, key, now)]
        )
        endpoint_state.in_flight += 1
        return endpoint_state

    cdef int take(self, EndpointState endpoint_state) except -1:
        """Start an attempt at this endpoint, without a pick."""
        endpoint_state.in_flight += 1
        return 0

    cdef int settle(self, EndpointState endpoint_state, double seconds, object error, uint64_t now) except -1:
        """An attempt ended."""
        if endpoint_state.in_flight > 0:
            endpoint_state.in_flight -= 1
        return 0

    cdef int take_back(self, EndpointState endpoint_state) except -1:
        """End a picked attempt that is not made, or whose outcome says nothing about the endpoint."""
        return BaseSelector.settle(self, endpoint_state, 0.0, None, 0)

    cdef int refuse(self, EndpointState endpoint_state) except -1:
        """Take back the last pick, because the endpoint's breaker refuses the call."""
        return self.take_back(endpoint_state)

    cdef int undo(self, EndpointState endpoint_state) except -1:
        """Undo the last pick: it led to no connection, and another pick follows for the same attempt."""
        return self.take_back(endpoint_state)

    cdef uint32_t _mark_tried(self, tuple tried, bint is_tried) except? 0xFFFFFFFF:
        """Mark the states of these endpoints; return how many were marked."""
        cdef EndpointState endpoint_state
        cdef uint32_t marked = 0
        for endpoint in tried:
            endpoint_state = self.state_of(endpoint)
            if endpoint_state is not None and endpoint_state.is_listed and endpoint_state.is_tried != is_tried:
                endpoint_state.is_tried = is_tried
                marked += 1
        return marked

    cdef EndpointState _next_untried(self, object call, object key, tuple tried, uint64_t now):
        """Return an untried endpoint, if there is one.

        The endpoint is returned, not its index: marks are set and cleared by address, whose text runs Python code, and
        threads may replace the list meanwhile.
        """
        cdef Py_ssize_t index = 0
        cdef uint32_t marked
        cdef int _
        try:
            marked = self._mark_tried(tried, True)
            if not self.size:
                raise NoEndpointError("there is no endpoint to pick from")
            if marked == self.size:
                return <EndpointState>self.endpoint_states[self._next(call, key, now)]
            for _ in range(REPEATED_PICKS):
                index = self._next(call, key, now)
                if not (<EndpointState>self.endpoint_states[index]).is_tried:
                    return <EndpointState>self.endpoint_states[index]
            # At most as many steps as endpoints: threads that pick at the same time see each other's marks.
            for _ in range(<int>self.size):
                if not (<EndpointState>self.endpoint_states[index]).is_tried:
                    break
                index = (index + 1) % self.size
            return <EndpointState>self.endpoint_states[index]
        finally:
            self._mark_tried(tried, False)

    cdef int _changed(self) except -1:
        """Hook: the endpoints changed. It runs no Python code."""
        return 0

    cdef Py_ssize_t _next(self, object call, object key, uint64_t now) except -1:
        """Hook: return the index of the next endpoint. There is at least one."""
        raise NotImplementedError(f"{type(self).__name__} does not pick")


cdef class RandomSelector(BaseSelector):

    cdef Py_ssize_t _next(self, object call, object key, uint64_t now) except -1:
        return self.random_below(self.size)


cdef class RoundRobinSelector(BaseSelector):

    def __cinit__(self):
        self._listed = self._order = []

    cdef int _changed(self) except -1:
        """Continue after the last picked endpoint, or after the nearest earlier endpoint that still exists.

        A restart at each change would give some endpoints more calls than others while connections are opened and
        closed.
        """
        cdef Py_ssize_t size, step
        if self._picks:
            self._order, self._next_turn = self._listed, self._turn
        self._listed, self._picks = self.endpoint_states, 0
        size = len(self._order)
        for step in range(1, size + 1):
            endpoint_state = self._by_name.get((<EndpointState>self._order[(self._next_turn + size - step) % size]).name)
            if endpoint_state is not None and (<EndpointState>endpoint_state).is_listed:
                self._turn = (self.endpoint_states.index(endpoint_state) + 1) % self.size
                return 0
        # Clients that start together begin with different endpoints.
        self._turn = self.random_below(self.size) if self.size else 0
        return 0

    cdef Py_ssize_t _next(self, object call, object key, uint64_t now) except -1:
        cdef Py_ssize_t index = self._turn
        self._turn = self._turn + 1 if self._turn + 1 < self.size else 0
        self._picks += 1
        return index

    cdef int undo(self, EndpointState endpoint_state) except -1:
        cdef uint32_t last = (self._turn or self.size) - 1
        # Other threads may have picked since, or the endpoints may have changed.
        if self._picks and self.endpoint_states[last] is endpoint_state:
            self._turn = last
            self._picks -= 1
        return self.take_back(endpoint_state)


cdef class SmoothWeightedSelector(BaseSelector):

    def __cinit__(self):
        self._order = []

    def __dealloc__(self):
        PyMem_Free(self._weights)
        PyMem_Free(self._start)
        PyMem_Free(self._current)
        PyMem_Free(self._cycle)

    cdef int _changed(self) except -1:
        cdef Py_ssize_t index
        cdef uint64_t period
        if self._has_picked:
            self._save()
            self._has_picked = False
        weights = [max((<EndpointState>each).weight, 1) for each in self.endpoint_states]
        period = sum(weights) // math.gcd(*weights) if weights else 0
        self._order = []
        self._total = sum(weights)
        self._begin_cycle(period if period <= LONGEST_CYCLE else 0)
        self._order = self.endpoint_states
        for index in range(<Py_ssize_t>self.size):
            self._weights[index] = weights[index]
            # Limit the saved credit: credit from a list with heavier endpoints would now cause a burst.
            self._start[index] = max(-self._total, min(self._total, (<EndpointState>self.endpoint_states[index]).current))
        memcpy(self._current, self._start, self.size * sizeof(int64_t))
        return 0

    cdef int _save(self) except -1:
        """Save the algorithm's state in each endpoint, so that it survives a short absence of the endpoint."""
        cdef uint32_t index
        cdef uint32_t size = <uint32_t>len(self._order)
        if self._period and self._turn != self._known:
            # The rest of the cycle was computed, but not picked.
            for index in range(size):
                self._current[index] = self._start[index] + self._turn * self._weights[index]
            for index in range(self._turn):
                self._current[self._cycle[index]] -= self._total
        for index in range(size):
            (<EndpointState>self._order[index]).current = self._current[index]
        return 0

    cdef int _begin_cycle(self, uint64_t period) except -1:
        """Allocate memory for the present endpoints, and start a new cycle."""
        cdef int64_t* weights = <int64_t*>PyMem_Realloc(self._weights, (self.size + 1) * sizeof(int64_t))
        if weights is not NULL:
            self._weights = weights
        cdef int64_t* start = <int64_t*>PyMem_Realloc(self._start, (self.size + 1) * sizeof(int64_t))
        if start is not NULL:
            self._start = start
        cdef int64_t* current = <int64_t*>PyMem_Realloc(self._current, (self.size + 1) * sizeof(int64_t))
        if current is not NULL:
            self._current = current
        cdef uint32_t* cycle = <uint32_t*>PyMem_Realloc(self._cycle, (period + 1) * sizeof(uint32_t))
        if cycle is not NULL:
            self._cycle = cycle
        if weights is NULL or start is NULL or current is NULL or cycle is NULL:
            self.size = 0
            raise MemoryError
        self._period = <uint32_t>period
        self._known = self._turn = 0
        return 0

    cdef Py_ssize_t _next(self, object call, object key, uint64_t now) except -1:
        cdef uint32_t turn = self._turn
        self._has_picked = True
        if not self._period:
            return self._advance()
        if turn == self._known:
            self._cycle[turn] = self._advance()
            self._known += 1
            if self._known == self._period and memcmp(self._current, self._start, self.size * sizeof(int64_t)):
                # After a change of endpoints the state at the end differs from the start, so these picks do not repeat.
                memcpy(self._start, self._current, self.size * sizeof(int64_t))
                self._known = 0
        self._turn = turn + 1 if turn + 1 < self._period else 0
        return self._cycle[turn]

    cdef int undo(self, EndpointState endpoint_state) except -1:
        # At the start of a cycle the last pick of the previous cycle is unknown.
        if self._period and self._turn and self.endpoint_states[self._cycle[self._turn - 1]] is endpoint_state:
            self._turn -= 1
        return self.take_back(endpoint_state)

    cdef uint32_t _advance(self) noexcept:
        """Add its weight to each current weight, pick the largest, subtract the total there (nginx 52327e0627f4)."""
        cdef uint32_t index
        cdef uint32_t best = 0
        for index in range(self.size):
            self._current[index] += self._weights[index]
            if self._current[index] > self._current[best]:
                best = index
        self._current[best] -= self._total
        return best


cdef class LeastLoadedSelector(BaseSelector):
    """LeastLoadedSelector(*, decay=1.0, clock=None, filters=(), seed=None)\n--\n\nPicks the better of two at random."""

    def __init__(self, *, decay=1.0, clock=None, filters=(), seed=None):
        super().__init__(filters=filters, seed=seed)
        check_number("decay", decay, (int, float), 1e-3, 3600, "a number of seconds from 0.001 to 3,600")
        self.decay = decay
        self._clock = clock

    cdef uint64_t instant(self) except? 0:
        return now_ns() if self._clock is None else <uint64_t>(self._clock() * 1e9)

    cdef Py_ssize_t _next(self, object call, object key, uint64_t now) except -1:
        """Compare two at random (Mitzenmacher, IEEE TPDS 12, 2001)."""
        cdef uint32_t first, second
        if self.size == 1:
            return 0
        if self._clock is not None:
            now = self.instant()
        first = self.random_below(self.size)
        second = self.random_below(self.size - 1)
        second += second >= first
        if self._cost(self.endpoint_states[second], now) < self._cost(self.endpoint_states[first], now):
            return second
        return first

    cdef int _changed(self) except -1:
        cdef EndpointState endpoint_state
        for endpoint_state in self.endpoint_states:
            if not endpoint_state.observed_ns:
                # Better than most, so that a new endpoint is tried soon, but not so good that all calls go to it.
                endpoint_state.seconds = self._mean_seconds / 2
                endpoint_state.observed_ns = self.instant()
        return 0

    cdef double _cost(self, EndpointState endpoint_state, uint64_t now) noexcept:
        """Return a call's expected wait at an endpoint: seconds of an attempt, times attempts in flight, per weight."""
        # Old observations decay, or a slow endpoint would never be tried again. Without observations the number of
        # attempts in flight decides.
        cdef double seconds = self.expected_seconds(endpoint_state, now) + 1e-9
        return seconds * <double>(endpoint_state.in_flight + 1) / <double>max(endpoint_state.weight, 1)

    cdef double expected_seconds(self, EndpointState endpoint_state, uint64_t now) noexcept:
        return endpoint_state.seconds * self._fading(endpoint_state, now)

    cdef double _fading(self, EndpointState endpoint_state, uint64_t now) noexcept:
        if now <= endpoint_state.observed_ns:
            return 1.0
        return exp(-(<double>(now - endpoint_state.observed_ns)) * 1e-9 / self.decay)

    cdef int settle(self, EndpointState endpoint_state, double seconds, object error, uint64_t now) except -1:
        cdef double rest
        if self._clock is not None:
            now = self.instant()
        BaseSelector.settle(self, endpoint_state, seconds, error, now)
        if error is not None and is_endpoint_fault(error):
            seconds = max(seconds, FAULT_FACTOR * self._mean_seconds)
        elif error is not None and not isinstance(error, CallError) and seconds <= endpoint_state.seconds:
            return 0  # The attempt was cut short, so its time says nothing.
        else:
            self._mean_seconds += (seconds - self._mean_seconds) * (MEAN_SHARE if self._mean_seconds else 1.0)
        # A slower attempt counts in full, faster attempts only gradually: the peak EWMA of Finagle.
        rest = self._fading(endpoint_state, now)
        if seconds >= endpoint_state.seconds:
            endpoint_state.seconds = seconds
        else:
            endpoint_state.seconds = endpoint_state.seconds * rest + seconds * (1.0 - rest)
        endpoint_state.observed_ns = now
        return 0


@cython.final
cdef class UserSelector(BaseSelector):
    is_keyed = needs_whole_call = observes_each_pick = True

    def __init__(self, selector, on_failure not None):
        # A subclass of BaseSelector applies its filters itself.
        super().__init__(filters=() if isinstance(selector, BaseSelector) else getattr(selector, "filters", ()))
        self.selector = selector
        self._on_failure = on_failure

    cdef int take_up(self, list endpoint_states) except -1:
        self._updates += 1
        self._is_updating = True
        try:
            BaseSelector.take_up(self, endpoint_states)
            self.selector.update(self.endpoints)
        finally:
            self._is_updating = False
        return 0

    cdef EndpointState choose(self, object call, object key, tuple tried, uint64_t now):
        cdef EndpointState endpoint_state = None
        cdef Py_ssize_t _
        if not self.size:
            raise NoEndpointError("there is no endpoint to pick from")
        if not tried:
            endpoint_state = self._ask(call)
        else:
            self._mark_tried(tried, True)
            try:
                # A round-robin selector gets past all tried endpoints in this number of picks.
                for _ in range(min(<Py_ssize_t>len(tried) + REPEATED_PICKS, <Py_ssize_t>MOST_ASKED)):
                    endpoint_state = self._ask(call)
                    if not endpoint_state.is_tried:
                        break
            finally:
                self._mark_tried(tried, False)
        endpoint_state.in_flight += 1
        return endpoint_state

    cdef EndpointState _ask(self, object call):
        cdef EndpointState endpoint_state
        cdef uint64_t updates
        while True:
            updates = self._updates
            try:
                endpoint = self.selector.pick(call)
            except BaseException as failure:
                raise plain_error(failure, f"{type(self.selector).__name__}.pick")
            endpoint_state = self.state_of(endpoint) if isinstance(endpoint, Endpoint) else None
            if endpoint_state is not None and endpoint_state.is_listed:
                return endpoint_state
            # Another thread may have replaced the endpoints meanwhile.
            if updates == self._updates and not self._is_updating:
                raise ConfigError(
                    f"{type(self.selector).__name__}.pick returned {endpoint!s}, which is not an endpoint of its "
                    "last update"
                )

    cdef int settle(self, EndpointState endpoint_state, double seconds, object error, uint64_t now) except -1:
        BaseSelector.settle(self, endpoint_state, seconds, error, now)
        try:
            self.selector.observe(endpoint_state.endpoint, seconds, error)
        except BaseException as failure:
            # If it were raised, the error would close a connection with other callers' calls, or replace a result.
            self._on_failure(plain_error(failure, f"{type(self.selector).__name__}.observe"))
        return 0

    cdef int take_back(self, EndpointState endpoint_state) except -1:
        # The selector gets an observation here as well, because each pick needs one.
        return UserSelector.settle(self, endpoint_state, 0.0, UnavailableError("it was not attempted"), 0)
