"""What can be woken by a timer: calls at their deadline, connections for their checks."""


cdef class Timed:
    """Carries its own timer, so that starting and stopping one allocates nothing."""

    cdef int on_timer(self) except -1:
        """The time has come; the timer is no longer linked."""
        return 0
