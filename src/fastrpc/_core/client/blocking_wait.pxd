from cpython.pythread cimport PyLockStatus, PyThread_type_lock
from libc.stdint cimport uint64_t


cdef class Wait:
    cdef:
        # `missing`: the number of missing events; `deadline_ns`: the instant at which the wait ends.
        Py_ssize_t missing
        uint64_t deadline_ns
        bint was_late

        # The lock at which the thread sleeps while others work for it; NULL before the first sleep. The thread itself
        # holds it. To wake the thread, another thread releases the lock and removes the thread from the sleepers.
        PyThread_type_lock gate
        # None while the thread is awake.
        dict sleepers

    cdef int came(self) except -1
    cdef int wake(self) except -1
    cdef int park(self, dict sleepers) except -1
    cdef int unpark(self, bint is_let_through) except -1
    cdef PyLockStatus sleep(self) noexcept
    cdef bint is_over(self) noexcept


cdef Wait new_wait(Py_ssize_t missing, uint64_t deadline_ns)


cdef struct Stay:
    # `owner`: the guard of the client in which the thread waits, borrowed: the waiting code keeps it alive. `outer`:
    # the enclosing Stay on the stack of this thread, or NULL.
    void* owner
    Stay* outer
    # Whether it was allocated by `with`; others are on the stack of the waiting code.
    bint is_allocated


cdef class ReentryGuard:
    cdef int check(self) except -1
    cdef void begin(self, Stay* stay) noexcept


cdef void end(Stay* stay) noexcept
