"""Handler tasks that Python code starts."""

cimport cython

from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.loop.loop_state cimport TaskPool


@cython.final
cdef class DrivenTask(HandlerTask):
    cdef:
        # The driver that started this task; None if run_first_step() started it.
        TaskDriver _driver

        # How often finished() was called since the task was created.
        readonly int finished_calls


@cython.final
cdef class TaskDriver:
    cdef:
        readonly TaskPool pool

        # (value, error) of each call that has ended, in the order of their ends.
        readonly list outcomes

    cdef int _record(self, DrivenTask task) except -1
