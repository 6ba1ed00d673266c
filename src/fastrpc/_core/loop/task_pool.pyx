"""Idle handler tasks of one loop, kept for the next calls: to make one costs more than most handlers take."""

from asyncio.exceptions import InvalidStateError

from fastrpc._core.loop.handler_task cimport PENDING


cdef class TaskPool:
    def __init__(self, loop, factory=HandlerTask):
        self.loop = loop
        self._factory = factory
        self._idle = [None] * POOLED_TASKS

    def __len__(self):
        return self._count

    cpdef HandlerTask acquire(self):
        # A variable that still holds a released task keeps that task from being found.
        cdef HandlerTask task
        while self._count:
            self._count -= 1
            task = <HandlerTask>self._idle[self._count]
            self._idle[self._count] = None
            if task.is_reusable():
                return task
        return self._factory(self.loop)

    cpdef bint release(self, HandlerTask task) except -1:
        # The caller has one reference and forgets the task now. Inside finished() the bound method that the loop calls
        # has it, so the caller drops its own before. A broken future could keep that method and wake the next call with
        # it: therefore acquire() checks again.
        if task._phase == PENDING:
            raise InvalidStateError(f"only a task that ended can be released, not {task!r}")
        if task._loop is not self.loop or not task.is_reusable():
            return False
        task.rearm()
        # Checked after rearm(): the objects that it released may have run code that used this pool.
        if self._count == POOLED_TASKS:
            return False
        self._idle[self._count] = task
        self._count += 1
        return True
