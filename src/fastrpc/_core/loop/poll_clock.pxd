from libc.stdint cimport uint64_t


cdef class PollClock:
    cdef:
        # The loop, and whether its callbacks run between its poll and the reads that it reports (asyncio), not before
        # the poll.
        object _loop
        object _mark
        object _context
        bint polls_first

        # Whether a callback marks the beginning of the next turn. Until it runs, everything that is read was reported by
        # one poll, which did not sleep. So many more turns are marked, although they are short.
        readonly bint is_armed
        int _turns_left

        # A socket that this turn's poll reported, and that was watched before, was known to be empty at `before_ns`; the
        # poll returned at `polled_ns`, 0: that is not known yet.
        readonly uint64_t before_ns
        uint64_t polled_ns

        # The last mark.
        uint64_t marked_ns

    cdef int arm(self, uint64_t since, bint is_read) except -1
    cdef int worked(self, uint64_t since, bint is_read) except -1
    cdef int _schedule(self) except -1

    # Return the instant at which sockets that are read at `now` were last known to be empty, as far as polls tell.
    cdef inline uint64_t dated(self, uint64_t now) noexcept:
        if self.polled_ns == 0:
            self.polled_ns = now
        return self.before_ns
