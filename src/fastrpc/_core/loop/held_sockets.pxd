from fastrpc._core.base.timed cimport Timed


cdef class HeldSockets:
    cdef:
        # The loop, its callback, and the context of that.
        object _loop
        object _look
        object _context

        # The streams whose input is, or was until a moment ago, held; the next look, None without such streams.
        set _owners
        object _handle

    cdef int add(self, Timed owner) except -1
    cdef int drop(self, Timed owner) except -1
    cdef int _schedule(self) except -1
    cdef int _descriptor_of(self, Timed owner) except -2
    cdef int _tell(self, Timed owner, bint is_reset) except -1
