"""What all connections of one event loop share: the receive buffer and the timers."""

import contextvars
import weakref

cimport cython
from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport Py_DECREF, Py_INCREF

from fastrpc._core.wire cimport now_ns

cdef enum:
    # As much as the transports below us read at once (uvloop: 256,000 bytes), and room for the largest head.
    READ_BLOCK = 393_216

# id(loop) -> LoopState. Weak on the state, which holds its loop: a loop nobody uses any more can go.
states = weakref.WeakValueDictionary()


cpdef LoopState loop_state(object loop):
    """Return the state of a loop, made on first use and kept by those who hold it."""
    cdef LoopState found = states.get(id(loop))
    if found is None or found.loop is not loop:
        found = LoopState(loop)
        states[id(loop)] = found
    return found


@cython.final
cdef class LoopState:
    def __init__(self, loop):
        self.loop = loop
        self.call_soon = loop.call_soon
        self.buffer = ReadBuffer(READ_BLOCK)
        self.whole_view = PyMemoryView_FromMemory(self.buffer.data, self.buffer.capacity, PyBUF_WRITE)
        self.wheel = TimerWheel()
        self._fire = self.fire
        self._context = contextvars.Context()

    @property
    def live_timers(self):
        """Timers that run now."""
        return self.wheel.live

    cdef int start_timer(self, Timed owner, uint64_t due_ns) except -1:
        """Wake `owner` at an instant of the monotonic clock, or soon after; moves a timer that runs."""
        if owner.timer.next is NULL:
            Py_INCREF(owner)
            owner.timer.owner = <void*>owner
        self.wheel.add(&owner.timer, due_ns)
        if self.armed_ns == 0 or due_ns + 2_000_000 < self.armed_ns:
            self._arm(due_ns)
        return 0

    cdef int stop_timer(self, Timed owner) except -1:
        if owner.timer.next is not NULL:
            self.wheel.cancel(&owner.timer)
            Py_DECREF(owner)
        return 0

    cdef int _arm(self, uint64_t due_ns) except -1:
        if self.armed_handle is not None:
            self.armed_handle.cancel()
        self.armed_ns = due_ns
        # A millisecond later than the tick: a timer that fires early would find nothing due and fire again.
        self.armed_handle = self.loop.call_at(due_ns / 1e9 + 0.001, self._fire, context=self._context)
        return 0

    def fire(self):
        """Wake whoever is due; called by the loop."""
        cdef Timed owner
        cdef uint64_t due_ns
        self.armed_ns = 0
        self.armed_handle = None
        self.wheel.advance(now_ns())
        while True:
            timer = self.wheel.pop_expired()
            if timer is NULL:
                break
            owner = <Timed>timer.owner
            Py_DECREF(owner)
            try:
                owner.on_timer()
            except Exception as error:
                self.loop.call_exception_handler({"message": f"timer of {owner!r} failed", "exception": error})
        due_ns = self.wheel.next_due_ns()
        if due_ns and (self.armed_ns == 0 or due_ns < self.armed_ns):
            self._arm(due_ns)
