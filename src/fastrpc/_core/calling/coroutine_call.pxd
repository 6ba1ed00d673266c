from cpython.object cimport PyObject

from fastrpc._core.calling.pending_call cimport PendingCall

cdef enum:
    # The outcome of one step.
    RETURNED = 1
    YIELDED = 2


cdef class CoroutineCall(PendingCall):
    cdef:
        # The coroutine's progress, the future it awaits, and the coroutine of the slow path.
        int phase
        object future
        object inner

    cdef int step(self, object value, PyObject** result) except -1
    cdef int begin(self, PyObject** result) except -1
    cdef int resume(self, PyObject** result) except -1
    cdef int abandon(self, int reason) except -1
    cdef int wait(self, PyObject** result) except -1
    cdef int delegate(self, object inner, PyObject** result) except -1
    cdef object _thrown(self, object error)
    cdef int _delegated(self, object value, PyObject** result) except -1


cdef int make_awaitable(object kind) except -1
