"""What a loop's clock wakes: calls at their deadline, connections for their checks and while they are spun on."""


cdef class Timed:
    """Carries its own timer, so that starting and stopping one allocates nothing."""

    cdef int on_timer(self) except -1:
        """The time has come; the timer is no longer linked."""
        return 0

    cdef bint on_spin(self) except -1:
        """The loop spins: look at the socket. Return whether there was anything."""
        return False

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        """Go on with what was put off, up to about that instant. Return whether there is more."""
        return False
