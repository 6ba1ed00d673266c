from fastrpc._core.base.timer_wheel cimport Timed


cdef class Alarm(Timed):
    cdef:
        # Callbacks for its wake-up and for each look of the loop for data; None for nothing.
        object wake
        object spin
