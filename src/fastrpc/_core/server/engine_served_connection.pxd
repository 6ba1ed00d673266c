"""The served connection of an `Engine`, and its check of the sender of a long request."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class EngineServedConnection(ServedConnection):
    cdef:
        # The engine, borrowed; NULL after it was freed. The engine holds this object and clears the pointer.
        PyObject* _engine

    # Long requests: the sender is identified before the rest is received (`SenderCheck`).
    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1

    # Called after an answer, so that answers are sent while later requests of the same read are handled.
    cdef int flush_early(self, Engine engine) except -1

    cdef int64_t unsent_bytes(self) except? -1
    cdef int join(self, Engine engine) except -1
    cdef int certify(self, object identity, object valid_seconds, uint64_t generation) except -1


cdef enum Verdict:
    # The verdict takes time. `Outcomes.judged` reports it.
    SENDER_WAITS = 0
    SENDER_ADMITTED = 1
    # The call was refused and answered.
    SENDER_REFUSED = 2


cdef class UnreadRest:
    # Called when a request waits for the verdict on its sender.
    cdef int wait(self, ServerCall call) except -1
    # Called before a request is refused: stop receiving it.
    cdef int leave(self, ServerCall call) except -1


@cython.final
cdef class SenderCheck:
    cdef:
        # The unread rest of an HTTP request. None for other protocols: `EngineServedConnection.await_sender` pauses the
        # connection's input, or its wire keeps the rest.
        UnreadRest rest

        # The call whose credential is being verified, or None.
        ServerCall call

        # The deadline of the call whose credential is being verified, or NO_DEADLINE.
        uint64_t due_ns

    # Return the verdict on the sender of a call.
    cdef int judge(self, ServerCall call, str method) except -1
    # Check the deadline of a call that waits for its verdict; return the instant of the next check, 0 = none.
    cdef uint64_t check(self, uint64_t now) except? 0
    # Ignore the verdict, as its request was cancelled or lost.
    cdef int drop(self) noexcept
