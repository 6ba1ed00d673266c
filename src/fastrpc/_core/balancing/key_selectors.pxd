from libc.stdint cimport uint64_t

from fastrpc._core.balancing.hash_ring cimport HashRing
from fastrpc._core.balancing.selectors cimport BaseSelector, EndpointState


cdef class KeySelector(BaseSelector):
    cdef:
        # `_given`, `_records`: the endpoints of the last update, and their records. `_usual`: the endpoints that the
        # filters admit while all endpoints are sound.
        list _given
        list _records
        list _usual

    cdef int take_up_list(self, list endpoint_states, list usable, list usual) except -1
    cdef bint has_key(self, object call, object key) except -1
    cdef bint _is_same(self, list endpoint_states, list usual) except -1
    cdef bint _spares_tried(self) except -1
    cdef int _shut(self) except -1


cdef class ConsistentHashSelector(KeySelector):
    cdef:
        readonly HashRing ring
        # Number on the ring -> EndpointState.
        list _owners

    cdef EndpointState _take(self, uint64_t hash)
    cdef int _avoid(self, tuple tried, bint is_avoided) except -1


cdef class JumpHashSelector(KeySelector):
    cdef:
        # Indices of endpoints by their address.
        list _sorted

    cdef uint64_t _hash(self, object call, object key) except? 0
    cdef Py_ssize_t _first(self, uint64_t hash) except -1
    cdef EndpointState _rehashed(self, uint64_t hash, bint skips_tried)


cdef class DoubleJumpSelector(JumpHashSelector):
    cdef:
        # Names of endpoints. `_loose`: a removal leaves None, whose index is in `_holes`. `_compact`: a removal moves
        # the last name into the gap.
        list _loose
        list _compact
        list _holes

        # The arrays `_loose` and `_compact` as indices of endpoints; -1 for a hole.
        list _loose_indices
        list _compact_indices
