"""Received bytes of one connection that are not handled yet.

::

    the beginning of a frame ─────────────► kept until the rest of it comes
    input for which a turn has no time ────► put off: kept, counted and dated until a later turn
    the end of a payload, likewise ────────► put off in its final place

Each read has a date, the last instant at which the socket was known to be empty: its bytes arrived after that. This
instant is the last read that emptied the socket or the return of the last poll that did not report it (`loop/polling`),
whichever is later. So the time that bytes spend in the socket while the loop is busy counts as waiting time of their
calls.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.layer cimport unread_bytes
from fastrpc._core.io.tls_layer cimport TLSLayer
from fastrpc._core.loop.polling cimport PollClock

cdef enum:
    # With this many deferred bytes or more, further connections read at most SHORT_READ: a thousand connections then
    # hold 48 MiB instead of 500.
    MANY_DEFERRED = 16_777_216
    SHORT_READ = 32_768
    # A light caller sends at most LIGHT_BYTES in one burst, some two hundred calls, and LIGHT_BYTES_A_SECOND on
    # average. Its deferred reads precede the reads of others: if it waited for a thousand busy connections, it would
    # have sent more by each of its turns.
    LIGHT_BYTES = 16_384
    LIGHT_BYTES_A_SECOND = 49_152
    # A busy caller counts as busy for ten seconds after it stops.
    MOST_LEVEL = LIGHT_BYTES + 10 * LIGHT_BYTES_A_SECOND

    # The longest waiting time for which one weighing allows.
    LONGEST_WAIT_NS = 2_000_000_000
    # The longest read of a light caller that is handled although the turn of the loop is used up.
    SHORT_BYTES = LIGHT_BYTES
    # Less time than this left of a slice is dropped.
    LEAST_LEFT_US = 100


cdef inline int64_t light_bytes(uint64_t nanoseconds) noexcept:
    """Return how many bytes a light caller may send in this time."""
    # The product of microseconds does not overflow for years.
    return <int64_t>(nanoseconds // 1_000 * LIGHT_BYTES_A_SECOND // 1_000_000)


@cython.final
cdef class ReceiveTail:
    def __dealloc__(self):
        PyMem_Free(self._block)

    cdef int keep(self, const char* data, Py_ssize_t size) except -1:
        """Keep a copy of these bytes in place of the kept ones."""
        PyMem_Free(self._block)
        self._block = self.data = NULL
        self.size = size
        if size:
            self._block = self.data = <char*>PyMem_Malloc(size)
            if self.data is NULL:
                self.size = 0
                raise MemoryError()
            memcpy(self.data, data, size)
        return 0

    cdef bint keep_unseen(self, Engine engine, const char* data, Py_ssize_t size, bint in_body) except -1:
        """Defer received bytes without parsing them. False: they cost no work."""
        if engine.is_closed:
            return False
        if not in_body:
            self.keep(data, self.size + size)
        elif engine.completes_body(size):
            self.placed = size
        else:
            return False
        self.is_put_off = True
        return True

    cdef Py_ssize_t give(self, Engine engine) except -1:
        """Let the engine handle the kept bytes, which are not copied; return how many it consumed."""
        cdef Py_ssize_t size = self.size, consumed = size
        cdef char* data = self.data
        # Owned here while the engine reads it: the calls that the engine starts may drop the tail.
        cdef char* block = self._block
        self._block = self.data = NULL
        self.size = 0
        try:
            consumed = engine.receive(data, size)
        finally:
            PyMem_Free(self._block)
            self._block = self.data = NULL
            if consumed < size:
                self._block = block
                self.data = data + consumed
                self.size = size - consumed
            else:
                PyMem_Free(block)
        return consumed

    cdef Py_ssize_t take_up(self, Engine engine, bint* in_body) except -1:
        """Stop deferring. Return how many bytes wait at a long payload's place, and whether there is one."""
        cdef Py_ssize_t room = 0, waiting = self.placed
        self.is_put_off = False
        self.placed = 0
        engine.came_ns = self.put_off_ns
        in_body[0] = engine.body_place(&room) is not NULL
        return waiting

    cdef int drop(self) noexcept:
        """Keep nothing."""
        PyMem_Free(self._block)
        self._block = self.data = NULL
        self.size = self.placed = 0
        return 0

    cdef int end(self) noexcept:
        """Note that nothing is deferred any more."""
        self.is_put_off = False
        self.put_off_ns = 0
        return 0

    cdef Py_ssize_t recount(self, Turns turns) noexcept:
        """Count the deferred bytes anew; return by how much their number has grown."""
        cdef Py_ssize_t before = self.counted
        self.counted = self.size if self.is_put_off else 0
        turns.deferred_bytes += self.counted - before
        return self.counted - before

    cdef Py_ssize_t room(self, LoopState loop_state) noexcept:
        """Return how many bytes a read may add: few if the input of many connections waits for a slice."""
        cdef Py_ssize_t left = loop_state.buffer.capacity - self.size
        return left if loop_state.turns.deferred_bytes < MANY_DEFERRED else min(left, <Py_ssize_t>SHORT_READ)

    cdef bint weigh(self, uint64_t now) noexcept:
        """Return whether the caller is light: its input fits into a leaky bucket."""
        cdef int64_t sent = self.level + self.received - light_bytes(now - min(now, self.weighed_ns))
        # Unread bytes in the socket count as well: a caller does not become light because it is read slowly.
        cdef int64_t waiting = self.size + self.placed + (self.behind_bytes if self.is_behind else 0)
        cdef uint64_t waited = min(now - min(now, self.put_off_ns), <uint64_t>LONGEST_WAIT_NS)
        self.level = min(max(sent, <int64_t>(self.size + self.placed)), <int64_t>MOST_LEVEL)
        self.received = 0
        self.weighed_ns = now
        self.is_light = max(self.level, waiting) <= LIGHT_BYTES + light_bytes(waited)
        return self.is_light

    cdef bint weigh_short(self, Py_ssize_t size, uint64_t now, uint64_t came_ns) noexcept:
        """Weigh the caller of a read. Return whether it is light, the read short, and no earlier input deferred."""
        if self.is_put_off or self.size + size > SHORT_BYTES:
            return False
        # Set temporarily: `weigh` allows for the time since then.
        self.put_off_ns = came_ns
        self.weigh(now)
        self.put_off_ns = 0
        return self.is_light

    # Calls that arrive while a connection waits for its turn stay in the socket. The next read of a light caller
    # continues with the rest of its slice; otherwise these calls would wait for a second round.

    cdef int leave_time(self, uint64_t now, uint64_t ends_ns) noexcept:
        """Note the time left of a slice in which all deferred input was handled."""
        self.left_us = <uint32_t>((ends_ns - min(ends_ns, now)) // 1_000) if self.is_light else 0
        return 0

    cdef bint has_time_left(self) noexcept:
        """Return whether a read that is deferred now may use the rest of the last slice; if not, drop that rest."""
        if not self.is_light or self.left_us < LEAST_LEFT_US or self.put_off_ns >= self.watched_ns:
            self.left_us = 0
        return self.left_us != 0

    cdef uint64_t take_time(self, uint64_t now, uint64_t ends_ns) noexcept:
        """Return the end of a slice that begins now: the rest of the last slice, or else a whole one."""
        cdef uint64_t left_ns = self.left_us * <uint64_t>1_000
        self.left_us = 0
        return min(ends_ns, now + left_ns) if left_ns else ends_ns

    # The date of what is read

    cdef uint64_t dated(self, LoopState loop_state, uint64_t now, object transport, Py_ssize_t most) except 0:
        """Return the date of the bytes read now. `most`: size of a read that filled its buffer; 0: nothing is left."""
        cdef uint64_t date = now
        cdef bint is_busy = loop_state.turns.polls.is_armed or self.is_behind
        if is_busy or now > loop_state.calm_until_ns:
            date = self._dated_back(loop_state, now)
        if most == 0:
            self.emptied_ns = now
            self.is_behind = False
        elif is_busy:
            self._leave_rest(now, transport, most)
        return date

    cdef uint64_t _dated_back(self, LoopState loop_state, uint64_t now) noexcept:
        """Return the last instant at which the socket that is read now was known to be empty."""
        cdef PollClock polls = loop_state.turns.polls
        cdef uint64_t since = now
        if polls.is_armed:
            since = polls.dated(now)
        elif loop_state.calm_until_ns and now > loop_state.calm_until_ns:
            # The loop was blocked: nothing was read since its last tick.
            since = loop_state.seen_ns
        if self.is_behind or self.watched_ns >= since:
            # No poll has checked the socket since then, or the poll that checked it reported it.
            since = 0
        return min(now, max(since, self.emptied_ns))

    cdef int _leave_rest(self, uint64_t now, object transport, Py_ssize_t size) except -1:
        """Note that a read filled its buffer: bytes left in the socket have its date, later bytes a later one."""
        if isinstance(transport, TLSLayer):
            # Encrypted bytes count: in the socket they are longer than their data.
            size = (<TLSLayer>transport).take_received()
        if self.is_behind:
            self.behind_bytes -= size
            if self.behind_bytes > 0:
                return 0
            self.emptied_ns = self.full_ns
        return self._note_unread(now, transport)

    cdef int watched(self, PollClock polls, object transport, bint for_turn) except -1:
        """Note that the loop watches the socket again after it had no turn for it or reading was paused."""
        self.watched_ns = now_ns()
        if not for_turn:
            self.emptied_ns = self.watched_ns
            return 0
        # The next poll does not show when the socket was empty, and its instant may be noted after this one. The bytes
        # now in the socket arrived earlier, at an unknown time.
        if not self.is_behind:
            self._note_unread(self.watched_ns, transport)
        return polls.arm(self.watched_ns, False)

    cdef int _note_unread(self, uint64_t now, object transport) except -1:
        """Date the bytes in the socket by the last read. Bytes that arrive after them get a later date."""
        self.behind_bytes = unread_bytes(transport)
        self.is_behind = self.behind_bytes > 0
        if self.is_behind:
            self.full_ns = now
        else:
            self.emptied_ns = now
        return 0

    cdef int released(self) noexcept:
        """Note that the engine accepts input again: all input so far waited because of the connection itself."""
        self.emptied_ns = now_ns()
        if self.is_put_off:
            self.put_off_ns = self.emptied_ns
        return 0
