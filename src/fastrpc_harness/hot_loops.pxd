"""C loops around single operations of the core."""

cdef enum:
    # Timers that stay linked while others are added and cancelled; a power of two.
    TIMERS_IN_FLIGHT = 64
