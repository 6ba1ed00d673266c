from libc.stdint cimport int64_t

from fastrpc._core.server.served_call cimport ServerCall


cdef class WaitingCalls:
    cdef:
        # Calls in the order of arrival, by priority: few are not normal, and waiting calls seldom share a connection.
        readonly object high
        readonly object normal
        readonly object sheddable

        # The bytes that the sheddable ones hold: those charged for each, and their call records.
        readonly int64_t sheddable_bytes
        readonly int64_t sheddable_records

    cdef object of(self, ServerCall call)
    cdef int add(self, ServerCall call) except -1
    cdef int drop(self, ServerCall call) except -1
    cdef ServerCall first(self, int last_rank)
    cdef ServerCall oldest(self)
    cdef ServerCall last_sheddable(self)


cdef bint is_sheddable(ServerCall call) noexcept
