"""Selectors around others: `Sticky` binds keys to endpoints, `Canary` divides calls between two sides.

::

    EndpointSet ─► Sticky ─► bound endpoint, while it can take calls
                     └─────► inner selector, for a key without a binding
    EndpointSet ─► Canary ─► inner selector of the canary     endpoints that `to` keeps
                     └─────► inner selector of the others

Endpoints, their states and the counts of calls in flight belong to the inner selectors. A wrapper has all of their
endpoints, so that errors and breakers see the whole list.

Bindings lie in a table of C structs, with chains by the seeded hash of the key and a list in the order of use: 80 bytes for
each at most, and no Python object.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint32_t, uint64_t

import math
from functools import partial
from random import getrandbits

from fastrpc._core.balancing.hash_ring cimport check_number, hash_key, hash_number
from fastrpc._core.balancing.selectors cimport LeastLoadedSelector
from fastrpc._core.base.wire cimport now_ns

from fastrpc._core.balancing.endpoint_health import always_sound
from fastrpc.errors import ConfigError, NoEndpointError

cdef enum:
    NOWHERE = 0xFFFFFFFF
    FIRST_CAPACITY = 64

# A sixteenth of a second: 32 bits count eight years.
cdef uint64_t TICK_NS = 62_500_000

# The time that a binding stays at an endpoint that takes no calls, in ticks.
cdef uint32_t AWAY_TICKS = 160

# Endpoints whose attempts take at most SLOWER times as long, plus SLOWER_SECONDS, count as equally loaded: first
# attempts at equal servers differ by that much. A slower endpoint is in trouble and gets no keys, even if it has the
# fewest.
cdef double SLOWER = 4.0
cdef double SLOWER_SECONDS = 0.1

# The hash of calls without a key, which have one binding.
cdef uint64_t KEYLESS = 0x9e3779b97f4a7c15


@cython.final
cdef class BindingTable:

    def __init__(self, *, uint32_t most, uint64_t seed):
        self.most = most
        self._seed = seed
        self._free = self._newest = self._oldest = NOWHERE
        self._grow()

    def __dealloc__(self):
        PyMem_Free(self._bindings)
        PyMem_Free(self._buckets)

    def __len__(self):
        return self.size

    @property
    def nbytes(self):
        return self._capacity * sizeof(Binding) + (self._mask + 1) * sizeof(uint32_t)

    cdef uint32_t* _bucket(self, uint64_t hash) noexcept:
        return &self._buckets[<uint32_t>hash_number(hash, self._seed) & self._mask]

    cdef Binding* find(self, uint64_t hash) noexcept:
        cdef uint32_t number = self._bucket(hash)[0]
        while number != NOWHERE:
            if self._bindings[number].hash == hash:
                return &self._bindings[number]
            number = self._bindings[number].after
        return NULL

    cdef Binding* bind(self, uint64_t hash) except NULL:
        """Add a binding as the newest, valid until the next call. There must be room, and no binding of this hash."""
        cdef uint32_t number = self._free
        cdef uint32_t* bucket
        cdef Binding* binding
        if number != NOWHERE:
            self._free = self._bindings[number].after
        else:
            if self._count == self._capacity:
                self._grow()
            number = self._count
            self._count += 1
        bucket = self._bucket(hash)
        binding = &self._bindings[number]
        binding.hash = hash
        binding.away = 0
        binding.after = bucket[0]
        bucket[0] = number
        self._put_first(number)
        self.size += 1
        return binding

    cdef int touch(self, Binding* binding) noexcept:
        """Make a binding the newest."""
        cdef uint32_t number = <uint32_t>(binding - self._bindings)
        if self._newest != number:
            self._unlink(number)
            self._put_first(number)
        return 0

    cdef Binding* oldest(self) noexcept:
        return NULL if self._oldest == NOWHERE else &self._bindings[self._oldest]

    cdef int drop_oldest(self) noexcept:
        cdef uint32_t number = self._oldest
        cdef uint32_t* link = self._bucket(self._bindings[number].hash)
        while link[0] != number:
            link = &self._bindings[link[0]].after
        link[0] = self._bindings[number].after
        self._unlink(number)
        self._bindings[number].after = self._free
        self._free = number
        self.size -= 1
        return 0

    cdef int _unlink(self, uint32_t number) noexcept:
        cdef Binding* binding = &self._bindings[number]
        if binding.newer == NOWHERE:
            self._newest = binding.older
        else:
            self._bindings[binding.newer].older = binding.older
        if binding.older == NOWHERE:
            self._oldest = binding.newer
        else:
            self._bindings[binding.older].newer = binding.newer
        return 0

    cdef int _put_first(self, uint32_t number) noexcept:
        cdef Binding* binding = &self._bindings[number]
        binding.newer, binding.older = NOWHERE, self._newest
        if self._newest == NOWHERE:
            self._oldest = number
        else:
            self._bindings[self._newest].newer = number
        self._newest = number
        return 0

    cdef int _grow(self) except -1:
        """Double the capacity, at most to `most`, and distribute the bindings to new buckets."""
        cdef uint32_t capacity = min(max(self._capacity * 2, <uint32_t>FIRST_CAPACITY), self.most)
        cdef uint32_t buckets = FIRST_CAPACITY
        cdef uint32_t number
        cdef uint32_t* bucket
        while buckets < capacity:
            buckets *= 2
        cdef Binding* bindings = <Binding*>PyMem_Realloc(self._bindings, capacity * sizeof(Binding))
        if bindings is NULL:
            raise MemoryError
        self._bindings = bindings
        cdef uint32_t* fresh = <uint32_t*>PyMem_Calloc(buckets, sizeof(uint32_t))
        if fresh is NULL:
            raise MemoryError
        PyMem_Free(self._buckets)
        self._buckets, self._mask, self._capacity = fresh, buckets - 1, capacity
        for number in range(buckets):
            fresh[number] = NOWHERE
        # The table grows only when all its bindings are in use.
        for number in range(self._count):
            bucket = self._bucket(bindings[number].hash)
            bindings[number].after = bucket[0]
            bucket[0] = number
        return 0


cdef class WrappingSelector(BaseSelector):

    cdef int share(self, BaseSelector inner) except -1:
        """Take over the list of an inner selector, for errors, breakers and direct use."""
        self.endpoint_states, self.size = inner.endpoint_states, inner.size
        self._by_id, self._by_name = inner._by_id, inner._by_name
        return 0


cdef class StickySelector(WrappingSelector):
    """StickySelector(inner, *, keep=3600, most=100000, clock=None)\n--\n\nBinds keys to endpoints."""

    def __init__(self, BaseSelector inner not None, *, keep=3600, most=100_000, clock=None):
        super().__init__(filters=inner.filters)
        check_number("keep", keep, (int, float), 1, 86400 * 365, "a number of seconds from 1 to a year")
        check_number("most", most, int, 1, 100_000_000, "a whole number from 1 to 100,000,000")
        self.inner = inner
        self.keep = keep
        self.bindings = BindingTable(most=most, seed=getrandbits(64))
        self._keep_ticks = <uint32_t>math.ceil(keep * 16)
        self._clock = clock
        self._began_ns = self.instant()
        self._numbers = {}
        self._places, self._counts, self._names, self._spare = [], [], [], []

    cdef uint64_t instant(self) except? 0:
        return now_ns() if self._clock is None else <uint64_t>(self._clock() * 1e9)

    cdef uint32_t _ticks(self, uint64_t now) noexcept:
        """Return the ticks since the selector was made, at least 1."""
        return 1 + <uint32_t>((now - min(now, self._began_ns)) // TICK_NS)

    cdef int reseed(self) except -1:
        BaseSelector.reseed(self)
        return self.inner.reseed()

    cdef int take_up(self, list endpoint_states) except -1:
        cdef EndpointState endpoint_state
        cdef Py_ssize_t number
        self.inner.take_up(endpoint_states)
        self.share(self.inner)
        for endpoint_state in self.endpoint_states:
            place = self._numbers.get(endpoint_state.name)
            if place is not None:
                self._places[place] = endpoint_state
        for number in range(len(self._places)):
            endpoint_state = self._places[number]
            if endpoint_state is not None and endpoint_state.is_gone:
                self._places[number] = None
                if not self._counts[number]:
                    self._free(number)
        return 0

    @cython.nonecheck(False)
    cdef EndpointState choose(self, object call, object key, tuple tried, uint64_t now):
        """Pick the endpoint of the key, if it can take calls now."""
        cdef EndpointState endpoint_state
        cdef Binding* binding
        cdef uint64_t hash
        cdef uint32_t ticks
        if not self.size:
            raise NoEndpointError("there is no endpoint to pick from")
        hash = KEYLESS if key is None else hash_key(key)
        if self._clock is not None:
            now = self.instant()
        ticks = self._ticks(now)
        self._reset_away = 0
        binding = self.bindings.find(hash)
        if binding is not NULL and ticks - binding.used <= self._keep_ticks:
            endpoint_state = <EndpointState>self._places[binding.place]
            if endpoint_state is not None and endpoint_state.is_listed and not (
                tried and self._is_tried_there(endpoint_state, tried)
            ):
                binding.used = ticks
                self.bindings.touch(binding)
                if binding.away:
                    # A breaker may still refuse the call: then `away` is restored.
                    self._reset_hash, self._reset_away = hash, binding.away
                    binding.away = 0
                self.inner.take(endpoint_state)
                return endpoint_state
        return self._elsewhere(call, key, tried, now, hash, ticks)

    cdef EndpointState _elsewhere(
        self, object call, object key, tuple tried, uint64_t now, uint64_t hash, uint32_t ticks
    ):
        """Let the inner selector pick. Bind the key to the pick if its endpoint was removed or away for too long."""
        cdef EndpointState endpoint_state = self.inner.choose(call, key, tried, now)
        # The pick may have run other code, so the binding is looked up again.
        cdef Binding* binding = self.bindings.find(hash)
        if binding is not NULL and ticks - binding.used <= self._keep_ticks and self._places[binding.place] is not None:
            binding.used = ticks
            self.bindings.touch(binding)
            if not binding.away:
                binding.away = ticks
            if ticks - binding.away < AWAY_TICKS:
                return endpoint_state
        endpoint_state = self._levelled(endpoint_state, tried, now)
        # `_levelled` may have run other code, too, so the binding is looked up again.
        binding = self.bindings.find(hash)
        if binding is NULL:
            while self.bindings.size >= self.bindings.most or (
                self.bindings.size and ticks - self.bindings.oldest().used > self._keep_ticks
            ):
                self._unbind(self.bindings.oldest().place)
                self.bindings.drop_oldest()
            binding = self.bindings.bind(hash)
        else:
            self._unbind(binding.place)
            self.bindings.touch(binding)
        binding.used, binding.away = ticks, 0
        self._bind(binding, endpoint_state)
        return endpoint_state

    cdef EndpointState _levelled(self, EndpointState picked, tuple tried, uint64_t now):
        """Replace a pick by the endpoint with the fewest keys among all endpoints with at most as much load.

        This applies to picks by load alone: a pick of any other inner selector stands.
        """
        cdef EndpointState each, best = picked
        cdef LeastLoadedSelector inner
        cdef double keys, fewest, load, longest
        if not isinstance(self.inner, LeastLoadedSelector):
            return picked
        inner = <LeastLoadedSelector>self.inner
        longest = SLOWER * inner.expected_seconds(picked, now) + SLOWER_SECONDS
        fewest = self._keys_of(picked)
        # The load is compared without the attempt that was picked just now.
        picked.in_flight -= 1
        try:
            load = load_of(picked)
            for each in inner.endpoint_states:
                if load_of(each) > load or inner.expected_seconds(each, now) > longest:
                    continue
                keys = self._keys_of(each)
                if keys < fewest and not (tried and self._is_tried_there(each, tried)):
                    best, fewest = each, keys
        finally:
            picked.in_flight += 1
        if best is not picked:
            inner.undo(picked)
            inner.take(best)
        return best

    cdef double _keys_of(self, EndpointState endpoint_state) except -1.0:
        """Return the keys bound to an endpoint, per weight."""
        place = self._numbers.get(endpoint_state.name)
        return 0.0 if place is None else <double>self._counts[place] / <double>max(endpoint_state.weight, 1)

    cdef int _bind(self, Binding* binding, EndpointState endpoint_state) except -1:
        place = self._numbers.get(endpoint_state.name)
        if place is None:
            place = self._spare.pop() if self._spare else len(self._places)
            if place == len(self._places):
                self._places.append(None)
                self._counts.append(0)
                self._names.append("")
            self._names[place] = endpoint_state.name
            self._numbers[endpoint_state.name] = place
        self._places[place] = endpoint_state
        self._counts[place] += 1
        binding.place = <uint32_t>place
        return 0

    cdef int _unbind(self, uint32_t place) except -1:
        """Subtract a binding from the count of its endpoint."""
        self._counts[place] -= 1
        if not self._counts[place] and self._places[place] is None:
            self._free(place)
        return 0

    cdef int _free(self, Py_ssize_t place) except -1:
        """Free the number of an endpoint that was removed and has no bindings."""
        del self._numbers[self._names[place]]
        self._spare.append(place)
        return 0

    cdef bint _is_tried_there(self, EndpointState endpoint_state, tuple tried) except -1:
        for endpoint in tried:
            if endpoint is endpoint_state.endpoint or self.inner.state_of(endpoint) is endpoint_state:
                return True
        return False

    cdef int take(self, EndpointState endpoint_state) except -1:
        return self.inner.take(endpoint_state)

    @cython.nonecheck(False)
    cdef int settle(self, EndpointState endpoint_state, double seconds, object error, uint64_t now) except -1:
        return self.inner.settle(endpoint_state, seconds, error, now)

    cdef int take_back(self, EndpointState endpoint_state) except -1:
        return self.inner.take_back(endpoint_state)

    cdef int refuse(self, EndpointState endpoint_state) except -1:
        cdef Binding* binding
        if self._reset_away:
            binding = self.bindings.find(self._reset_hash)
            if binding is not NULL and self._places[binding.place] is endpoint_state:
                binding.away = self._reset_away
            self._reset_away = 0
        return self.inner.refuse(endpoint_state)

    cdef int undo(self, EndpointState endpoint_state) except -1:
        return self.inner.undo(endpoint_state)


cdef inline double load_of(EndpointState endpoint_state) noexcept:
    return <double>endpoint_state.in_flight / <double>max(endpoint_state.weight, 1)


cdef set names_of(object endpoints):
    return {endpoint.address.place for endpoint in endpoints}


def narrow_sides(to, filters, endpoints, is_sound):
    """Return the endpoints of each side that the filters leave; filters may compare a whole side, as `zones` does."""
    ours = names_of(to(endpoints, always_sound))
    left = set()
    for is_canary in (False, True):
        side = [each for each in endpoints if (each.address.place in ours) is is_canary]
        for narrow in filters:
            side = narrow(side, is_sound) if side else side
        left |= names_of(side)
    return [each for each in endpoints if each.address.place in left]


cdef class CanarySelector(WrappingSelector):
    """CanarySelector(stable, canary, *, to, percent=0, by=None, when=None)\n--\n\nDivides calls between two sides."""

    def __init__(
        self, BaseSelector stable not None, BaseSelector canary not None, *, to, percent=0, by=None, when=None
    ):
        if not callable(to):
            raise ConfigError(f"to is {to!r}, it must be a filter", hint="write to=version('>=2') or to=labels(…)")
        # The endpoint set applies the filters before it passes the list to a side.
        super().__init__(filters=[partial(narrow_sides, to, stable.filters)] if stable.filters else ())
        if by is not None and not isinstance(by, str):
            raise ConfigError(f"by is {by!r}, it must be the name of a metadata entry")
        if when is not None and not isinstance(when, dict):
            raise ConfigError(f"when is {when!r}, it must be a mapping of metadata", hint="write when={'x-canary': '1'}")
        self.stable, self.canary = stable, canary
        self._to = to
        self.percent = percent
        self.by = by
        self.when = {} if when is None else dict(when)
        self._reads_metadata = by is not None or bool(self.when)
        self._ours = set()

    @property
    def percent(self):
        return self._percent

    @percent.setter
    def percent(self, value):
        check_number("percent", value, (int, float), 0, 100, "a number from 0 to 100")
        self._percent = value
        # Compared with 53 random bits.
        self._below = <uint64_t>round(<double>value / 100.0 * 9007199254740992.0)

    cdef int reseed(self) except -1:
        BaseSelector.reseed(self)
        self.stable.reseed()
        return self.canary.reseed()

    cdef int take_up(self, list endpoint_states) except -1:
        endpoints = [(<EndpointState?>each).endpoint for each in endpoint_states]
        # Called before anything changes, because the filter may let other threads run.
        ours = names_of(self._to(endpoints, always_sound))
        BaseSelector.take_up(self, endpoint_states)
        self.stable.take_up([each for each in endpoint_states if (<EndpointState>each).name not in ours])
        self.canary.take_up([each for each in endpoint_states if (<EndpointState>each).name in ours])
        self._ours = ours
        for each in self.endpoint_states:
            (<EndpointState>each).is_listed = True
        return 0

    cdef EndpointState choose(self, object call, object key, tuple tried, uint64_t now):
        cdef BaseSelector side, other
        if not self.size:
            raise NoEndpointError("there is no endpoint to pick from")
        side, other = self.stable, self.canary
        if self._goes_to_canary(call):
            side, other = other, side
        if not side.size or (tried and other.size and self._is_spent(side, tried) and not self._is_spent(other, tried)):
            side = other
        return side.choose(call, key, tried, now)

    cdef bint _goes_to_canary(self, object call) except -1:
        """Decide by a pair of `when`, else by the hash of the entry `by`, else by chance."""
        if self._reads_metadata:
            metadata = getattr(call, "_selecting_metadata", None)
            if metadata is None:
                metadata = getattr(call, "metadata", None)
            if metadata:
                for name, value in self.when.items():
                    if metadata.get(name) == value:
                        return True
            value = metadata.get(self.by) if metadata and self.by is not None else None
            if value is not None:
                return hash_number(hash_key(value), KEYLESS) >> 11 < self._below
        return self.random() >> 11 < self._below

    cdef bint _is_spent(self, BaseSelector side, tuple tried) except -1:
        """Return whether every endpoint of a side was tried."""
        cdef EndpointState endpoint_state
        names = {endpoint.address.place for endpoint in tried}
        for endpoint_state in side.endpoint_states:
            if endpoint_state.name not in names:
                return False
        return True

    cdef BaseSelector _side_of(self, EndpointState endpoint_state):
        return self.canary if endpoint_state.name in self._ours else self.stable

    cdef int take(self, EndpointState endpoint_state) except -1:
        return self._side_of(endpoint_state).take(endpoint_state)

    cdef int settle(self, EndpointState endpoint_state, double seconds, object error, uint64_t now) except -1:
        return self._side_of(endpoint_state).settle(endpoint_state, seconds, error, now)

    cdef int take_back(self, EndpointState endpoint_state) except -1:
        return self._side_of(endpoint_state).take_back(endpoint_state)

    cdef int refuse(self, EndpointState endpoint_state) except -1:
        return self._side_of(endpoint_state).refuse(endpoint_state)

    cdef int undo(self, EndpointState endpoint_state) except -1:
        return self._side_of(endpoint_state).undo(endpoint_state)
