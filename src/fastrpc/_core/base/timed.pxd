from libc.stdint cimport uint64_t

from fastrpc._core.base.timer_wheel cimport Timer


cdef class Timed:
    cdef:
        # Linked into a wheel while it runs; the wheel then holds a reference to this object (LoopState.start_timer).
        Timer timer

    cdef int on_timer(self) except -1
    cdef bint on_spin(self) except -1
    cdef bint on_turn(self, uint64_t ends_ns) except -1
    cdef int held_descriptor(self) except -2
    cdef int on_hang_up(self, bint is_reset) except -1
