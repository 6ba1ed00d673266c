"""The checks of the requests that one connection sends: their number, their memory, the senders of long requests."""

cimport cython

from fastrpc._core.server.engine_served_connection cimport SENDER_WAITS


@cython.final
cdef class Intake:
    """The checks that a wire makes before it accepts a request, or another part of a long request."""

    def __init__(self, EngineServedConnection connection not None):
        self.gate = <Gate>connection.gate
        self.connection = <PyObject*>connection
        self.sender_verdict = SENDER_WAITS

    cdef str crowd_text(self):
        """Return the error text for a call over the limit, with the number of calls in progress."""
        cdef Py_ssize_t calls = (<EngineServedConnection>self.connection).calls_under_way()
        text = f"this connection has {calls} calls in progress, the limit is {self.gate.concurrent_calls}"
        return f"{text} (Limits.concurrent_calls)"

    cdef bint has_room(self, ServerCall call, Py_ssize_t size, bint is_new) except -1:
        """Return whether there is memory for `size` more bytes of a request; refuse the request if not."""
        return self.gate.admission.has_room_for(call, size, is_new)

    cdef int charge(self, Py_ssize_t change) except -1:
        """Add `change`, which may be negative, to the bytes held for incomplete requests."""
        return self.gate.memory.count_tail(<EngineServedConnection>self.connection, change)

    cdef int sender_verdict_now(self) except -1:
        """Return a verdict that took time, once; SENDER_WAITS while it is awaited; SENDER_UNJUDGED if none is awaited."""
        cdef int verdict = self.sender_verdict
        if self.sender_check is not None and self.sender_check.call is not None:
            return SENDER_WAITS
        self.sender_verdict = SENDER_WAITS
        return SENDER_UNJUDGED if verdict == SENDER_WAITS else verdict

    cdef int judge_sender(self, ServerCall call, str method) except -1:
        """Return the verdict on the sender of a long request; after SENDER_WAITS, the beginning is passed again."""
        if self.sender_check is None:
            self.sender_check = SenderCheck.__new__(SenderCheck)
        return self.sender_check.judge(call, method)
