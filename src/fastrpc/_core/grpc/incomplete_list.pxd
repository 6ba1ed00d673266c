"""The list of the calls of one connection whose request, or message of a stream, is incomplete."""

cimport cython

from fastrpc._core.grpc.grpc_call cimport GrpcCall
from fastrpc._core.server.gate cimport Gate


@cython.final
cdef class IncompleteList:
    cdef:
        # Counts the memory of the received parts.
        Gate gate

        # The calls. Each has `is_incomplete` set.
        set calls

    # List a call, once. The request or message is whole, or its stream is over.
    cdef int add(self, GrpcCall call) except -1
    cdef int remove(self, GrpcCall call) except -1

    # The answer of a listed call has ended: free the received part.
    cdef int drop(self, GrpcCall call) except -1

    # The sender of a request need not be judged any more.
    cdef int drop_check(self, GrpcCall call) noexcept
