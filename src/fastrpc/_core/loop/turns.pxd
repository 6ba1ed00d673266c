from libc.stdint cimport uint64_t

from fastrpc._core.base.timed cimport Timed


cdef class Turns:
    cdef:
        # Where the next round is scheduled, and whether it is.
        object _call_soon
        object _run
        object _report
        bint _is_scheduled

        # Owners that wait for a slice, the next one first, with the context they go on in: those that had none yet,
        # those that had one; whether the next slice is for one that had none.
        object _fresh
        object _begun
        bint _is_fresh_next

        # When this turn of the loop has handled enough; 0 = nobody noted its beginning.
        uint64_t ends_ns

        # Frames that all connections of the loop handle until the beginning of a turn is noted.
        int frames_left

    cdef int add(self, Timed owner) except -1
    cdef uint64_t begin(self, uint64_t now) except 0
    cdef uint64_t read_until(self, uint64_t now) except 0
    cdef Py_ssize_t _waiting(self) except -1
    cdef uint64_t _slice_ns(self) except 0
    cdef object _next(self)
    cdef int _schedule(self) except -1
    cdef bint _give_slice(self, Timed owner, uint64_t ends_ns) except -1


cdef class SlicedWork(Timed):
    cdef:
        # What takes a step of the work: () -> whether there is more; and who gives it its slices.
        object _step
        Turns _turns
