"""The memory for output of a server's connections, and the handlers that wait for it."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.server.memory_budget cimport MemoryBudget
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection, process_held

cdef enum:
    # A smaller result, error or message is written without a check of memory, as the record of its call counts more.
    SMALL_OUTPUT = 1_024
    # During a read, only larger answers are counted one by one, as `Memory.send_soft` limits a connection's answers.
    LARGE_OUTPUT = 65_536


@cython.final
cdef class OutputRoom(Timed):
    cdef:
        # `memory`: the memory budget of the server. `loop_state`: its loop.
        readonly MemoryBudget memory
        LoopState loop_state

        # The size limit of a sent message.
        uint64_t sent_bytes

        # `_senders`: futures of senders that wait for memory, in order; `_is_looking`: whether they will be checked in
        # the next turn.
        object _senders
        bint _is_looking

        # Woken tasks that wait for a later turn, each with the error to resume it with. They continue in any case.
        object _woken
        # Tasks that continue only when there is memory, with their calls: they would only send.
        object _giving
        # The number of tasks in `_woken` and `_giving`.
        Py_ssize_t deferred
        # Whether this object is in the queue of slices.
        bint _is_queued

        # `_ends_ns`: the instant at which woken tasks have used up their time in this turn of the loop, 0 if none wrote
        # a large output; `is_spent`: whether that instant has passed.
        uint64_t _ends_ns
        bint is_spent

    # Return whether the sum of the process exceeds its limit.
    cdef inline bint is_over(self) noexcept:
        return process_held > self.memory.process_bytes

    # Return whether a woken task has to wait for a later turn: memory is short, others wait, or the time is used up.
    cdef inline bint defers(self) noexcept:
        return process_held > self.memory.shed_above or self.deferred > 0 or self.is_spent

    cdef bint takes(self, ServerCall call, int64_t size) noexcept
    cdef Py_ssize_t lack_before(self, ServerCall call, object value) except -2
    cdef str lack_text(self, ServerCall call, int64_t size)
    cdef int weigh(self, ServedConnection connection, Py_ssize_t size) except -1
    cdef int spend(self, uint64_t began, bint is_large) except -1
    cdef int add(self, object future) except -1
    cdef int defer(self, HandlerTask task, object error, ServerCall giver) except -1
    cdef int _queue(self) except -1
    cdef int _watch(self) except -1
    cdef int _look_soon(self) except -1
    cdef int _free_stopped(self) except -1
    cdef int _go_on(self, uint64_t ends_ns) except -1
    cdef object _next(self)


cdef inline bint needs_room(ServerCall call, Py_ssize_t size) noexcept:
    """Return whether an answer of this size has to be compared with the process's limit and counted immediately."""
    if size <= SMALL_OUTPUT and (call.sent_metadata is None or call.connection.is_reading):
        return False
    return size > LARGE_OUTPUT or not call.connection.is_reading
