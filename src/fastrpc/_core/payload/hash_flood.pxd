"""Refuse map keys and set values whose hashes were chosen to collide."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastrpc._core.payload.prescan cimport KeyLog, Span

cdef enum:
    # Results of `HashFloodGuard.look_at`. KEYS_OVERLAP: entries nest so deeply that the check would cost too much.
    KEYS_PASS = 0
    KEYS_COLLIDE = 1
    KEYS_OVERLAP = 2


@cython.final
cdef class HashModel:
    cdef:
        # Whether this is a model of Python's set, not of its dict; constant.
        bint _is_set

        # `_keys`: the different keys so far. `_hashes`: their hashes. `_ranks`: for each key the number of earlier keys
        # with the same hash. The first `_used` of `_capacity` places are filled.
        list _keys
        uint64_t* _hashes
        uint8_t* _ranks
        Py_ssize_t _used
        Py_ssize_t _capacity

        # `_slots`: the slots as Python would fill them: the index of a key + 1, 0 = free. `_mask` + 1 of
        # `_slot_capacity` slots are in use.
        uint32_t* _slots
        uint64_t _mask
        Py_ssize_t _slot_capacity

        # `seen`: the number of keys added; `misses`: the cost of probing taken slots; both over all containers. A
        # comparison of keys costs as much as several slots.
        readonly Py_ssize_t seen
        readonly Py_ssize_t misses

    cdef int restart(self) except -1
    cdef bint add(self, object key, uint64_t hash) except -1
    cdef bint is_overloaded(self) noexcept
    cdef int _make_room(self) except -1
    cdef Py_ssize_t _find(self, object key, uint64_t hash, int* rank) except -3
    cdef Py_ssize_t _free_slot(self, uint64_t hash) noexcept
    cdef int _clear_slots(self, Py_ssize_t size) except -1
    cdef int _grow(self) except -1


@cython.final
cdef class HashFloodGuard:
    cdef:
        # A decoder for each type of map key and of set value: it decodes a payload of many to a sequence of values.
        readonly tuple keys
        readonly tuple values
        readonly int codec_id

        # Whether text and bytes keys of maps keep their types. These have seeded hashes and need no check.
        readonly bint skips_texts

    # Check the entries noted in `log`. `data`, the payload of `size` bytes, is borrowed for the call.
    cdef int look_at(self, const char* data, Py_ssize_t size, const KeyLog* log) except -1

    # `left`: the bytes that may still be decoded separately. Below 0 nothing more is decoded, and the result is
    # KEYS_OVERLAP.
    cdef int _weigh_group(
        self, HashModel table, object decode, const char* data, const Span* spans, Py_ssize_t count, Py_ssize_t* left
    ) except -1
    cdef int _weigh(
        self, HashModel table, object decode, const char* data, const Span* spans, Py_ssize_t count, Py_ssize_t* left
    ) except -1
    cdef object _decoded(self, object decode, bytes payload, const Py_ssize_t* left)
    cdef bint _can_begin(self, object decode, const char* data, const Span* span, Py_ssize_t* left) except -1
    cdef bytes _payload_of(self, const char* data, const Span* spans, Py_ssize_t count, Py_ssize_t* left)
