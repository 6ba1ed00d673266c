"""The ways to answer a request. One is chosen when its head arrives."""

from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.served_call cimport ServerCall


cdef class Answering:
    # Outcomes of calls.
    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1
    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1

    # Streams of messages.
    cdef int head(self, Exchange exchange, ServerCall call, bytes metadata) except -1
    cdef int message(self, Exchange exchange, ServerCall call, bytes payload, int compressor) except -1

    # Signs of life of a silent stream.
    cdef int hold(self, Exchange exchange, ServerCall call) except -1
    cdef int sign(self, Exchange exchange, ServerCall call, uint64_t now) except -1

    # After some output was sent.
    cdef int room(self, Exchange exchange, ServerCall call) except -1

    # Before the answer.
    cdef int note(self, Exchange exchange, ServerCall call, int status, dict fields, object compress) except -1
    cdef int check_sent(self, ServerCall call, bytes metadata) except -1
    cdef Marshal marshal(self, ServerCall call)


cdef class BareAnswering(Answering):
    pass
