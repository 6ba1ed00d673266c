from libc.stdint cimport uint64_t

from fastrpc._core.base.buffer cimport ReadBuffer
from fastrpc._core.loop.task_pool cimport TaskPool
from fastrpc._core.loop.spinner cimport Spinner
from fastrpc._core.base.timed cimport Timed
from fastrpc._core.base.timer_wheel cimport TimerWheel
from fastrpc._core.loop.turns cimport Turns


cdef enum:
    # A loop that did nothing of ours for longer was blocked: what peers sent meanwhile lies unread.
    STALL_NS = 20_000_000


cdef class LoopState(Timed):
    cdef:
        # The loop all sessions that share this run on.
        readonly object loop
        object call_soon
        object __weakref__

        # Where every connection's bytes are received; a view of the whole block is kept for the common case.
        ReadBuffer buffer
        object whole_view

        # All timers of the loop, and when the one loop timer that drives them is due (0: not armed).
        TimerWheel wheel
        uint64_t armed_ns
        object armed_handle
        object _fire

        # What keeps the loop awake for the connections that want it; None while none did.
        readonly Spinner spinner

        # Where work waits that would hold the loop for too long in one go.
        readonly Turns turns

        # What timers fire in: a copy of the context in which one was set would be kept until it is due.
        object _context
        bint is_late

        # The watch for whatever blocks the loop. It ran freely at `seen_ns`; who finds `calm_until_ns` over reads
        # behind a stall (0: nobody watches). The ticks go on for a while, and as long as handlers run.
        readonly uint64_t calm_until_ns
        readonly uint64_t seen_ns
        uint64_t watched_ns
        readonly Py_ssize_t handlers

    cdef Spinner shared_spinner(self)
    cdef int start_timer(self, Timed owner, uint64_t due_ns) except -1
    cdef int stop_timer(self, Timed owner) except -1
    cdef int watch(self, uint64_t now) except -1
    cdef int _tick(self, uint64_t now) except -1
    cdef int _arm(self, uint64_t due_ns) except -1
    cdef int _release(self) noexcept

cpdef LoopState loop_state(object loop)
