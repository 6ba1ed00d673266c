"""The served connection of an `Engine`."""

from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class EngineServedConnection(ServedConnection):
    cdef:
        # The engine, borrowed: NULL once it is gone. The engine holds this object and clears the pointer.
        PyObject* _engine

    # For a long request, whose sender is identified before the rest of it is received (`SenderCheck`).
    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1
    cdef int leave_rest(self, ServerCall call) except -1
    cdef int sender_known(self, ServerCall call, int verdict) except -1

    cdef int64_t unsent_bytes(self) except? -1
    cdef int join(self, Engine engine) except -1
    cdef int certify(self, object identity, object valid_seconds, uint64_t generation) except -1
