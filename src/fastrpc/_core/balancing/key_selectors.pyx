"""The built-in picks by key: consistent hash, and the jump hashes of Go rpcx."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.balancing.hash_ring cimport HashRing, check_number, fnv_call, fnv_key, hash_key, jump_hash

from fastrpc.errors import NoEndpointError

# Second hash of the double jump, as in Go's `doublejump`.
cdef uint64_t COMPACT_FACTOR = 0xc6a4a7935bd1e995


cdef class ConsistentHashSelector(BaseSelector):
    """ConsistentHashSelector(*, bound=1.25, least_load=4, filters=(), seed=None)\n--\n\nPicks on a ring."""

    is_keyed = True

    def __init__(self, *, bound=1.25, least_load=4, filters=(), seed=None):
        super().__init__(filters=filters, seed=seed)
        if bound is not None:
            check_number("bound", bound, (int, float), 1, 1e6, "a number from 1 to 1,000,000, or None")
        check_number("least_load", least_load, int, 0, 1 << 40, "a whole number from 0 to 2**40")
        self.ring = HashRing(bound=bound, least_load=least_load)
        self._owners = []

    cdef int _changed(self) except -1:
        cdef EndpointState endpoint_state
        self.ring.set_nodes(
            {(<EndpointState>each).name: max((<EndpointState>each).weight, 1) for each in self.endpoint_states}
        )
        for endpoint_state in self._owners:
            if endpoint_state is not None:
                endpoint_state.node = -1
        self._owners = [None] * self.ring.numbers
        for endpoint_state in self.endpoint_states:
            endpoint_state.node = self.ring.number_of(endpoint_state.name)
            self._owners[endpoint_state.node] = endpoint_state
            # It may have been away while calls went on there.
            self.ring.set_load(endpoint_state.node, endpoint_state.in_flight)
        return 0

    cdef int take(self, EndpointState endpoint_state) except -1:
        endpoint_state.in_flight += 1
        if endpoint_state.node >= 0:
            self.ring.set_load(endpoint_state.node, endpoint_state.in_flight)
        return 0

    cdef EndpointState choose(self, object call, object key, tuple tried, uint64_t now):
        cdef uint64_t hash
        if not self.size:
            raise NoEndpointError("there is no endpoint to pick from")
        # A call that names no key may go anywhere.
        hash = self.random() if key is None else hash_key(key)
        if not tried:
            return self._take(hash)
        try:
            self._avoid(tried, self._mark_tried(tried, True) < self.size)
            return self._take(hash)
        finally:
            self._avoid(tried, False)
            self._mark_tried(tried, False)

    @cython.final
    @cython.nonecheck(False)
    cdef EndpointState _take(self, uint64_t hash):
        """Count a call on whom the ring names; no code of Python's runs in between, which might change both."""
        cdef EndpointState endpoint_state
        cdef Py_ssize_t number = self.ring.take(hash)
        if number < 0:
            raise NoEndpointError("the ring has no endpoint")
        endpoint_state = <EndpointState>self._owners[number]
        endpoint_state.in_flight += 1
        return endpoint_state

    cdef int _avoid(self, tuple tried, bint is_avoided) except -1:
        cdef EndpointState endpoint_state
        for endpoint in tried:
            endpoint_state = self.state_of(endpoint)
            if endpoint_state is not None and endpoint_state.node >= 0:
                self.ring.node(endpoint_state.node).is_avoided = is_avoided
        return 0

    @cython.nonecheck(False)
    cdef int settle(self, EndpointState endpoint_state, double seconds, object error, uint64_t now) except -1:
        BaseSelector.settle(self, endpoint_state, seconds, error, now)
        if endpoint_state.node >= 0:
            self.ring.give_back(endpoint_state.node)
        return 0

    cdef int take_back(self, EndpointState endpoint_state) except -1:
        return ConsistentHashSelector.settle(self, endpoint_state, 0.0, None, 0)


cdef class JumpHashSelector(BaseSelector):
    is_keyed = True

    def key_of(self, call):
        key = getattr(call, "hash_key", None)
        return self.rpcx_key(call.method, call.arguments) if key is None else key

    def rpcx_key(self, method, arguments):
        return None

    cdef int _changed(self) except -1:
        order = {(<EndpointState>each).name: index for index, each in enumerate(self.endpoint_states)}
        self._sorted = [order[name] for name in sorted(order)]
        return 0

    cdef uint64_t _hash(self, object call, object key) except? 0:
        if key is None and call is not None:
            arguments = <tuple?>call.arguments
            if len(arguments) == 1:
                argument = arguments[0]
                if type(argument) is int or type(argument) is str:
                    return fnv_call(call.method, argument)
                if isinstance(argument, (int, str, float)):
                    key = self.rpcx_key(call.method, arguments)
        return self.random() if key is None else fnv_key(key)

    @cython.nonecheck(False)
    cdef Py_ssize_t _next(self, object call, object key, uint64_t now) except -1:
        return self._sorted[jump_hash(self._hash(call, key), self.size)]


cdef class DoubleJumpSelector(JumpHashSelector):

    def __init__(self, *, filters=(), seed=None):
        super().__init__(filters=filters, seed=seed)
        self._loose = []
        self._compact = []
        self._holes = []

    cdef int _changed(self) except -1:
        indices = {(<EndpointState>each).name: index for index, each in enumerate(self.endpoint_states)}
        present = set(self._compact)
        # New ones first, as rpcx does; by address, because Go leaves the order to chance.
        for name in sorted(indices):
            if name not in present:
                self._add(name)
        for name in sorted(present.difference(indices)):
            self._remove(name)
        self._loose_indices = [indices.get(name, -1) for name in self._loose]
        self._compact_indices = [indices[name] for name in self._compact]
        return 0

    cdef int _add(self, str name) except -1:
        self._compact.append(name)
        if self._holes:
            self._loose[self._holes.pop()] = name
        else:
            self._loose.append(name)
        return 0

    cdef int _remove(self, str name) except -1:
        hole = self._loose.index(name)
        self._loose[hole] = None
        self._holes.append(hole)
        place = self._compact.index(name)
        last = self._compact.pop()
        if place < len(self._compact):
            self._compact[place] = last
        return 0

    cdef Py_ssize_t _next(self, object call, object key, uint64_t now) except -1:
        cdef uint64_t hash = self._hash(call, key)
        cdef Py_ssize_t index = self._loose_indices[jump_hash(hash, <uint32_t>len(self._loose_indices))]
        if index >= 0:
            return index
        return self._compact_indices[jump_hash(hash * COMPACT_FACTOR, <uint32_t>len(self._compact_indices))]
