from libc.stdint cimport uint64_t

from fastrpc._core.base.timed cimport Timed


cdef class Turns:
    cdef:
        # Where the next round is scheduled, and whether it is.
        object _call_soon
        object _run
        object _report
        bint _is_scheduled

        # Who waits for a slice, the next one first: (owner, the context it goes on in).
        object _owners

        # What was taken of this turn of the loop, by slices that began at once.
        uint64_t _taken_ns

    cdef int add(self, Timed owner) except -1
    cdef uint64_t slice_ns(self) noexcept
    cdef int _schedule(self) except -1
    cdef bint _give_slice(self, Timed owner, uint64_t ends_ns) except -1


cdef class SlicedWork(Timed):
    cdef:
        # What takes a step of the work: () -> whether there is more; and who gives it its slices.
        object _step
        Turns _turns
