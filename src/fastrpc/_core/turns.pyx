"""Work in slices: what would hold the loop for long goes on a few milliseconds at a time, in turn with all the others.

::

    add, begin ──► owners ──► once a turn of the loop: a slice for one after the other, TURN_NS in all ──► loop

One queue serves everything of a loop that is put off: received bytes that are not handled yet, payloads that are being
decompressed. However much is queued, other callbacks wait for one turn of it and no longer. What the loop reads from
sockets itself comes on top: each connection with something to read has up to a slice of its own in that turn.

A connection whose read is put off is not read from meanwhile. So the rest is at most one buffer, and order, end of
stream and flow control stay as they were. It is dated when it came: deadlines do not start anew. Of one connection
one request is decompressed at a time, so that a bomb holds no more than one message limit.
"""

import contextvars
from collections import deque

from fastrpc._core.wire cimport now_ns

cdef extern from "Python.h":
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

# What all slices of one turn of the loop take together, and the shortest slice: below it the switching costs more.
cdef uint64_t TURN_NS = 4_000_000
cdef uint64_t SHORTEST_NS = 1_000_000


cdef class Turns:
    """Gives slices of one loop's time."""

    def __cinit__(self, loop):
        self._call_soon = loop.call_soon
        self._report = loop.call_exception_handler
        self._run = self.run
        self._owners = deque()

    def __len__(self):
        return len(self._owners)

    cdef uint64_t slice_ns(self) noexcept:
        """How long one more owner may go on at once."""
        return max(SHORTEST_NS, TURN_NS // (1 + <uint64_t>len(self._owners)))

    cdef int add(self, Timed owner) except -1:
        """Give the owner its slices, in the context of this moment, from the next turn of the loop on."""
        self._owners.append((owner, contextvars.copy_context()))
        return self._schedule()

    cdef int _schedule(self) except -1:
        if not self._is_scheduled:
            self._call_soon(self._run)
            self._is_scheduled = True
        return 0

    def run(self):
        """Give slices for one turn of the loop; called by the loop."""
        cdef uint64_t began = now_ns(), now = began
        cdef Py_ssize_t left = len(self._owners)
        self._is_scheduled = False
        self._taken_ns = 0
        try:
            while left > 0 and now < began + TURN_NS:
                left -= 1
                owner, context = self._owners.popleft()
                PyContext_Enter(context)
                try:
                    if self._give_slice(<Timed>owner, now + self.slice_ns()):
                        self._owners.append((owner, context))
                except BaseException:
                    # It leaves the loop, as from any callback; the work is not done.
                    self._owners.append((owner, context))
                    raise
                finally:
                    PyContext_Exit(context)
                now = now_ns()
        finally:
            if self._owners:
                self._schedule()

    cdef bint _give_slice(self, Timed owner, uint64_t ends_ns) except -1:
        try:
            return owner.on_turn(ends_ns)
        except Exception as error:
            self._report({"message": f"{owner!r} failed in its turn", "exception": error})
            return False


cdef class SlicedWork(Timed):
    """Work written in Python that is done in slices.

    Args:
        step: does a little of it, for less than a millisecond if it can be; says whether there is more.
    """

    # Not in __init__, which could be left out.
    def __cinit__(self, Turns turns not None, step):
        self._turns = turns
        self._step = step

    def begin(self):
        """Begin at once where nobody waits and this turn of the loop has time left; else wait for a slice."""
        cdef uint64_t began
        cdef bint has_more = True
        if len(self._turns._owners) == 0 and self._turns._taken_ns < TURN_NS:
            began = now_ns()
            # The round resets what was taken.
            self._turns._schedule()
            try:
                has_more = self.on_turn(began + TURN_NS - self._turns._taken_ns)
            except Exception:
                # It failed, and is not stepped again. Any other error leaves the loop and the work is not done.
                has_more = False
                raise
            finally:
                self._turns._taken_ns += now_ns() - began
                if has_more:
                    self._turns.add(self)
        else:
            self._turns.add(self)

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        while self._step():
            if now_ns() >= ends_ns:
                return True
        return False
