"""Consistent hashing with bounded load. It is used only with the GIL held, and searches call no Python code."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef extern from "base/hash64.h" nogil:
    uint64_t hash_number "frpc_hash_number"(uint64_t number, uint64_t seed) noexcept
    uint64_t hash_bytes "frpc_hash_bytes"(const char* data, size_t size, uint64_t seed) noexcept
    uint64_t fnv1a "frpc_fnv1a"(uint64_t hash, const char* data, size_t size) noexcept
    const uint64_t FNV_EMPTY "FRPC_FNV_EMPTY"
    uint32_t jump_hash "frpc_jump_hash"(uint64_t key, uint32_t buckets) noexcept


cdef struct Node:
    # `identity`: the seed of the node's points; `points`: the number of its points on the ring; `weight`: its share.
    uint64_t identity
    uint32_t points
    uint32_t weight

    # `load`: calls in flight; `is_avoided`: whether the next search skips the node; `is_shut`: whether all searches
    # skip it, because it is shut.
    int64_t load
    bint is_avoided
    bint is_shut


cdef struct Point:
    uint64_t position
    uint32_t node


@cython.final
cdef class HashRing:
    cdef:
        # `_names` and `_nodes`: the name and the Node of each node number; a free number, listed in `_free`, has the
        # name None and is reused.
        list _names
        Node* _nodes
        list _free
        dict _numbers

        # The points in order: point `index` is at _positions[index] and belongs to _owners[index].
        uint64_t* _positions
        uint32_t* _owners
        uint32_t _size

        # Points with the highest bits `bits` have the indices from _starts[bits] up to _starts[bits + 1].
        uint32_t* _starts
        int _shift

        # `points_per_weight`: points for each unit of weight. `_halvings`: how often this number was halved to limit
        # the total.
        readonly uint32_t points_per_weight
        int _halvings

        # No node holds more than `bound` times its share of the load, beyond its first `least_load` calls; 0: no bound.
        double _bound
        int64_t _least_load
        readonly int64_t total_load
        uint64_t _total_weight

        # The part of both sums that belongs to shut nodes: the bound is computed from the rest.
        int64_t _shut_load
        uint64_t _shut_weight

    cdef int set_nodes(self, dict weights) except -1
    cdef Py_ssize_t number_of(self, str name) except -2
    cdef Py_ssize_t take(self, uint64_t hash) noexcept
    cdef void give_back(self, Py_ssize_t number) noexcept
    cdef void set_load(self, Py_ssize_t number, int64_t load) noexcept
    cdef void set_shut(self, Py_ssize_t number, bint is_shut) noexcept
    cdef inline Node* node(self, Py_ssize_t number) noexcept:
        return &self._nodes[number]
    cdef uint32_t _locate(self, uint64_t hash) noexcept
    cdef bint _has_room(self, Node* node) noexcept
    cdef int _add_node(self, str name, uint32_t weight) except -1
    cdef int _rebuild(self, uint8_t* is_fresh) except -1
    cdef int _merge(self, Point* fresh, Py_ssize_t fresh_size, Py_ssize_t kept, uint8_t* is_fresh) except -1

cdef uint64_t hash_key(object key) except? 0
cdef uint64_t fnv_key(object key) except? 0
cdef uint64_t fnv_call(str method, object argument) except? 0

cdef int check_number(str name, object value, object kind, object lowest, object highest, str allowed) except -1
