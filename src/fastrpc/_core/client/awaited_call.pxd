cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint64_t

from fastrpc._core.base.coroutine cimport RETURNED
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.client.client_stream cimport ClientStream
from fastrpc._core.io.engine cimport Engine


@cython.final
cdef class AwaitedCall(ClientCall):
    cdef:
        # `phase`: the phase of the coroutine; `future`: the future or coroutine it waits on; `inner`: the coroutine
        # that does the work on the slow path.
        int phase
        object future
        object inner

    # The coroutine.
    cdef int step(self, object value, PyObject** result) except -1
    cdef int begin(self, PyObject** result) except -1
    cdef object _sent(self)
    cdef int resume(self, PyObject** result) except -1
    cdef int abandon(self, int reason, object error) except -1
    cdef int wait(self, PyObject** result) except -1
    cdef int delegate(self, object inner, PyObject** result) except -1
    cdef int _delegated(self, object value, PyObject** result) except -1

    # The request.
    cdef Engine place(self, uint64_t now)
    cdef bytes prepare(self, uint64_t now)
    cdef bint send_on(self, Engine session, uint64_t now) except -1
    cdef object finish(self)

    cdef int wake(self) except -1
    cdef int _settle_stream(self) except -1


cdef inline int give(object value, PyObject** result) except -1:
    """End the coroutine of a call with a value."""
    Py_INCREF(value)
    result[0] = <PyObject*>value
    return RETURNED


cdef AwaitedCall new_stream_call(ClientStream stream)
cdef int expire(ClientCall call, Engine session) except -1
