from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint64_t

cdef extern from "limiting/shared_word.h" nogil:
    int64_t word "frpc_word"(const int64_t* place) noexcept
    bint replace_word "frpc_replace_word"(int64_t* place, int64_t old, int64_t new) noexcept
    void add_word "frpc_add_word"(int64_t* place, int64_t change) noexcept
    uint64_t keyed_hash "frpc_keyed_hash"(const uint64_t* secret, const char* data, size_t size) noexcept

cdef enum:
    # Keys that a table holds at most (company.md gives them to users as 10,000), and the places they lie in: with so many
    # more places, a key finds one within its window (the chance of a full window is below 1e-13).
    MOST_KEYS = 10_000
    PLACES = 32_768
    WINDOW = 64
    # The word that all keys without a place share.
    OVERFLOW = PLACES


# The word of a name in every table of this process and of those forked from it. Never 0.
cdef uint64_t key_of(bytes name) noexcept


cdef class KeyTable:
    cdef:
        # Owns the memory: the keys, 0 where a place is free; the words of the keys, and the one for the overflow; the
        # count of taken places. Processes forked from this one may share it.
        Py_buffer _memory
        int64_t* _keys
        int64_t* words
        int64_t* _taken

        # In the unit of the words: a sweep finds nothing idle before this, and the next one is at least so much later.
        int64_t sweep_at
        int64_t sweep_pause

    cdef Py_ssize_t find(self, uint64_t key, int64_t idle) noexcept
    cdef Py_ssize_t _claim(self, uint64_t key, Py_ssize_t free, Py_ssize_t idle_place, int64_t idle) noexcept
    cdef int _sweep(self, int64_t idle) noexcept
    cdef bint is_full(self) noexcept
    cdef int forget(self, Py_ssize_t place) noexcept
