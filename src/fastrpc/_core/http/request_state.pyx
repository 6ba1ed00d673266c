"""The request of an exchange, as answers and calls see it: its state, between its head and the end of its response.

::

    GatewayRequests ──► RequestState ◄── HttpTerms.request, of its call and of the calls that are parts of it
                           │ exchange_of ──► Exchange, None for a call that has lost its client
                           └ conclude ─────► Exchange.answer

`GatewayRequests` derives from it, and has what only exchanges call. A call may outlive the exchange, which says
`exchange_over`.
"""

from fastrpc._core.calls.call cimport STATE_ANSWERING
from fastrpc._core.link.contract cimport lacking
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.streams.stream_channel cimport StreamChannel


cdef class RequestState(HttpApplication):
    """The request of an exchange between its head and the end of its response."""

    cdef int end_call(self, ServerCall call) except -1:
        """Note that the rest of the response is sent next, so that nothing else of the call can follow."""
        call.state = STATE_ANSWERING
        self.call = None
        self.sign_due_ns = 0
        return 0

    cdef int conclude(self, Exchange exchange, ServerCall call, int status, bytes lines, bytes content) except -1:
        """Send a whole response: the next request may follow."""
        self.end_call(call)
        return exchange.answer(status, lines, content, self.leaves_body)

    cdef int wake_stream(self, Exchange exchange, ServerCall call) except -1:
        if call.stream is None or exchange.is_full():
            return 0
        # A stream that waits for memory is woken when there is memory.
        return 0 if (<ServedStream>call.stream).awaits_memory else (<StreamChannel>call.stream).wake_sender()

    cdef int await_sign(self, uint64_t now) except -1:
        """Let the next sign of life be due one interval from now."""
        self.sign_due_ns = now + self.service.sign_ns
        return self.connection.look_by(self.sign_due_ns)

    cdef bint has_calls(self) except -1:
        """Return whether a call for the request is under way."""
        raise lacking(self, "has_calls")

    cdef int leave_calls(self) except -1:
        """Stop the calls for the request, whose client is gone."""
        raise lacking(self, "leave_calls")
