"""The threads that wait inside a blocking client. Described in the .pyi."""

cimport cython
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    /* The innermost stay of the calling thread. */
    static _Thread_local void *frpc_innermost;
    """
    void* innermost "frpc_innermost"


@cython.final
cdef class ReentryGuard:

    cdef int check(self) except -1:
        """Raise RuntimeError if this thread waits inside already."""
        cdef Stay* stay = <Stay*>innermost
        while stay is not NULL:
            if stay.owner is <void*>self:
                raise RuntimeError(
                    "a SyncClient was used inside itself: this thread waits in it already, and was interrupted by a signal "
                    "handler or a finalizer (have that set a flag, and call when the wait is over, or give it a client of "
                    "its own)"
                )
            stay = stay.outer
        return 0

    cdef void begin(self, Stay* stay) noexcept:
        """The thread begins to wait; `stay` has to live until `end`."""
        global innermost
        stay.owner = <void*>self
        stay.outer = <Stay*>innermost
        stay.is_allocated = False
        innermost = stay

    def refuse(self):
        self.check()

    def __enter__(self):
        cdef Stay* stay = <Stay*>malloc(sizeof(Stay))
        if stay is NULL:
            raise MemoryError
        self.begin(stay)
        stay.is_allocated = True
        return self

    def __exit__(self, kind, error, traceback):
        cdef Stay* stay = <Stay*>innermost
        # Blocks of one thread end in the opposite order; an exit called by hand finds no stay of its own.
        if stay is not NULL and stay.is_allocated and stay.owner is <void*>self:
            end(stay)
            free(stay)


cdef void end(Stay* stay) noexcept:
    """The thread waits no more."""
    global innermost
    innermost = stay.outer
