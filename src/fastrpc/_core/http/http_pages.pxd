"""The outcomes of the calls of requests: from the gate to responses."""

cimport cython
from cpython.ref cimport PyObject

from fastrpc._core.calls.call cimport Call
from fastrpc._core.exchange.pages cimport Pages
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.link.contract cimport Dialect, Flow, Forms, Handling, Outcomes
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class HttpPages(Pages):
    cdef:
        # Shared by all connections; the settings by which the clients of WebSockets at mounted applications are pinged.
        HttpService service
        object keepalive

        # The served connection, borrowed: it holds this object.
        PyObject* _connection


@cython.final
cdef class HttpOutcomes(Outcomes):
    # `refuse`, as `Pages` has it.
    cdef int refuse_as(self, Call call, Failure failure, bint is_faulty) except -1

    # Send a failure under a status of HTTP, with further fields.
    cdef int _fail_as(self, ServerCall call, Failure failure, int status, bytes lines) except -1


@cython.final
cdef class AnsweringFlow(Flow):
    pass


@cython.final
cdef class AnsweringDialect(Dialect):
    pass


@cython.final
cdef class HttpForms(Forms):
    pass


@cython.final
cdef class HttpHandling(Handling):
    pass


# An object without state, which all connections share.
cdef HttpOutcomes OUTCOMES
cdef AnsweringFlow FLOW
cdef AnsweringDialect DIALECT
cdef HttpForms FORMS
cdef HttpHandling HANDLING
