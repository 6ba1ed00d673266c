"""Polls of a loop: when they returned, spinning instead of them, and the bell by which threads wake a loop."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.timer_wheel cimport Timed


cdef class PollClock:
    cdef:
        # The loop and its callbacks. `polls_first`: callbacks run between a poll and the reads that it reports
        # (asyncio), not before the poll.
        object _loop
        object _mark
        object _context
        bint polls_first

        # Whether a callback marks the start of the next turn. Until it runs, all sockets that are read were reported by
        # one poll, which did not sleep. `_turns_left` further turns are marked even if they are short.
        readonly bint is_armed
        int _turns_left

        # A socket that this turn's poll reported, and that was watched before, was known to be empty at `before_ns`.
        # The poll returned at `polled_ns`; 0: unknown so far.
        readonly uint64_t before_ns
        uint64_t polled_ns

        # The last mark.
        uint64_t marked_ns

    cdef int arm(self, uint64_t since, bint is_read) except -1
    cdef int worked(self, uint64_t since, bint is_read) except -1
    cdef int _schedule(self) except -1

    # Return the last instant at which polls showed that a socket, read at `now`, was empty.
    cdef inline uint64_t dated(self, uint64_t now) noexcept:
        if self.polled_ns == 0:
            self.polled_ns = now
        return self.before_ns


cdef class Spinner:
    cdef:
        # `loop`: the loop that it keeps awake. `_tick`: the callback that it schedules there by `_call_soon`, in
        # `_context`.
        object loop
        object _call_soon
        object _tick
        object _context

        # `until_ns`: the instant until which the loop spins, 0 = not at all; `is_armed`: whether the next round is
        # scheduled; `rounds`: the number of rounds so far.
        uint64_t until_ns
        readonly bint is_armed
        readonly uint64_t rounds

        # The number of connections that use it.
        readonly Py_ssize_t sessions
        # The last busy connection.
        Timed last
        # Whether a connection has a callback in the loop's queue, which polling the socket would delay.
        bint has_waiting

    cdef int join(self) except -1
    cdef int leave(self, Timed session) except -1
    cdef int touch(self, Timed session, uint64_t until_ns) except -1
    cdef int _arm(self) except -1


@cython.final
cdef class Bell:
    cdef:
        # Descriptors owned by this object, open until it is freed. `descriptor` is read; `_write_descriptor` is the
        # same descriptor if the system has eventfd.
        readonly int descriptor
        int _write_descriptor


@cython.final
cdef class ThreadGate:
    cdef:
        # Owned. Held except between `open` and the end of the `wait` that it releases.
        void* _lock
