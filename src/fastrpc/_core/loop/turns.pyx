"""Work in slices: long work runs for a few milliseconds at a time, in turn with other long work.

::

    go_on ───────► before the fresh, if its last slice had time left ─┐
    add, begin ──► fresh ──► once a turn of the loop: a slice for one after the other ──► loop
                     └─► begun, once it had a slice

One queue holds all deferred work of a loop: received bytes that are not handled yet, and payloads being compressed or
decompressed. asyncio polls before its callbacks, uvloop after them. So on asyncio slices run after the reads of their
turn: before the reads, a request that comes during slices would also wait for the slices of the next turn.
However much is queued, other callbacks wait for at most one turn of it: TURN_NS, or as long as the callbacks before it took,
up to LONGEST_TURN_NS. Both together stay below a stall of the loop, unless the others are nearly one by themselves.

Reads count as well: a read that arrives when the turn has handled enough is deferred before its first frame. The start of
a turn is noted only when there is something to count: every NOTED_FRAMES frames of all connections together, or after a
slow handler. A callback for each turn would cost an almost idle loop too much. Short reads of light callers are not deferred
for SHORT_READS_NS more: a few calls do not wait for the reads of thousands of connections.

Work without a slice so far has precedence, so a short call does not wait for two hundred decompressions. The others
have every second slice, or half of the time, whichever is less, so a stream of short calls does not starve them. A
deferred read of a heavy sender counts as work that had a slice, and a light caller's does not (`ReceiveTail.weigh`),
even after a slice: a few calls do not wait for a thousand connections that each send as much as they can.

Work without an answer is in no budget of the wire: one-way calls, refusals by deadline, heartbeats. Its caller does not
wait, and sends as fast as it is read. So all of it together has UNANSWERED_NS of a turn, a quarter of its slices; the
rest is deferred until after the reads of other connections. Connections with such work take turns. One message may be a
batch of a hundred notifications, so none begins once the share is used up.

A connection with a deferred read is not read from meanwhile. So the rest is at most one buffer, and order, end of
stream and flow control stay intact. The rest keeps its instant of arrival: deadlines do not restart. The memory of
decompressions is bounded where they wait to begin (`handlers/unpacking.py`).
"""

import contextvars
from collections import deque

from fastrpc._core.base.wire cimport now_ns

cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

cdef enum:
    # Frames between two reads of the clock. Refusals of unknown methods are the slowest ones: this number takes 6 ms.
    NOTED_FRAMES = 64

# The time of all slices in one turn of the loop, and the shortest slice of a few owners. A round of a thousand would take a
# second: then further slices are shorter, so that it takes ROUND_NS, as long as LEAST_NS pays for the switching.
cdef uint64_t TURN_NS = 4_000_000
cdef uint64_t SHORTEST_NS = 1_000_000
cdef uint64_t ROUND_NS = 200_000_000
cdef uint64_t LEAST_NS = 100_000
# The time of short reads in a turn that has handled enough.
cdef uint64_t SHORT_READS_NS = 1_000_000
# The longest slices of a turn. They take as long as the reads and callbacks before them, so that deferred work
# continues even if thousands of sockets are read in each turn.
cdef uint64_t LONGEST_TURN_NS = 20_000_000
# The most time by which work with a slice may be ahead of work without one, or behind such work.
cdef int64_t MOST_LEAD_NS = 20_000_000
# A turn that takes STALL_TURN_NS counts as a stall for waiting calls. A read that comes STALLED_NS or more after the last
# tick comes after a stall. In `loop_state` these are STALL_NS, and STALL_NS + TICK_NS.
cdef uint64_t STALL_TURN_NS = 20_000_000
cdef uint64_t STALLED_NS = 30_000_000
# Short of a stall, slices have at least this part of the time of other callbacks.
cdef uint64_t LEAST_SHARE = 5
# A read that takes longer begins a new turn.
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
        """Note the start of a turn of the loop, once; return the instant at which it has handled enough."""
        if self.ends_ns == 0:
            # The round that is due then begins the next turn, or finds nothing to do.
            self._schedule()
            self.ends_ns = now + TURN_NS
            self.unanswered_ns = UNANSWERED_NS
            self.short_ns = SHORT_READS_NS
        self.frames_left = NOTED_FRAMES
        return self.ends_ns

    cdef uint64_t read_until(self, uint64_t now) except 0:
        """Return the instant at which a read that begins now checks whether this turn has handled enough."""
        if self.ends_ns:
            return self.ends_ns
        return self.begin(now) if self.frames_left <= 0 else now + UNNOTED_NS

    cdef bint is_over(self, uint64_t now) noexcept:
        """Return whether this turn has handled enough."""
        return self.ends_ns != 0 and now >= self.ends_ns

    cdef bint spend_unanswered(self, uint64_t nanoseconds) noexcept:
        """Subtract the time of work without an answer from its share of this turn; return whether any time is left."""
        self.unanswered_ns -= min(self.unanswered_ns, nanoseconds)
        return self.unanswered_ns != 0

    cdef int spend_short(self, uint64_t nanoseconds) noexcept:
        """Take time of short reads from their share of this turn."""
        self.short_ns -= min(self.short_ns, nanoseconds)
        return 0

    cdef uint64_t _slice_ns(self, bint is_begun) except 0:
        """Return the length of the next slice."""
        cdef uint64_t owners = 1 + <uint64_t>self._waiting()
        cdef uint64_t shortest = min(SHORTEST_NS, max(LEAST_NS, ROUND_NS // owners)) if is_begun else SHORTEST_NS
        return max(TURN_NS // owners, shortest)

    cdef int add(self, Timed owner, bint is_busy=False) except -1:
        """Queue an owner for slices from the next turn of the loop on, in the current context.

        With `is_busy` it is queued with work that had a slice.
        """
        (self._begun if is_busy else self._fresh).append((owner, contextvars.copy_context()))
        return self._schedule()

    cdef int go_on(self, Timed owner) except -1:
        """Queue an owner with a rest of its last slice, before owners without one, in the current context."""
        self._going_on.append((owner, contextvars.copy_context()))
        return self._schedule()

    cdef int keep_first(self, Timed owner) except -1:
        """For an owner in its slice: queue it again among owners without one, for the next turn."""
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
        """Begin a turn of a loop that polls first; called by the loop. `run` follows after the reads of the turn."""
        self._begin_turn(now_ns())

    cdef object _next(self):
        """Return the owner of the next slice, removed from the queue."""
        cdef bint has_fresh = self._going_on or self._fresh
        if not self._begun:
            self._lead_ns = 0
        # A slice of work that had one may be several times as long as a slice of other work.
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
            # Reads that had the whole share in each turn would leave nothing to waiting reads.
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
                # All had a slice, in the same order as before: the next turn begins with another one.
                self._begun.rotate(-1)
            self._fresh.extend(self._kept)
            self._kept.clear()
            if not self._going_on and not self._fresh:
                # Work that arrives then has precedence: the time of earlier work does not count against it.
                self._lead_ns = 0
            if self._waiting():
                self._schedule()
                self._ran_ns = now_ns()
            else:
                self.ends_ns = self._ran_ns = 0

    cdef uint64_t _run_next(self, uint64_t now) except 0:
        """Run the next slice, and return its end."""
        cdef uint64_t ended
        owner, context = self._next()
        PyContext_Enter(context)
        try:
            if self._give_slice(<Timed>owner, now + self._slice_ns(not self._is_fresh_slice)):
                self._begun.append((owner, context))
        except BaseException:
            # An interrupt is raised out of the loop, as from any callback; the work is not finished.
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
        step: does a part of the work, if possible in less than a millisecond; returns whether more remains.
    """

    # Set in __cinit__: a subclass could skip __init__.
    def __cinit__(self, Turns turns not None, step):
        self._turns = turns
        self._step = step

    def begin(self):
        """Begin at once if no other work waits and this turn of the loop has time left; otherwise wait for a slice."""
        cdef Turns turns = self._turns
        cdef uint64_t now = now_ns()
        cdef bint has_more = True
        if turns._waiting() or now >= turns.begin(now):
            turns.add(self)
            return
        try:
            has_more = self.on_turn(turns.ends_ns)
        except Exception:
            # Work that failed is not stepped again. Any other error leaves the loop, and the work is not finished.
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
