"""Bodies that are read in parts: lines, messages of gRPC-Web and Connect, forms, bodies of mounted applications."""

cimport cython

from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.request_intake cimport BodyReading, RequestIntake
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class LinesBody(BodyReading):
    cdef:
        # An incomplete line.
        bytearray _line

    cdef int _take_line(self, RequestIntake intake, ServerCall call, bytes line) except -1


@cython.final
cdef class MessagesBody(BodyReading):
    cdef:
        # The counted bytes of an incomplete message.
        Py_ssize_t _counted


@cython.final
cdef class FormBody(BodyReading):
    cdef int _begin(self, RequestIntake intake, HttpTerms terms) except -1


@cython.final
cdef class MountBody(BodyReading):
    pass


# Return the reader of a body that is read in parts, for its request.
cdef BodyReading reading_of(HttpTerms terms)
