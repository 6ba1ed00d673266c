"""The waits of a blocking client's threads: their events, and the locks they sleep at."""

cimport cython
from cpython.pythread cimport (
    PyLockStatus,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    WAIT_LOCK,
)

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE

cdef extern from "pythread.h" nogil:
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int intr_flag)

# A thread that wakes up this late was stopped, so its answer may lie unread: it gets a little more time to read it.
cdef uint64_t LATE_NS = 50_000_000
cdef uint64_t GRACE_NS = 10_000_000


@cython.final
@cython.freelist(16)
cdef class Wait:
    """The events that one thread waits for, and the lock it sleeps at."""

    def __dealloc__(self):
        if self.gate is not NULL:
            # As CPython does with its own locks: freeing one that is held is undefined.
            PyThread_release_lock(self.gate)
            PyThread_free_lock(self.gate)

    cdef int came(self) except -1:
        """One of the events came."""
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
        """Join the sleepers, to be woken by another thread; the thread may now wait at the gate."""
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
            # It was released after the sleep ended.
            PyThread_acquire_lock(self.gate, WAIT_LOCK)
        return 0

    cdef PyLockStatus sleep(self) noexcept:
        """Wait at the gate, without the GIL: until another thread wakes us, a signal comes, or the time is over."""
        cdef long long microseconds = -1
        cdef uint64_t now
        cdef PyLockStatus status
        if self.deadline_ns != NO_DEADLINE:
            now = now_ns()
            # Cut to an hour, far below the most that the lock takes: a thread that wakes too early sleeps again.
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
