"""The checks of the requests that one connection sends: their number, their memory, the senders of long requests."""

cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.server.engine_served_connection cimport EngineServedConnection, SenderCheck
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall

cdef enum:
    # One more verdict, in addition to `Verdict` of `SenderCheck`: no sender is being judged.
    SENDER_UNJUDGED = 3


@cython.final
cdef class Intake:
    cdef:
        # `gate`: the gate. `connection`: borrowed, because the link holds the connection and is the only holder of this
        # object.
        Gate gate
        PyObject* connection

        # `sender_check`: the check of the senders of long requests, None before the first; `sender_verdict`: the
        # verdict of a check that had to wait, kept until the wire reads it.
        SenderCheck sender_check
        int sender_verdict

    cdef inline bint is_crowded(self) except -1:
        """Return whether one more call exceeds the limit. `crowd_text` returns the error text."""
        return (<EngineServedConnection>self.connection).calls_under_way() >= self.gate.concurrent_calls

    cdef str crowd_text(self)
    cdef bint has_room(self, ServerCall call, Py_ssize_t size, bint is_new) except -1
    cdef int charge(self, Py_ssize_t change) except -1
    cdef int sender_verdict_now(self) except -1
    cdef int judge_sender(self, ServerCall call, str method) except -1
