"""The instants at which the polls of a loop returned, from those that callbacks can observe.

::

    asyncio   poll ─ mark ─ other callbacks ─ reads ──► poll ─ mark ─ …
    uvloop    mark ─ other callbacks ─ poll ─ reads ──► mark ─ other callbacks ─ poll ─ …

A poll reports every watched socket that holds bytes. So bytes that are read in one turn came after the poll of the turn
before, unless that reported the socket as well. No loop reports the return of its poll, but a scheduled callback runs
at the beginning of the next turn, and in between the loop does not sleep. Such a mark is set only where a turn takes
long: it costs a round of the loop, and in short turns nothing waits for long. Without marks, bytes are dated when they
are read, as if the loop had slept until then.

Where an instant is not known exactly, the later one counts: nothing is dated before a moment at which its socket was empty.
"""

import asyncio
import contextvars

cimport cython

from fastrpc._core.base.wire cimport now_ns

# Turns that take so long are marked.
cdef uint64_t LONG_NS = 1_000_000


@cython.final
cdef class PollClock:

    # Not in __init__, which could be left out.
    def __cinit__(self, loop not None):
        self._loop = loop
        self._mark = self.mark
        # A copy of the context of a handler would be kept alive until the next turn.
        self._context = contextvars.Context()
        self.polls_first = isinstance(loop, asyncio.BaseEventLoop)

    cdef int arm(self, uint64_t since, bint is_read) except -1:
        """Mark the next turns; this one's poll returned at `since` or before, in a read: that follows it."""
        self._turns_left = 2
        if self.is_armed:
            return 0
        self.before_ns = self.marked_ns = since
        self.polled_ns = since if is_read or self.polls_first else 0
        return self._schedule()

    cdef int worked(self, uint64_t since, bint is_read) except -1:
        """Work that began at `since` has ended: mark the next turns if it took long."""
        return self.arm(since, is_read) if not self.is_armed and now_ns() >= since + LONG_NS else 0

    cdef int _schedule(self) except -1:
        self.is_armed = False
        try:
            self._loop.call_soon(self._mark, context=self._context)
        except RuntimeError:
            # The loop was closed around us.
            if not self._loop.is_closed():
                raise
            return 0
        self.is_armed = True
        return 0

    def mark(self):
        """Note that a turn begins; called by the loop."""
        cdef uint64_t now = now_ns()
        # Without a read of ours, the poll of the last turn returned some time before this one began.
        self.before_ns = self.polled_ns or now
        self.polled_ns = now if self.polls_first else 0
        if now >= self.marked_ns + LONG_NS:
            self._turns_left = 2
        self.marked_ns = now
        self._turns_left -= 1
        self.is_armed = False
        if self._turns_left > 0:
            self._schedule()
