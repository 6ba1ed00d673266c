cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.buffer cimport ReadBuffer
from fastrpc._core.base.timer_wheel cimport Timed, TimerWheel
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.loop.polling cimport Spinner
from fastrpc._core.loop.turns cimport Turns


cdef enum:
    # If no tick of the watch ran for longer than this, the loop was blocked, and the sockets hold unread bytes.
    STALL_NS = 20_000_000
    POOLED_TASKS = 64                    # as many handlers as one read of a busy connection starts


@cython.final
cdef class HeldSockets:
    cdef:
        # `_loop`: the loop. `_look`: the callback `look`. `_context`: the context in which it runs.
        object _loop
        object _look
        object _context

        # `_owners`: the streams whose input is paused, or was paused recently; `_handle`: the timer of the next check,
        # None without such streams.
        set _owners
        object _handle

    cdef int add(self, Timed owner) except -1
    cdef int drop(self, Timed owner) except -1
    cdef int _schedule(self) except -1
    cdef int _descriptor_of(self, Timed owner) except -2
    cdef int _tell(self, Timed owner, bint is_reset) except -1


@cython.final
cdef class TaskPool:
    cdef:
        # `_idle`: the first `_count` of POOLED_TASKS places hold idle tasks, the others None. The list is never
        # resized.
        list _idle
        Py_ssize_t _count

        # factory(loop) makes a task of the pooled class for this loop.
        readonly object loop
        object _factory

    cpdef HandlerTask acquire(self)
    cpdef bint release(self, HandlerTask task) except -1


cdef class LoopState(Timed):
    cdef:
        # The loop whose sessions share this object.
        readonly object loop
        object call_soon
        object __weakref__

        # `buffer`: the receive buffer of all connections. `whole_view`: a view of the whole buffer, kept for the common
        # case.
        ReadBuffer buffer
        object whole_view

        # `wheel`: all timers of the loop. `armed_ns`: the instant of the single loop timer that drives them, 0 if it is
        # not armed; `armed_handle` is its handle, `_fire` its callback.
        TimerWheel wheel
        uint64_t armed_ns
        object armed_handle
        object _fire

        # The spinner of the connections that spin; None until there is one.
        readonly Spinner spinner

        # The queue of work that would block the loop for too long.
        readonly Turns turns

        # The sockets whose input is held.
        readonly HeldSockets held_sockets

        # The context of timers: a copy of the caller's context would stay alive until the timer is due.
        object _context
        bint is_late

        # The stall watch. At `seen_ns` the loop was not blocked; a read after `calm_until_ns` comes after a stall (0:
        # the watch is off). Ticks continue for a while, and as long as handlers run.
        readonly uint64_t calm_until_ns
        readonly uint64_t seen_ns
        uint64_t watched_ns
        readonly Py_ssize_t handlers

        # The delay of the last tick in nanoseconds.
        uint64_t lag_ns

    cdef Spinner shared_spinner(self)
    cdef int start_timer(self, Timed owner, uint64_t due_ns) except -1
    cdef int stop_timer(self, Timed owner) except -1
    cdef int watch(self, uint64_t now) except -1
    cdef int _tick(self, uint64_t now) except -1
    cdef int _arm(self, uint64_t due_ns) except -1
    cdef int _release(self) noexcept

cpdef LoopState loop_state(object loop)
