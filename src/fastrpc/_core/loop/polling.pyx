"""Polls of a loop: when they returned, spinning instead of them, and the bell by which threads wake a loop.

**PollClock** derives the instants at which polls returned from instants at which callbacks run::

    asyncio   poll ─ mark ─ other callbacks ─ reads ──► poll ─ mark ─ …
    uvloop    mark ─ other callbacks ─ poll ─ reads ──► mark ─ other callbacks ─ poll ─ …

A poll reports every watched socket that holds bytes. So bytes that are read in one turn arrived after the previous
turn's poll, unless that poll reported the socket, too. No loop reports when its poll returns, but a scheduled callback,
the mark, runs at the start of the next turn, and until then the loop does not sleep. Marks are set only for long turns:
they cost a round of the loop, and in short turns nothing waits for long. Without marks, bytes are dated when they are
read, as if the loop had slept until then. If an instant is uncertain, the later bound counts: nothing is dated before
an instant at which its socket was empty.

**Spinner** lets a loop poll instead of sleep for a while after the last activity. Waking a sleeping process takes some
40 microseconds, longer than the rest of a small call. A callback that reschedules itself keeps the loop's poll from
waiting, and stops after enough time without activity.

One callback serves all connections of the loop. It polls the socket of the last busy connection itself, a few times
with the GIL released: the loop's poll, the transport's callback and its queue cost more than the engine. A single call
in flight took 1.75 times as long as the spinning C echo over the transports, and 1.4 to 1.6 times as long directly, in
the same run.

Spinning is allowed if the machine, not only this process, has several cores: a process bound to one core may occupy it,
as its peer runs elsewhere. On a machine with one core, spinning keeps the peer from answering.

With **Bell** a thread wakes a loop; with **ThreadGate** a loop lets a waiting thread continue.
"""

import asyncio
import contextvars
import os
import warnings

cimport cython
from cpython.pythread cimport (
    PY_LOCK_ACQUIRED,
    PyLockStatus,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    WAIT_LOCK,
)

from fastrpc._core.base.wire cimport now_ns

# A turn that takes at least this long is marked.
cdef uint64_t LONG_NS = 1_000_000

cdef extern from "pythread.h" nogil:
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int intr_flag)

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int descriptor, const void* data, size_t size)
    ssize_t read(int descriptor, void* data, size_t size)
    int close(int descriptor)


@cython.final
cdef class PollClock:

    # Set in __cinit__: a subclass could skip __init__.
    def __cinit__(self, loop not None):
        self._loop = loop
        self._mark = self.mark
        # A separate context: a copy of a handler's context would stay alive until the next turn.
        self._context = contextvars.Context()
        self.polls_first = isinstance(loop, asyncio.BaseEventLoop)

    cdef int arm(self, uint64_t since, bint is_read) except -1:
        """Mark the next turns. In a read this turn's poll returned at or before `since`, otherwise it follows."""
        self._turns_left = 2
        if self.is_armed:
            return 0
        self.before_ns = self.marked_ns = since
        self.polled_ns = since if is_read or self.polls_first else 0
        return self._schedule()

    cdef int worked(self, uint64_t since, bint is_read) except -1:
        """Mark the next turns if work that began at `since`, and ends now, took long."""
        return self.arm(since, is_read) if not self.is_armed and now_ns() >= since + LONG_NS else 0

    cdef int _schedule(self) except -1:
        self.is_armed = False
        try:
            self._loop.call_soon(self._mark, context=self._context)
        except RuntimeError:
            # The loop was closed in the meantime.
            if not self._loop.is_closed():
                raise
            return 0
        self.is_armed = True
        return 0

    def mark(self):
        """Note that a turn begins; called by the loop."""
        cdef uint64_t now = now_ns()
        # If nothing of ours was read, the last turn's poll returned some time before this turn began.
        self.before_ns = self.polled_ns or now
        self.polled_ns = now if self.polls_first else 0
        if now >= self.marked_ns + LONG_NS:
            self._turns_left = 2
        self.marked_ns = now
        self._turns_left -= 1
        self.is_armed = False
        if self._turns_left > 0:
            self._schedule()


@cython.final
cdef class Spinner:
    def __cinit__(self, loop):
        self.loop = loop
        self._call_soon = loop.call_soon
        self._tick = self.tick
        # A separate context: otherwise each round would copy the context of the handler that sent last.
        self._context = contextvars.Context()

    cdef int join(self) except -1:
        self.sessions += 1
        return 0

    cdef int leave(self, Timed session) except -1:
        self.sessions -= 1
        if self.last is session:
            self.last = None
        if self.sessions == 0:
            self.until_ns = 0
        return 0

    cdef int touch(self, Timed session, uint64_t until_ns) except -1:
        self.last = session
        if until_ns > self.until_ns:
            self.until_ns = until_ns
        return 0 if self.is_armed else self._arm()

    cdef int _arm(self) except -1:
        self.is_armed = False
        try:
            self._call_soon(self._tick, context=self._context)
        except RuntimeError:
            # The loop was closed before its connections: there is nothing more to poll.
            if not self.loop.is_closed():
                raise
            return 0
        self.is_armed = True
        return 0

    def tick(self):
        """Keep the loop awake for one more round, or let it sleep."""
        if self.until_ns == 0 or now_ns() >= self.until_ns:
            self.is_armed = False
            return
        self.rounds += 1
        try:
            if self.has_waiting:
                self.has_waiting = False
            elif self.last is not None:
                self.last.on_spin()
        finally:
            # `is_armed` stays set until here: code called above must not start a second round.
            self._arm()


def allowed_spin(int microseconds, int stacklevel=2):
    """Return the microseconds that a side may spin: `microseconds`, or 0 with a warning on a single core.

    The cores of the machine count, not only the cores of this process: a process bound to one core may occupy it, as
    the peer runs elsewhere. On a single core, spinning keeps the peer from running.
    """
    if microseconds and (os.cpu_count() or 1) == 1:
        warnings.warn(
            "spin_microseconds is ignored: this machine has one core, so the peer could not run meanwhile",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
        return 0
    return microseconds


cdef inline void ring(int descriptor) noexcept nogil:
    # An eventfd accepts exactly these eight bytes. If a pipe is full, the write fails, but the loop wakes anyway.
    cdef uint64_t one = 1
    write(descriptor, &one, sizeof(one))


@cython.final
cdef class Bell:
    def __cinit__(self):
        self.descriptor = self._write_descriptor = -1
        if hasattr(os, "eventfd"):
            self.descriptor = self._write_descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self.descriptor, self._write_descriptor = os.pipe()
            os.set_blocking(self.descriptor, False)
            os.set_blocking(self._write_descriptor, False)

    def __dealloc__(self):
        if self._write_descriptor != self.descriptor:
            close(self._write_descriptor)
        if self.descriptor >= 0:
            close(self.descriptor)

    def ring(self):
        ring(self._write_descriptor)

    def answer(self):
        cdef char[4096] discarded
        read(self.descriptor, discarded, sizeof(discarded))


@cython.final
cdef class ThreadGate:
    def __cinit__(self):
        self._lock = PyThread_allocate_lock()
        if self._lock is NULL:
            raise MemoryError
        PyThread_acquire_lock(self._lock, WAIT_LOCK)

    def __dealloc__(self):
        if self._lock is not NULL:
            # Freeing a held lock is undefined, so CPython also releases its own locks first.
            PyThread_release_lock(self._lock)
            PyThread_free_lock(self._lock)

    def open(self):
        PyThread_release_lock(self._lock)

    def wait(self, double seconds, Bell bell=None):
        cdef long long microseconds = -1 if seconds < 0 else <long long>(seconds * 1e6)
        cdef int descriptor = -1 if bell is None else bell._write_descriptor
        cdef PyLockStatus status
        # The caller's arguments keep `bell` and `self` alive; neither changes after its construction.
        with nogil:
            if descriptor >= 0:
                ring(descriptor)
            status = PyThread_acquire_lock_timed(self._lock, microseconds, 0)
        return status == PY_LOCK_ACQUIRED
