"""The check of who sends a long request, by its beginning, before the rest of it is received."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.server.served_call cimport ServerCall

cdef enum Verdict:
    # It takes time: `EngineServedConnection.sender_known` tells it.
    SENDER_WAITS = 0
    SENDER_ADMITTED = 1
    # The call was refused, and answered.
    SENDER_REFUSED = 2


@cython.final
cdef class SenderCheck:
    cdef:
        # The call whose credential is being verified, None: no verdict is waited for.
        ServerCall call

        # When the time of that call is over; NO_DEADLINE: it has none.
        uint64_t due_ns

    # Return the verdict about a call.
    cdef int judge(self, ServerCall call, str method) except -1
    # Look at the time of a call that waits for its verdict; return when to look again, 0: not.
    cdef uint64_t check(self, uint64_t now) except? 0
    # The request is gone: its verdict is told to no one.
    cdef int drop(self) noexcept
    cdef int _conclude(self, ServerCall call, str method, int status) except -1
