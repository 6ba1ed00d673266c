from fastrpc._core.base.timer_wheel cimport Timed


cdef class Alarm(Timed):
    cdef:
        # `wake`: called when the loop wakes the object; `spin`: called at each poll of the loop. Either may be None.
        object wake
        object spin
