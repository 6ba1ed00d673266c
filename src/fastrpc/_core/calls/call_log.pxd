from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call


cdef class CallLog:
    cdef:
        # What writes a record, which calls pass: `write(call, status, nanoseconds)`.
        readonly object write

        # Calls that last so long are always written; of others those whose 64 random bits are below `chosen`, all of them
        # if it has all bits set.
        uint64_t slow_ns
        uint64_t chosen

        # The state of the generator of random bits.
        uint64_t state

    cdef int ended(self, Call call, int status, uint64_t nanoseconds) except -1
    cdef bint _is_chosen(self, Call call, int status, uint64_t nanoseconds) except -1


# Have a call know the id of its request: that of its caller, or, if `make` says so, a new one.
cdef int find_request_entry(Call call, bint make) except -1
