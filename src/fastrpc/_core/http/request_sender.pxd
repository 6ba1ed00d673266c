"""The check of a request's sender by its head, before a long body is read."""

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.server.served_call cimport ServerCall

# Identify the sender of a request to a fixed path or an application; the verdict may come later.
cdef int identify(RequestState request, Exchange exchange, ServerCall call) except -1

# Return the most bytes of the body; the long body of a request that is refused anyhow is not awaited.
cdef int64_t admit(
    RequestState request, Exchange exchange, ServerCall call, HttpTerms terms, RequestHead head
) except? -2

# Answer a request whose deadline passes before its sender is known; return that deadline, 0: no sender is awaited.
cdef uint64_t check_sender(RequestState request, Exchange exchange, uint64_t now) except? 0
