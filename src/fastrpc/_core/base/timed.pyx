"""Objects that a loop wakes: calls at their deadline, connections for checks, spinning and the end of their peer."""


cdef class Timed:
    """Carries its own timer, so that starting and stopping one allocates nothing."""

    cdef int on_timer(self) except -1:
        """The timer expired; it is no longer linked."""
        return 0

    cdef bint on_spin(self) except -1:
        """Poll the socket while the loop spins. Return whether it had data."""
        return False

    cdef bint on_turn(self, uint64_t ends_ns) except -1:
        """Continue deferred work, up to about that instant. Return whether there is more."""
        return False

    cdef int held_descriptor(self) except -2:
        """Return the socket whose input is held; -1: it is read again, and no longer watched."""
        return -1

    cdef int on_hang_up(self, bint is_reset) except -1:
        """The peer of that socket sends no more, or has reset the connection."""
        return 0
