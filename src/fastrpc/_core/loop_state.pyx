"""What all connections of one event loop share: the receive buffer and the timers."""

import contextvars
import weakref

cimport cython
from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from fastrpc._core.timer_wheel cimport LISTS, Timer
from fastrpc._core.wire cimport now_ns

cdef extern from "Python.h":
    # Declared here because cpython.object lets them raise, which a traversal must not.
    ctypedef int (*visitproc)(PyObject*, void*) noexcept
    ctypedef int (*traverseproc)(PyObject*, visitproc, void*) noexcept
    ctypedef int (*inquiry)(PyObject*) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
        inquiry tp_clear

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

    def __dealloc__(self):
        self._release()

    cdef int _release(self) noexcept:
        """Let go of the owners of all timers: nobody will fire them any more."""
        cdef Timer* head
        cdef int position
        if self.wheel is None:
            return 0
        for position in range(LISTS):
            head = &self.wheel._heads[position]
            while head.next is not head:
                owner = <Timed>head.next.owner
                self.wheel.cancel(head.next)
                Py_DECREF(owner)
        return 0

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


# Cython visits only declared Python objects, and the wheel's references to the owners of timers lie in C lists. So
# the two slots of the type are replaced, as in call_table; without that the connections of a loop that was closed
# before them, and their sockets, would live for ever.
cdef traverseproc generated_traverse
cdef inquiry generated_clear


cdef int traverse(PyObject* state, visitproc visit, void* argument) noexcept:
    """Visit the owners of all timers. Takes no reference: the collector is counting them."""
    cdef PyObject* wheel = <PyObject*>(<LoopState>state).wheel
    cdef Timer* head
    cdef Timer* timer
    cdef int position, stop
    if wheel is not <PyObject*>None and (<TimerWheel>wheel).live:
        for position in range(LISTS):
            head = &(<TimerWheel>wheel)._heads[position]
            timer = head.next
            while timer is not head:
                stop = visit(<PyObject*>timer.owner, argument)
                if stop:
                    return stop
                timer = timer.next
    return generated_traverse(state, visit, argument)


cdef int clear(PyObject* state) noexcept:
    (<LoopState>state)._release()
    return generated_clear(state)


cdef void install_traversal(PyTypeObject* type) noexcept:
    global generated_traverse, generated_clear
    generated_traverse = type.tp_traverse
    generated_clear = type.tp_clear
    type.tp_traverse = traverse
    type.tp_clear = clear


install_traversal(<PyTypeObject*>LoopState)
