"""Handler tasks that Python code starts in place of a session, for tests and benchmarks.

::

    DrivenTask    one call of a coroutine, started by the test
    TaskDriver    starts coroutines through a pool, and records their outcomes
"""

import contextvars

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from fastrpc._core.loop.handler_task cimport IDLE

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN
    PySendResult PyIter_Send(object coroutine, object value, PyObject** produced) noexcept


cdef class DrivenTask(HandlerTask):
    def run_first_step(self, coroutine, context=None):
        return bool(self.begin(coroutine, contextvars.copy_context() if context is None else context))

    cdef int finished(self) except -1:
        self.finished_calls += 1
        if self._driver is not None:
            self._driver._record(self)
        return 0

    cdef object make_name(self):
        return f"driven:{self._coro.__qualname__}" if self._coro is not None else "driven"

    cdef void rearm(self) noexcept:
        self._driver = None
        HandlerTask.rearm(self)


cdef class TaskDriver:
    def __init__(self, loop):
        self.pool = TaskPool(loop, DrivenTask)
        self.outcomes = []

    def start(self, coroutine, context=None):
        cdef DrivenTask task = <DrivenTask>self.pool.acquire()
        cdef bint ended = True
        task._driver = self
        try:
            ended = task.begin(coroutine, contextvars.copy_context() if context is None else context)
        finally:
            if ended and task._phase != IDLE:
                self._record(task)
        return ended

    def repeat(self, function, Py_ssize_t count):
        cdef HandlerTask task
        context = contextvars.copy_context()
        for _ in range(count):
            task = self.pool.acquire()
            if not task.begin(function(), context):
                raise RuntimeError(f"{function!r} suspended")
            self.pool.release(task)
            task = None

    cdef int _record(self, DrivenTask task) except -1:
        self.outcomes.append((task.value, task.error))
        self.pool.release(task)
        return 0


def send_repeatedly(function, Py_ssize_t count):
    cdef PyObject* produced = NULL
    for _ in range(count):
        coroutine = function()
        if PyIter_Send(coroutine, None, &produced) != PYGEN_RETURN:
            raise RuntimeError(f"{function!r} did not return at once")
        Py_DECREF(<object>produced)
