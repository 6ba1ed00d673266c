"""The built-in picks by key: consistent hash, and the jump hashes of Go rpcx.

::

    list of the registry ─► filters ─► arrays or ring        change with the list alone
                                            │
    connections, probes, ejection ─► shut endpoints          are skipped: only their keys move, and return

All clients with the same list have the same order of endpoints for a key: first the endpoint that its hash selects;
then the next nodes of the ring, or, for the jump hashes, the other endpoints by the hash of key and address together
(rendezvous hashing, Thaler and Ravishankar, IEEE/ACM Transactions on Networking 6, 1998). A call uses the first
endpoint that is neither shut nor tried.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.balancing.hash_ring cimport (
    HashRing,
    check_number,
    fnv_call,
    fnv_key,
    hash_key,
    hash_number,
    jump_hash,
)

from fastrpc.errors import NoEndpointError

# Second hash of the double jump, as in Go's `doublejump`.
cdef uint64_t COMPACT_FACTOR = 0xc6a4a7935bd1e995


cdef class KeySelector(BaseSelector):
    is_keyed = True

    cdef int take_up_list(self, list endpoint_states, list usable, list usual) except -1:
        """Adopt the list that the filters leave. Its endpoints outside `usable` are shut: they get no calls for now."""
        cdef EndpointState endpoint_state
        if not has_weight(usable) and has_weight(endpoint_states):
            # All usable endpoints have weight 0: they get the calls nevertheless, with equal weights.
            endpoint_states = usable
        if not self._is_same(endpoint_states, usual):
            self._given, self._usual = None, usual
            BaseSelector.take_up(self, endpoint_states)
            # Set last: after an error above, the next update must treat the list as new.
            self._records = [(<EndpointState>each).endpoint for each in endpoint_states]
            self._given = endpoint_states
        for endpoint_state in self.endpoint_states:
            endpoint_state.is_shut = True
        for endpoint_state in usable:
            endpoint_state.is_shut = False
        self._shut()
        return 0

    cdef bint _is_same(self, list endpoint_states, list usual) except -1:
        """Return whether endpoints and records equal the last update."""
        cdef Py_ssize_t index
        if self._given is None or endpoint_states != self._given or usual != self._usual:
            return False
        for index in range(len(endpoint_states)):
            if (<EndpointState>endpoint_states[index]).endpoint is not self._records[index]:
                return False
        return True

    cdef int take_up(self, list endpoint_states) except -1:
        self._given = self._usual = None
        return BaseSelector.take_up(self, endpoint_states)

    cdef bint has_key(self, object call, object key) except -1:
        """Return whether a call belongs to an endpoint; a call without a key may use any."""
        return key is not None

    cdef bint _spares_tried(self) except -1:
        """Return whether an endpoint is neither shut nor marked as tried."""
        cdef EndpointState endpoint_state
        for endpoint_state in self.endpoint_states:
            if not (endpoint_state.is_shut or endpoint_state.is_tried):
                return True
        return False

    cdef int _shut(self) except -1:
        """Hook: note that the set of shut endpoints may have changed. It runs no Python code."""
        return 0


cdef bint has_weight(list endpoint_states) except -1:
    cdef EndpointState endpoint_state
    for endpoint_state in endpoint_states:
        if endpoint_state.weight:
            return True
    return False


cdef class ConsistentHashSelector(KeySelector):
    """ConsistentHashSelector(*, bound=1.25, least_load=4, filters=(), seed=None)\n--\n\nPicks on a ring."""

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
            # The endpoint may have been missing from the list while its calls continued.
            self.ring.set_load(endpoint_state.node, endpoint_state.in_flight)
            self.ring.set_shut(endpoint_state.node, False)
        return 0

    cdef int _shut(self) except -1:
        cdef EndpointState endpoint_state
        for endpoint_state in self.endpoint_states:
            self.ring.set_shut(endpoint_state.node, endpoint_state.is_shut)
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
        # A call without a key may go to any endpoint.
        hash = self.random() if key is None else hash_key(key)
        if not tried:
            return self._take(hash)
        try:
            self._mark_tried(tried, True)
            self._avoid(tried, self._spares_tried())
            return self._take(hash)
        finally:
            self._avoid(tried, False)
            self._mark_tried(tried, False)

    @cython.final
    @cython.nonecheck(False)
    cdef EndpointState _take(self, uint64_t hash):
        """Return the ring's endpoint for a hash and count the call there. No Python code runs between the two steps."""
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


cdef class JumpHashSelector(KeySelector):

    def key_of(self, call):
        key = getattr(call, "hash_key", None)
        return self.rpcx_key(call.method, call.arguments) if key is None else key

    def rpcx_key(self, method, arguments):
        return None

    cdef bint has_key(self, object call, object key) except -1:
        return key is not None or self.rpcx_key(call.method, call.arguments) is not None

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
    cdef EndpointState choose(self, object call, object key, tuple tried, uint64_t now):
        cdef EndpointState endpoint_state
        cdef uint64_t hash = self._hash(call, key)
        try:
            if tried:
                self._mark_tried(tried, True)
            # Addresses and arguments may have run Python code, during which another thread may have replaced the list.
            if not self.size:
                raise NoEndpointError("there is no endpoint to pick from")
            endpoint_state = <EndpointState>self.endpoint_states[self._first(hash)]
            if endpoint_state.is_shut or (tried and endpoint_state.is_tried):
                endpoint_state = self._rehashed(hash, bool(tried) and self._spares_tried())
        finally:
            if tried:
                self._mark_tried(tried, False)
        endpoint_state.in_flight += 1
        return endpoint_state

    cdef EndpointState _rehashed(self, uint64_t hash, bint skips_tried):
        """Return the next endpoint of a key whose first one is shut or tried; a tried one is better than none."""
        cdef EndpointState endpoint_state
        cdef EndpointState best = self.endpoint_states[self._first(hash)]
        cdef uint64_t score
        cdef uint64_t most = 0
        if not (skips_tried or best.is_shut):
            return best
        for endpoint_state in self.endpoint_states:
            if not (endpoint_state.is_shut or (skips_tried and endpoint_state.is_tried)):
                score = hash_number(hash, endpoint_state.identity)
                if score >= most:
                    best, most = endpoint_state, score
        return best

    @cython.nonecheck(False)
    cdef Py_ssize_t _first(self, uint64_t hash) except -1:
        """Hook: return the index of a key's endpoint. There is at least one."""
        return self._sorted[jump_hash(hash, self.size)]


cdef class DoubleJumpSelector(JumpHashSelector):

    def __init__(self, *, filters=(), seed=None):
        super().__init__(filters=filters, seed=seed)
        self._loose = []
        self._compact = []
        self._holes = []

    cdef int _changed(self) except -1:
        cdef dict indices = {(<EndpointState>each).name: index for index, each in enumerate(self.endpoint_states)}
        cdef list usual = self.endpoint_states if self._usual is None else weighted(self._usual)
        cdef list loose, compact, holes
        follow(self._loose, self._compact, self._holes, {(<EndpointState>each).name for each in usual})
        loose, compact, holes = self._loose.copy(), self._compact.copy(), self._holes.copy()
        # Filters that temporarily select other endpoints, such as another zone, do not change the history.
        follow(loose, compact, holes, indices)
        self._loose_indices = [indices.get(name, -1) for name in loose]
        self._compact_indices = [indices[name] for name in compact]
        return 0

    cdef Py_ssize_t _first(self, uint64_t hash) except -1:
        cdef Py_ssize_t index = self._loose_indices[jump_hash(hash, <uint32_t>len(self._loose_indices))]
        if index >= 0:
            return index
        return self._compact_indices[jump_hash(hash * COMPACT_FACTOR, <uint32_t>len(self._compact_indices))]


cdef list weighted(list endpoint_states):
    """Return the endpoints to pick from: endpoints of weight 0 only if all have weight 0."""
    return [each for each in endpoint_states if (<EndpointState>each).weight] or endpoint_states


cdef int follow(list loose, list compact, list holes, object names) except -1:
    """Change the arrays to these names. New names are added first, by address, because Go's order is random."""
    cdef Py_ssize_t hole, place
    present = set(compact)
    for name in sorted(names):
        if name not in present:
            compact.append(name)
            if holes:
                loose[holes.pop()] = name
            else:
                loose.append(name)
    for name in sorted(present.difference(names)):
        hole = loose.index(name)
        loose[hole] = None
        holes.append(hole)
        place = compact.index(name)
        last = compact.pop()
        if place < len(compact):
            compact[place] = last
    return 0
