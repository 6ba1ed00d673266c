"""The request of an exchange, as answers and calls see it: its state from its head to the end of its response.

::

    GatewayRequests ──► RequestState ◄── HttpTerms.request, of its call and of the calls that are parts of it
                           │ exchange_of ──► Exchange, None for a call that has lost its client
                           └ conclude ─────► Exchange.answer

`GatewayRequests` derives from it and has the methods that only exchanges call. A call may outlive the exchange, which
calls `exchange_over` at its end.
"""


from fastrpc._core.calls.call cimport STATE_ANSWERING
from fastrpc._core.link.contract cimport lacking
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.streams.stream_channel cimport StreamChannel

cdef enum:
    # The number of parts of a request that are kept before ended ones are searched for.
    FEW_PARTS = 16


cdef class BodyReading:
    """How a body that comes in parts is read."""

    cdef int part(self, RequestState request, ServerCall call, bytes part, bint is_last) except -1:
        """Take a part of the body of a call."""
        raise lacking(self, "part")

    cdef Py_ssize_t held(self) noexcept:
        """Return the counted bytes of an incomplete line or message; the count ends with the request."""
        return 0


cdef class RequestState(HttpApplication):
    """The request of an exchange from its head to the end of its response."""

    def __dealloc__(self):
        cdef PyObject* exchange = self._exchange
        if exchange is NULL:
            return
        (<Exchange>exchange).known_at = NULL

    cdef int join(self, Exchange exchange) except -1:
        """Set the exchange, whose end clears `_exchange`."""
        if exchange.known_at is not NULL:
            raise RuntimeError("an exchange has one application")
        exchange.known_at = &self._exchange
        self._exchange = <PyObject*>exchange
        return 0

    cdef int end_call(self, ServerCall call) except -1:
        """Mark the call as answered: the end of its response is sent next, and further output of it is ignored."""
        call.state = STATE_ANSWERING
        self.call = None
        self.sign_due_ns = 0
        return 0

    cdef int conclude(self, Exchange exchange, ServerCall call, int status, bytes lines, bytes content) except -1:
        """Send a whole response, after which the next request may follow."""
        self.end_call(call)
        return exchange.answer(status, lines, content, self.leaves_body)

    cdef int leave_rest(self) except -1:
        """Stop receiving a request that is refused next."""
        cdef Exchange exchange = self.open_exchange()
        self.leaves_body = True
        if exchange is not None:
            exchange.is_answering = True
            exchange.takes_parts = False
        return 0

    cdef int wake_stream(self, Exchange exchange, ServerCall call) except -1:
        if call.stream is None or exchange.is_full():
            return 0
        # A stream that waits for memory is woken elsewhere, when memory is free.
        return 0 if (<ServedStream>call.stream).awaits_memory else (<StreamChannel>call.stream).wake_sender()

    cdef int await_sign(self, uint64_t now) except -1:
        """Schedule the next sign of life for one interval from now."""
        self.sign_due_ns = now + self.service.sign_ns
        return self.exchange().look_by(self.sign_due_ns)

    cdef int add_part(self, ServerCall part) except -1:
        """Add a call that is a part of the request."""
        if not is_under_way(part):
            return 0
        if self.parts is None:
            self.parts = set()
            self._many_parts = FEW_PARTS
        elif len(self.parts) >= self._many_parts:
            self.parts = {call for call in self.parts if is_under_way(<ServerCall>call)}
            # The next search is due when the number has doubled, so the cost of adding a part does not grow with the
            # number of parts.
            self._many_parts = 2 * len(self.parts) + FEW_PARTS
        self.parts.add(part)
        return 0

    cdef bint has_calls(self) except -1:
        """Return whether the call of the request, or a part of it, is in progress."""
        cdef ServerCall part
        if is_under_way(self.call):
            return True
        for part in self.parts or ():
            if is_under_way(part):
                return True
        self.parts = None
        return False

    cdef int leave_calls(self) except -1:
        """Cancel the calls of the request, as the client is gone."""
        cdef ServerCall call
        cdef Gate gate = self.service.gate
        for call in (self.call, *(self.parts or ())):
            if is_under_way(call):
                gate.cancel(call, False)
        return 0
