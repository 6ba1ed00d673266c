"""The answers of the gateway's own forms: values, streams, parts of documents."""

cimport cython

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.answering cimport BareAnswering
from fastrpc._core.link.contract cimport Dialect
from fastrpc._core.server.served_call cimport ServerCall


cdef class ValueAnswering(BareAnswering):
    cdef int _answer_as(self, Exchange exchange, ServerCall call, bytes payload) except -1


@cython.final
cdef class StreamAnswering(ValueAnswering):
    cdef int _begin(self, Exchange exchange, ServerCall call) except -1
    cdef int _end(self, Exchange exchange, ServerCall call, bytes part) except -1


@cython.final
cdef class PartAnswering(ValueAnswering):
    pass


cdef class HttpDialect(Dialect):
    pass


# Objects without state, which all requests share.
cdef ValueAnswering BY_VALUE
cdef StreamAnswering BY_STREAM
cdef PartAnswering AS_PART
