cdef struct Stay:
    # The guard of the client that the thread waits in, borrowed: the waiting code keeps it. The stay around this one.
    void* owner
    Stay* outer
    # Whether it was allocated by `with`; others lie on the stack of the waiting code.
    bint is_allocated


cdef class ReentryGuard:
    cdef int check(self) except -1
    cdef void begin(self, Stay* stay) noexcept


cdef void end(Stay* stay) noexcept
