"""The way of an exchange's requests into the gate, and the reading of bodies that come in parts."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.server.served_call cimport ServerCall


cdef class BodyReading:
    cdef int part(self, RequestIntake intake, ServerCall call, bytes part, bint is_last) except -1
    cdef Py_ssize_t held(self) noexcept


@cython.final
cdef class RequestIntake:
    cdef:
        # The requests of an exchange, borrowed: they hold this object.
        PyObject* _request

        # Shared by all connections.
        HttpService service

        # Of the present request: whether the gate has its call; the reading of its body, None: it arrives whole.
        bint has_started
        BodyReading body

    cdef inline RequestState request(self):
        return <RequestState>self._request

    cdef inline Exchange exchange(self):
        return (<RequestState>self._request).exchange()

    # The request.
    cdef int forget(self) except -1
    cdef int pass_in(self, bytes payload) except -1

    # Its body.
    cdef int part_came(self, bytes part, bint is_last) except -1
    cdef int grew(self, Py_ssize_t size) except -1
    cdef int put(self, ServerCall call, bytes message, int compressor) except -1
    cdef int end_input(self, object error) except -1
    cdef uint64_t check_rest(self, uint64_t now) except? 0


cdef RequestIntake new_intake(RequestState request)
