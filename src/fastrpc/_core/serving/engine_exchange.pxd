"""The exchange of a connection that is an `Engine`."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.serving.exchange cimport Exchange


cdef class EngineExchange(Exchange):
    cdef:
        # The engine, borrowed: NULL once it is gone; where it keeps a pointer to this, borrowed as well. Whichever of the
        # two is freed first clears the pointer that the other has to it.
        PyObject* _engine
        PyObject** _place

    cdef int64_t unsent_bytes(self) except? -1
    cdef int join(self, Engine engine, PyObject** place) noexcept
    cdef int certify(self, object identity, object valid_seconds, uint64_t generation) except -1
