"""Idle handler tasks of one loop."""

cimport cython

from fastrpc._core.loop.handler_task cimport HandlerTask

cdef enum:
    POOLED_TASKS = 64                    # as many handlers as one read of a busy connection starts


@cython.final
cdef class TaskPool:
    cdef:
        # The first _count of POOLED_TASKS places hold idle tasks, the others None; never resized.
        list _idle
        Py_ssize_t _count

        # factory(loop) makes a task of the pooled class for the pool's loop.
        readonly object loop
        object _factory

    cpdef HandlerTask acquire(self)
    cpdef bint release(self, HandlerTask task) except -1
