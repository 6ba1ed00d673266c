from libc.stdint cimport uint64_t

from fastrpc._core.balancing.hash_ring cimport HashRing
from fastrpc._core.balancing.selectors cimport BaseSelector, EndpointState


cdef class ConsistentHashSelector(BaseSelector):
    cdef:
        readonly HashRing ring
        # Number on the ring -> EndpointState.
        list _owners

    cdef EndpointState _take(self, uint64_t hash)
    cdef int _avoid(self, tuple tried, bint is_avoided) except -1


cdef class JumpHashSelector(BaseSelector):
    cdef:
        # Indices of endpoints by their address.
        list _sorted

    cdef uint64_t _hash(self, object call, object key) except? 0


cdef class DoubleJumpSelector(JumpHashSelector):
    cdef:
        # Names. A removal leaves None in the loose array and its index in _holes; in the compact array the last name
        # moves into the gap.
        list _loose
        list _compact
        list _holes

        # The same arrays as indices of endpoints; -1 for a hole.
        list _loose_indices
        list _compact_indices

    cdef int _add(self, str name) except -1
    cdef int _remove(self, str name) except -1
