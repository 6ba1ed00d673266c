"""The state that all connections of one event loop share: receive buffer, timers, stall watch, held sockets.

The idle handler tasks of a loop are here, too, in a `TaskPool`.

The thread and `loop.is_running()` show whether a client is used in its own loop. `asyncio.get_running_loop` would call
`getpid` on Python 3.11, twice for each call.
"""

import asyncio
import contextvars
import sys
import weakref
from asyncio.exceptions import InvalidStateError

cimport cython
from cpython.buffer cimport PyBUF_WRITE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF

from fastrpc._core.base.timer_wheel cimport LISTS, Timer
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.loop.handler_task cimport PENDING

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents

cdef extern from "loop/hang_up.h" nogil:
    const int RESET "FRPC_RESET"
    int look_for_ends "frpc_look_for_ends"(pollfd* entries, size_t count)

cdef extern from "Python.h":
    # Declared here because cpython.object lets them raise, which is forbidden during a traversal.
    ctypedef int (*visitproc)(PyObject*, void*) noexcept
    ctypedef int (*traverseproc)(PyObject*, visitproc, void*) noexcept
    ctypedef int (*inquiry)(PyObject*) noexcept
    ctypedef struct PyTypeObject:
        traverseproc tp_traverse
        inquiry tp_clear

cdef enum:
    # The bytes that transports read in one call (uvloop: 256,000 bytes), and room for the largest head.
    READ_BLOCK = 393_216
    # TICK_NS: the interval of the watch's ticks. QUIET_NS: the time for which they continue when no handler runs.
    TICK_NS = 10_000_000
    QUIET_NS = 1_000_000_000
    # A tick that is late by this much shows that the loop is busy.
    LATE_TICK_NS = 1_000_000
    # A timer is armed this much later than it is due, see `_arm`.
    ARMED_NS = 1_000_000

# Longest sleep in seconds that is checked against the clock.
cdef double LONGEST_SLEEP = 1e9

# Seconds between two checks of the held sockets.
cdef double LOOK_SECONDS = 1.0

# The total time for which loops of this process were blocked.
cdef uint64_t blocked_ns = 0

# id(loop) -> LoopState. The reference is weak, as the state holds its loop: an unused loop can be collected.
states = weakref.WeakValueDictionary()


cpdef LoopState loop_state(object loop):
    """Return the state of a loop, created on first use and kept alive by its users."""
    cdef LoopState found = states.get(id(loop))
    if found is None or found.loop is not loop:
        found = LoopState(loop)
        states[id(loop)] = found
    return found


def loop_seconds():
    """Return the lag of the slowest loop, and the total time that loops were blocked."""
    cdef uint64_t late, worst = 0, now = now_ns()
    cdef LoopState state
    for each in list(states.values()):
        state = <LoopState>each
        late = state.lag_ns
        if state.calm_until_ns:
            # An overdue tick counts, too: only it shows a loop that is blocked now.
            late = max(late, now - min(now, state.seen_ns + TICK_NS + ARMED_NS))
        worst = max(worst, late)
    return worst * 1e-9, blocked_ns * 1e-9


@cython.final
cdef class LoopState(Timed):
    # Set in __cinit__: __init__ could be called again, and linked timers point into the wheel.
    def __cinit__(self, loop):
        self.loop = loop
        self.call_soon = loop.call_soon
        self.buffer = ReadBuffer(READ_BLOCK)
        self.whole_view = PyMemoryView_FromMemory(self.buffer.data, self.buffer.capacity, PyBUF_WRITE)
        self.wheel = TimerWheel()
        self.turns = Turns(loop)
        self.held_sockets = HeldSockets(loop)
        self._fire = self.fire
        self._context = contextvars.Context()

    def __dealloc__(self):
        self._release()

    cdef int _release(self) noexcept:
        """Release the owners of all timers, which will never fire."""
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
        """The number of running timers, without the stall watch's timer."""
        return self.wheel.live - (self.timer.next is not NULL)

    cdef Spinner shared_spinner(self):
        if self.spinner is None:
            self.spinner = Spinner(self.loop)
        return self.spinner

    cdef int start_timer(self, Timed owner, uint64_t due_ns) except -1:
        """Wake `owner` at an instant of the monotonic clock, or soon after; move the timer if it already runs."""
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
            self.armed_handle = None
            self.armed_ns = 0
        # A millisecond later than the tick: a timer that fires early would find nothing due and fire again.
        self.armed_handle = self.loop.call_at(due_ns / 1e9 + 0.001, self._fire, context=self._context)
        # Set after the call: if the call failed, such as in a wrong thread, a value set before it would block all
        # timers.
        self.armed_ns = due_ns
        return 0

    def fire(self):
        """Fire the timers that are due; called by the loop."""
        cdef Timed owner
        cdef uint64_t due_ns, now = now_ns()
        if now > self.armed_ns + STALL_NS and not self.is_late:
            # Answers and PINGs may be unread: no timer may fire before the sockets are read.
            self.is_late = True
            self.call_soon(self.call_soon, self._fire)
            return
        self.is_late = False
        self.armed_ns = 0
        if self.armed_handle is not None:
            self.armed_handle.cancel()
            self.armed_handle = None
        self.wheel.advance(now)
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

    # The watch

    cdef int watch(self, uint64_t now) except -1:
        """Start the ticks: from now on a read after `calm_until_ns` detects a stall."""
        self.watched_ns = now
        self.lag_ns = 0
        self._tick(now)
        return 0

    cdef int _tick(self, uint64_t now) except -1:
        self.seen_ns = now
        self.calm_until_ns = now + TICK_NS + STALL_NS
        return self.start_timer(self, now + TICK_NS)

    cdef int on_timer(self) except -1:
        """Note that the loop runs. After a stall, `fire` has let the sockets be read first."""
        global blocked_ns
        cdef uint64_t now = now_ns()
        self.lag_ns = now - min(now, self.seen_ns + TICK_NS + ARMED_NS)
        if self.lag_ns > STALL_NS:
            blocked_ns += self.lag_ns
        if self.lag_ns > LATE_TICK_NS:
            # Something takes long on this loop.
            self.turns.polls.arm(now, False)
        if self.handlers == 0 and now > self.watched_ns + QUIET_NS:
            # The next read starts the watch again.
            self.calm_until_ns = 0
            return 0
        return self._tick(now)


# Cython visits only declared Python objects, but the wheel refers to the owners of timers from C lists. Therefore the
# type's two collector slots are replaced, as in call_table. Otherwise the connections of a loop that was closed before
# them would never be collected, nor their sockets.
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


def no_loop(kind):
    """Return the error for an object that needs an event loop and is used where no loop runs."""
    trio = sys.modules.get("trio")
    if trio is not None and hasattr(trio.lowlevel, "in_trio_run") and trio.lowlevel.in_trio_run():
        return RuntimeError(
            f"a {kind} needs asyncio, and trio runs here; use asyncio.run(), or SyncClient in a thread: "
            "await trio.to_thread.run_sync(client.call, Arith.mul, 6, 7)"
        )
    way_out = "use SyncClient without one" if kind == "Client" else "write asyncio.run(main())"
    return RuntimeError(f"a {kind} needs a running event loop; {way_out}")


def wrong_loop(kind, own, other):
    """Return the error for an object of one loop that is used from another."""
    return RuntimeError(
        f"this {kind} belongs to {loop_label(own)} and was used from {loop_label(other)}; make one for each loop"
    )


async def slept(seconds):
    """Sleep for at least this number of seconds."""
    cdef uint64_t until, now
    if not 0 < seconds < LONGEST_SLEEP:
        await asyncio.sleep(seconds)
        return
    until = now_ns() + <uint64_t>(<double>seconds * 1e9)
    # uvloop counts whole milliseconds from the start of its turn, so its timers may be early.
    while True:
        await asyncio.sleep(seconds)
        now = now_ns()
        if now >= until:
            return
        seconds = <double>(until - now) / 1e9


cdef str loop_label(loop):
    # Two loops can have the same repr: their addresses distinguish them.
    return f"{loop!r} at {id(loop):#x}"


@cython.final
cdef class HeldSockets:
    """The sockets of one loop whose input is held, checked once a second for a disconnected peer.

    A connection may not be read because its stream's window is full or its peer receives no answers. It does not notice
    that its peer disconnects: the FIN or the reset lies behind unread bytes, where neither a read nor MSG_PEEK shows
    it. `poll` does. One call checks all held sockets: thousands of them take a millisecond a second.

    A peer that vanished without a FIN or a reset is detected by the system's keepalive (`transports/tcp`), whose error
    `poll` reports as well.
    """

    def __cinit__(self, loop):
        self._loop = loop
        self._look = self.look
        # A separate context: otherwise each check would keep the context of the first held stream.
        self._context = contextvars.Context()
        self._owners = set()

    def __len__(self):
        return len(self._owners)

    cdef int add(self, Timed owner) except -1:
        """Watch a stream until its `held_descriptor` is -1 or it is dropped."""
        self._owners.add(owner)
        return self._schedule() if self._handle is None else 0

    cdef int drop(self, Timed owner) except -1:
        """Stop watching a stream: its socket is about to be closed."""
        self._owners.discard(owner)
        return 0

    cdef int _schedule(self) except -1:
        try:
            self._handle = self._loop.call_later(LOOK_SECONDS, self._look, context=self._context)
        except RuntimeError:
            # The loop was closed before its connections.
            if not self._loop.is_closed():
                raise
        return 0

    def look(self):
        """Notify the streams whose peer is gone."""
        cdef Py_ssize_t count = 0, i
        cdef int descriptor
        cdef list asked = []
        # Freed below; `poll` keeps no pointer into it.
        cdef pollfd* entries = <pollfd*>PyMem_Malloc(max(1, len(self._owners)) * sizeof(pollfd))
        if entries is NULL:
            raise MemoryError()
        try:
            for owner in list(self._owners):
                descriptor = self._descriptor_of(<Timed>owner)
                if descriptor < 0:
                    self._owners.discard(owner)
                    continue
                entries[count].fd = descriptor
                asked.append(owner)
                count += 1
            if count and look_for_ends(entries, <size_t>count) > 0:
                for i in range(count):
                    if entries[i].revents:
                        self._tell(<Timed>asked[i], entries[i].revents & RESET)
        finally:
            PyMem_Free(entries)
            if self._handle is not None:
                self._handle.cancel()
                self._handle = None
            if self._owners:
                self._schedule()

    cdef int _descriptor_of(self, Timed owner) except -2:
        try:
            return owner.held_descriptor()
        except Exception as error:
            # The other streams are checked nevertheless.
            self._loop.call_exception_handler({"message": f"{owner!r} did not return its socket", "exception": error})
            return -1

    cdef int _tell(self, Timed owner, bint is_reset) except -1:
        try:
            owner.on_hang_up(is_reset)
        except Exception as error:
            # The other streams are notified nevertheless.
            self._loop.call_exception_handler({"message": f"{owner!r} failed after its peer left", "exception": error})
        return 0


@cython.final
cdef class TaskPool:
    """Idle handler tasks, kept for the next calls: creating a task takes longer than most handlers."""

    def __init__(self, loop, factory=HandlerTask):
        self.loop = loop
        self._factory = factory
        self._idle = [None] * POOLED_TASKS

    def __len__(self):
        return self._count

    cpdef HandlerTask acquire(self):
        # The variable must not keep a released task: a second reference makes a task not reusable.
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
        # holds the task, so the caller drops its own reference first. A broken future could keep that method and wake
        # the next call with it; therefore acquire() checks again.
        if task._phase == PENDING:
            raise InvalidStateError(f"only a task that ended can be released, not {task!r}")
        if task._loop is not self.loop or not task.is_reusable():
            return False
        task.rearm()
        # Checked after rearm(), which may have released objects whose finalizers used this pool.
        if self._count == POOLED_TASKS:
            return False
        self._idle[self._count] = task
        self._count += 1
        return True
