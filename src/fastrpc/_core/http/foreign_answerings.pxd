"""The answers to gRPC-Web, Connect and the header gateways of rpcx and Phobos, and failures of mounted applications."""

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.answering cimport Answering
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.server.served_call cimport ServerCall

# If a request of Phobos is a heartbeat or a one-way call, answer it now; return whether there is nothing left to do.
cdef bint answers_at_once(Exchange exchange, ServerCall call, bytes payload) except -1

# Return the `Answering` for a request.
cdef Answering answering_of(HttpTerms terms)
