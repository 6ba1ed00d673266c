"""The answers of foreign forms: gRPC-Web and Connect, the header gateways of rpcx and Phobos, mounted applications."""

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.answering cimport Answering
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.server.served_call cimport ServerCall

# For a request of Phobos: answer a heartbeat, or a one-way call before it is made; return whether the request is done.
cdef bint answers_at_once(Exchange exchange, ServerCall call, bytes payload) except -1

# Return the way to answer a request.
cdef Answering answering_of(HttpTerms terms)
