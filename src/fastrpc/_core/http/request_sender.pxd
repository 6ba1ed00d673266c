"""The sender of a request: identified by the head, before a long body is read."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.server.engine_served_connection cimport SenderCheck
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class RequestSender:
    cdef:
        # Judges the senders of long requests that call a method; None before the first.
        SenderCheck _check

        # The deadline of a request to a fixed path or an application while its sender is unknown; 0: no deadline.
        uint64_t _due_ns

    # Identify the sender of a request to a fixed path or an application; the verdict may come later.
    cdef int identify(self, RequestState request, Exchange exchange, ServerCall call) except -1

    # Return the most bytes of the body; the long body of a request that is refused anyhow is not awaited.
    cdef int64_t admit(
        self, RequestState request, Exchange exchange, ServerCall call, HttpTerms terms, RequestHead head
    ) except? -2

    # Answer a request whose deadline passes before its sender is known; return that deadline, 0: no sender is awaited.
    cdef uint64_t check(self, RequestState request, Exchange exchange, uint64_t now) except? 0

    # Drop the verdict of a request that is gone.
    cdef int drop(self) except -1


# Answer a request before its body arrives; the body is not read.
cdef int answer_early(RequestState request, Exchange exchange) except -1
