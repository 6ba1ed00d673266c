"""The answers of foreign forms: gRPC-Web and Connect, the header gateways of rpcx and Phobos, mounted applications."""

cimport cython

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.answering cimport Answering, BareAnswering
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.own_answerings cimport HttpDialect, ValueAnswering
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class WebAnswering(Answering):
    cdef int _begin(self, Exchange exchange, ServerCall call, bytes metadata, int compressor) except -1
    cdef int _end(self, Exchange exchange, ServerCall call, bytes payload, Failure failure, int status) except -1


@cython.final
cdef class HeaderAnswering(BareAnswering):
    cdef bint answers_at_once(self, Exchange exchange, ServerCall call, bytes payload) except -1


@cython.final
cdef class MountAnswering(ValueAnswering):
    pass


@cython.final
cdef class WebDialect(HttpDialect):
    pass


@cython.final
cdef class HeaderDialect(HttpDialect):
    pass


# An object without state, which all requests share.
cdef HeaderAnswering BY_HEADERS

# Return the way to answer a request.
cdef Answering answering_of(HttpTerms terms)
