"""The credit of strangers on a connection of HTTP/2."""

cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class GrpcTrust:
    cdef:
        # The connection, borrowed: it lives while a link holds its wire, and calls are admitted only then.
        PyObject* http2

        # Whether a request of the connection was authenticated, or none has to be. Until then each stream keeps the
        # credit of its bytes until its call is admitted: strangers never have more under way than the first window.
        bint is_given

    # A call was admitted before trust was given.
    cdef int admit(self, ServerCall call) except -1


# A call was let in: until one was authenticated, this may be the first.
cdef inline int let_in(GrpcTrust trust, ServerCall call) except -1:
    return 0 if trust.is_given else trust.admit(call)


cdef GrpcTrust new_trust(Http2Connection http2, bint is_given)
