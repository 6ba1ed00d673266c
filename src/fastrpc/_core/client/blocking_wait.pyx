"""The waits of a blocking client's threads: their events, the locks they sleep at, and the guard against nested waits.

Described in the .pyi.
"""

cimport cython
from cpython.pythread cimport WAIT_LOCK, PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock
from cpython.pythread cimport PyThread_release_lock
from libc.stdlib cimport free, malloc

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE

cdef extern from "pythread.h" nogil:
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int intr_flag)

# A thread that wakes up this late was stopped, and its answer may be unread; it gets a little more time to read it.
cdef uint64_t LATE_NS = 50_000_000
cdef uint64_t GRACE_NS = 10_000_000

cdef extern from *:
    """
    /* The innermost stay of the calling thread. */
    static _Thread_local void *frpc_innermost;
    """
    void* innermost "frpc_innermost"


@cython.final
@cython.freelist(16)
cdef class Wait:
    """The events that one thread waits for, and the lock at which it sleeps."""

    def __dealloc__(self):
        if self.gate is not NULL:
            # As CPython does with its locks: freeing a held lock is undefined.
            PyThread_release_lock(self.gate)
            PyThread_free_lock(self.gate)

    cdef int came(self) except -1:
        """Count one of the events as arrived."""
        self.missing -= 1
        return self.wake() if self.missing <= 0 else 0

    cdef int wake(self) except -1:
        cdef dict sleepers = self.sleepers
        if sleepers is not None:
            self.sleepers = None
            del sleepers[self]
            PyThread_release_lock(self.gate)
        return 0

    cdef int park(self, dict sleepers) except -1:
        """Join the sleepers, which other threads wake. From now on the thread may wait at the gate."""
        if self.gate is NULL:
            self.gate = PyThread_allocate_lock()
            if self.gate is NULL:
                raise MemoryError
            PyThread_acquire_lock(self.gate, WAIT_LOCK)
        sleepers[self] = None
        self.sleepers = sleepers
        return 0

    cdef int unpark(self, bint is_let_through) except -1:
        """Undo `park`, whether another thread woke this one or it woke by itself."""
        cdef dict sleepers = self.sleepers
        if sleepers is not None:
            self.sleepers = None
            del sleepers[self]
            if is_let_through:
                return 0
        elif not is_let_through:
            # The gate was released after the sleep ended.
            PyThread_acquire_lock(self.gate, WAIT_LOCK)
        return 0

    cdef PyLockStatus sleep(self) noexcept:
        """Wait at the gate without the GIL until another thread wakes this one, a signal arrives, or the time is over."""
        cdef long long microseconds = -1
        cdef uint64_t now
        cdef PyLockStatus status
        if self.deadline_ns != NO_DEADLINE:
            now = now_ns()
            # At most an hour, far below the limit of the lock; a thread that wakes too early sleeps again.
            microseconds = min(
                0 if self.deadline_ns <= now else <long long>((self.deadline_ns - now) // 1000 + 1), 3_600_000_000
            )
        # The caller keeps us alive, and we keep the gate.
        with nogil:
            status = PyThread_acquire_lock_timed(self.gate, microseconds, 1)
        return status

    cdef bint is_over(self) noexcept:
        """Return whether the time is over."""
        cdef uint64_t now
        if self.deadline_ns == NO_DEADLINE:
            return False
        now = now_ns()
        if now < self.deadline_ns:
            return False
        if self.was_late or now - self.deadline_ns <= LATE_NS:
            return True
        self.was_late = True
        self.deadline_ns = now + GRACE_NS
        return False


cdef Wait new_wait(Py_ssize_t missing, uint64_t deadline_ns):
    cdef Wait wait = Wait.__new__(Wait)
    wait.missing = missing
    wait.deadline_ns = deadline_ns
    return wait


@cython.final
cdef class ReentryGuard:

    cdef int check(self) except -1:
        """Raise RuntimeError if this thread is already waiting in the client."""
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
        """Record that the thread waits; `stay` has to live until `end`."""
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
        # Blocks of one thread end in the opposite order; an exit called by hand finds no stay.
        if stay is not NULL and stay.is_allocated and stay.owner is <void*>self:
            end(stay)
            free(stay)


cdef void end(Stay* stay) noexcept:
    """Record that the thread's wait has ended."""
    global innermost
    innermost = stay.outer
