"""The polls of a loop: their instants, spinning in their place, the bell by which threads wake them."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.timer_wheel cimport Timed


cdef class PollClock:
    cdef:
        # The loop, and whether its callbacks run between its poll and the reads that it reports (asyncio), not before
        # the poll.
        object _loop
        object _mark
        object _context
        bint polls_first

        # Whether a callback marks the beginning of the next turn. Until it runs, everything that is read was reported by
        # one poll, which did not sleep. `_turns_left` further turns are marked, although they are short.
        readonly bint is_armed
        int _turns_left

        # A socket that this turn's poll reported, and that was watched before, was known to be empty at `before_ns`;
        # the poll returned at `polled_ns`, 0: unknown so far.
        readonly uint64_t before_ns
        uint64_t polled_ns

        # The last mark.
        uint64_t marked_ns

    cdef int arm(self, uint64_t since, bint is_read) except -1
    cdef int worked(self, uint64_t since, bint is_read) except -1
    cdef int _schedule(self) except -1

    # Return the instant at which sockets that are read at `now` were last known to be empty, as far as polls show.
    cdef inline uint64_t dated(self, uint64_t now) noexcept:
        if self.polled_ns == 0:
            self.polled_ns = now
        return self.before_ns


cdef class Spinner:
    cdef:
        # The loop it keeps awake, and the callback it schedules there.
        object loop
        object _call_soon
        object _tick
        object _context

        # Until when it spins, 0 = not at all; whether the next round is scheduled; rounds so far.
        uint64_t until_ns
        readonly bint is_armed
        readonly uint64_t rounds

        # The number of connections that use it.
        readonly Py_ssize_t sessions
        # The last busy connection.
        Timed last
        # A connection has a callback in the loop's queue, which polling the socket would delay.
        bint has_waiting

    cdef int join(self) except -1
    cdef int leave(self, Timed session) except -1
    cdef int touch(self, Timed session, uint64_t until_ns) except -1
    cdef int _arm(self) except -1


@cython.final
cdef class Bell:
    cdef:
        # Own descriptors, open until deallocation; the same descriptor twice if the system has eventfd.
        readonly int descriptor
        int _write_descriptor


@cython.final
cdef class ThreadGate:
    cdef:
        # Owned; held except between `open` and the end of the `wait` that it ends.
        void* _lock
