"""The check of the sender of a long request, by its beginning, before the rest of it is received."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.server.served_call cimport ServerCall

cdef enum Verdict:
    # The verdict is deferred: `EngineServedConnection.sender_known` reports it.
    SENDER_WAITS = 0
    SENDER_ADMITTED = 1
    # The call was refused, and answered.
    SENDER_REFUSED = 2


@cython.final
cdef class SenderCheck:
    cdef:
        # The call whose credential is being verified, or None.
        ServerCall call

        # The deadline of that call; NO_DEADLINE: none.
        uint64_t due_ns

    # Return the verdict about a call.
    cdef int judge(self, ServerCall call, str method) except -1
    # Check the deadline of a call that waits for its verdict; return the instant of the next check, 0: none.
    cdef uint64_t check(self, uint64_t now) except? 0
    # The request is gone: its verdict is dropped.
    cdef int drop(self) noexcept
    cdef int _conclude(self, ServerCall call, str method, int status) except -1
