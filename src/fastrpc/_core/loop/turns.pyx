"""Work in slices: long work runs for a few milliseconds at a time and takes turns with other long work.

::

    go_on ───────► before `fresh`, if its last slice had time left ───┐
    add, begin ──► fresh ──► once a turn of the loop: a slice for one after the other ──► loop
                     └─► begun, after its first slice

One queue holds all deferred work of a loop: received bytes that are not handled yet, and payloads being compressed or
decompressed. asyncio polls before its callbacks, uvloop after them. So on asyncio slices run after the reads of their
turn: if they ran before the reads, a request that arrives during slices would also wait for the slices of the next
turn. However much work is queued, other callbacks wait for at most one turn of slices: TURN_NS, or as long as the
callbacks before them took, up to LONGEST_TURN_NS. Slices and callbacks together stay below a stall of the loop, unless
the callbacks alone are almost a stall.

Reads count as well: a read that arrives when the turn is used up is deferred before its first frame. The start of a
turn is noted only after NOTED_FRAMES frames of all connections together, or after a slow handler: a callback for each
turn would cost an almost idle loop too much. For SHORT_READS_NS after the turn is used up, short reads of light callers
are still handled, so that a few calls do not wait for the reads of thousands of connections.

Work that had no slice yet has precedence, so a short call does not wait for two hundred decompressions. Other work gets
every second slice, or half of the time, whichever is less, so a stream of short calls does not starve it. A heavy
sender's deferred read counts as work that had a slice. A light caller's read does not (`ReceiveTail.weigh`), even after
a slice: a few calls do not wait for a thousand connections that each send as much as they can.

Work without an answer, such as one-way calls, refusals by deadline and heartbeats, is in no budget of the wire: its
sender does not wait, and sends as fast as it is read. So all such work together has UNANSWERED_NS of a turn, a quarter
of the slices; the rest is deferred until after the reads of other connections. Connections with such work take turns.
One message may be a batch of a hundred notifications, so no message is begun once the share is used up.

A connection with a deferred read is not read. So the deferred input is at most one buffer, and order, end of stream and
flow control stay intact. Deferred input keeps its instant of arrival: deadlines do not restart. `handlers/unpacking.py`
bounds the memory of decompressions that wait to begin.
"""

import contextvars
from collections import deque

from fastrpc._core.base.wire cimport now_ns

cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef enum:
    # Frames between two reads of the clock. The slowest frames are refusals of unknown methods: this many take 6 ms.
    NOTED_FRAMES = 64

# TURN_NS is the time of all slices in one turn of the loop, SHORTEST_NS the shortest slice while few owners wait. With
# many owners, slices after the first are shortened to LEAST_NS at the least, so that a round takes ROUND_NS: a thousand
# slices of SHORTEST_NS would take a second. A slice of LEAST_NS still outweighs the cost of switching.
cdef uint64_t TURN_NS = 4_000_000
cdef uint64_t SHORTEST_NS = 1_000_000
cdef uint64_t ROUND_NS = 200_000_000
cdef uint64_t LEAST_NS = 100_000
# The time for short reads in a turn that is used up.
cdef uint64_t SHORT_READS_NS = 1_000_000
# The most time for slices in a turn. Slices take as long as the reads and callbacks before them, so that deferred work
# continues even if thousands of sockets are read in each turn.
cdef uint64_t LONGEST_TURN_NS = 20_000_000
# The most time by which work that had a slice may be ahead of other work, or behind it.
cdef int64_t MOST_LEAD_NS = 20_000_000
# A turn that takes STALL_TURN_NS counts as a stall for waiting calls. A read STALLED_NS or more after the last tick
# comes after a stall. In `loop_state` these are STALL_NS and STALL_NS + TICK_NS.
cdef uint64_t STALL_TURN_NS = 20_000_000
cdef uint64_t STALLED_NS = 30_000_000
# Unless there is a stall, slices get at least a fifth of the time of other callbacks.
cdef uint64_t LEAST_SHARE = 5
# If the start of the turn is not noted, a read that takes longer than this notes it.
cdef uint64_t UNNOTED_NS = 250_000


cpdef uint64_t slices_ns(uint64_t others_ns, uint64_t spent_ns) noexcept:
    cdef uint64_t length = min(others_ns, LONGEST_TURN_NS)
    if others_ns < STALLED_NS:
        length = min(length, max(STALL_TURN_NS - min(STALL_TURN_NS, others_ns), others_ns // LEAST_SHARE))
    return max(SHORTEST_NS, TURN_NS - min(TURN_NS, spent_ns), length)


cpdef uint64_t unanswered_share(uint64_t length_ns) noexcept:
    return max(<uint64_t>UNANSWERED_NS, length_ns * UNANSWERED_NS // TURN_NS)


cdef class Turns:
    """The scheduler of slices on one loop."""

    def __cinit__(self, loop):
        self._call_soon = loop.call_soon
        self._report = loop.call_exception_handler
        self._run = self.run
        self._mark = self.mark
        self.polls = PollClock(loop)
        self._call_at = loop.call_at if self.polls.polls_first else None
        self._going_on = deque()
        self._fresh = deque()
        self._begun = deque()
        self._kept = []
        self.frames_left = NOTED_FRAMES

    def __len__(self):
        return self._waiting()

    cdef Py_ssize_t _waiting(self) except -1:
        return len(self._going_on) + len(self._fresh) + len(self._begun)

    cdef uint64_t begin(self, uint64_t now) except 0:
        """Note the start of a turn of the loop, once; return the instant at which it is used up."""
        if self.ends_ns == 0:
            # The round that is scheduled here begins the next turn, or finds nothing to do.
            self._schedule()
            self.ends_ns = now + TURN_NS
            self.unanswered_ns = UNANSWERED_NS
            self.short_ns = SHORT_READS_NS
        self.frames_left = NOTED_FRAMES
        return self.ends_ns

    cdef uint64_t read_until(self, uint64_t now) except 0:
        """Return the instant at which a read that begins now checks whether this turn is used up."""
        if self.ends_ns:
            return self.ends_ns
        return self.begin(now) if self.frames_left <= 0 else now + UNNOTED_NS

    cdef bint is_over(self, uint64_t now) noexcept:
        """Return whether this turn is used up."""
        return self.ends_ns != 0 and now >= self.ends_ns

    cdef bint spend_unanswered(self, uint64_t nanoseconds) noexcept:
        """Subtract the time of work without an answer from its share of this turn; return whether any time is left."""
        self.unanswered_ns -= min(self.unanswered_ns, nanoseconds)
        return self.unanswered_ns != 0

    cdef int spend_short(self, uint64_t nanoseconds) noexcept:
        """Subtract the time of short reads from their share of this turn."""
        self.short_ns -= min(self.short_ns, nanoseconds)
        return 0

    cdef uint64_t _slice_ns(self, bint is_begun) except 0:
        """Return the length of the next slice."""
        cdef uint64_t owners = 1 + <uint64_t>self._waiting()
        cdef uint64_t shortest = min(SHORTEST_NS, max(LEAST_NS, ROUND_NS // owners)) if is_begun else SHORTEST_NS
        return max(TURN_NS // owners, shortest)

    cdef int add(self, Timed owner, bint is_busy=False) except -1:
        """Queue an owner for slices from the next turn of the loop on, in the current context.

        With `is_busy`, queue it with the work that had a slice.
        """
        (self._begun if is_busy else self._fresh).append((owner, contextvars.copy_context()))
        return self._schedule()

    cdef int go_on(self, Timed owner) except -1:
        """Queue an owner that has time left of its last slice, before other owners, in the current context."""
        self._going_on.append((owner, contextvars.copy_context()))
        return self._schedule()

    cdef int keep_first(self, Timed owner) except -1:
        """Queue an owner that is in its slice again for the next turn, as if it had had no slice."""
        self._kept.append((owner, contextvars.copy_context()))
        return 0

    cdef int _schedule(self) except -1:
        if self._is_scheduled:
            return 0
        if self._call_at is None:
            self._call_soon(self._run)
        else:
            # In a turn asyncio runs queued callbacks first, then reads, then due timers.
            self._call_soon(self._mark)
            self._call_at(0.0, self._run)
        self._is_scheduled = True
        return 0

    cdef int _begin_turn(self, uint64_t now) except -1:
        self._is_scheduled = False
        self._began_ns = now
        self._due = self._waiting()
        self.ends_ns = now + TURN_NS
        self.short_ns = SHORT_READS_NS
        self.unanswered_ns = UNANSWERED_NS
        return 0

    def mark(self):
        """Begin a turn of a loop that polls first; called by the loop. `run` follows after the turn's reads."""
        self._begin_turn(now_ns())

    cdef object _next(self):
        """Return the owner of the next slice, removed from the queue."""
        cdef bint has_fresh = self._going_on or self._fresh
        if not self._begun:
            self._lead_ns = 0
        # A slice of work that had one may last several times as long as a slice of other work.
        self._is_fresh_slice = has_fresh and (self._lead_ns >= 0 or not self._is_fresh_slice or not self._begun)
        if not self._is_fresh_slice:
            return self._begun.popleft()
        return (self._going_on or self._fresh).popleft()

    def run(self):
        """Run slices for one turn of the loop; called by the loop."""
        cdef uint64_t began = now_ns(), now = began, length
        cdef Py_ssize_t left
        if self._call_at is None:
            self._begin_turn(began)
        length = slices_ns(began - self._ran_ns if self._ran_ns else 0, began - self._began_ns)
        if self._call_at is None:
            self.unanswered_ns = unanswered_share(length)
        else:
            # With the whole share in each turn, reads would leave no time for deferred reads.
            self.unanswered_ns = max(self.unanswered_ns, unanswered_share(length) // 2)
        left = self._due
        self.ends_ns = began + length
        try:
            while left > 0 and now < began + length:
                left -= 1
                now = self._run_next(now)
        finally:
            self.polls.worked(began, False)
            self.frames_left = NOTED_FRAMES
            if left == 0 and self.unanswered_ns == 0:
                # All owners had a slice, in the same order as before: the next turn begins with another owner.
                self._begun.rotate(-1)
            self._fresh.extend(self._kept)
            self._kept.clear()
            if not self._going_on and not self._fresh:
                # Work that arrives later has precedence: the time of earlier work does not count against it.
                self._lead_ns = 0
            if self._waiting():
                self._schedule()
                self._ran_ns = now_ns()
            else:
                self.ends_ns = self._ran_ns = 0

    cdef uint64_t _run_next(self, uint64_t now) except 0:
        """Run the next slice, and return the instant of its end."""
        cdef uint64_t ended
        owner, context = self._next()
        PyContext_Enter(context)
        try:
            if self._give_slice(<Timed>owner, now + self._slice_ns(not self._is_fresh_slice)):
                self._begun.append((owner, context))
        except BaseException:
            # An interrupt is raised out of the loop, as from any callback, and the work is not finished.
            self._begun.append((owner, context))
            raise
        finally:
            PyContext_Exit(context)
        ended = now_ns()
        self._lead_ns += -<int64_t>(ended - now) if self._is_fresh_slice else <int64_t>(ended - now)
        self._lead_ns = min(max(self._lead_ns, -MOST_LEAD_NS), MOST_LEAD_NS)
        return ended

    cdef bint _give_slice(self, Timed owner, uint64_t ends_ns) except -1:
        try:
            return owner.on_turn(ends_ns)
        except Exception as error:
            self._report({"message": f"{owner!r} failed in its turn", "exception": error})
            return False


cdef class SlicedWork(Timed):
    """Work in slices, written in Python.

    Args:
        step: does a part of the work, in less than a millisecond if possible, and returns whether more remains.
    """

    # Set in __cinit__: a subclass could skip __init__.
    def __cinit__(self, Turns turns not None, step):
        self._turns = turns
        self._step = step

    def begin(self):
        """Begin now if no other work waits and this turn of the loop has time left; otherwise wait for a slice."""
        cdef Turns turns = self._turns
        cdef uint64_t now = now_ns()
        cdef bint has_more = True
        if turns._waiting() or now >= turns.begin(now):
            turns.add(self)
            return
        try:
            has_more = self.on_turn(turns.ends_ns)
        except Exception:
            # Work that failed with an Exception is dropped. Any other error leaves the loop, and the work stays queued.
            has_more = False
            raise
        finally:
            if has_more:
                turns.add(self)

    def queue(self):
        """Wait for a slice in any case."""
        self._turns.add(self)

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        while self._step():
            if now_ns() >= ends_ns:
                return True
        return False
