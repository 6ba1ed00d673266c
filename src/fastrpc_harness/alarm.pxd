from fastrpc._core.base.timed cimport Timed


cdef class Alarm(Timed):
    cdef:
        # What is called when it is woken, and when the loop looks for data; None for nothing.
        object wake
        object spin
