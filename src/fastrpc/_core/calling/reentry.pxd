cdef struct Stay:
    # The guard of the client that the thread waits in, borrowed: the waiting call keeps it. The enclosing stay.
    void* owner
    Stay* outer
    # Whether `with` allocated it; others are on the stack of the waiting call.
    bint is_allocated


cdef class ReentryGuard:
    cdef int check(self) except -1
    cdef void begin(self, Stay* stay) noexcept


cdef void end(Stay* stay) noexcept
