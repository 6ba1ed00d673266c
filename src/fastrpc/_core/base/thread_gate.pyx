"""A gate for a waiting thread, and a bell that wakes an event loop. Described in the .pyi."""

cimport cython
from cpython.pythread cimport (
    PY_LOCK_ACQUIRED,
    PyLockStatus,
    PyThread_acquire_lock,
    PyThread_allocate_lock,
    PyThread_free_lock,
    PyThread_release_lock,
    PyThread_type_lock,
    WAIT_LOCK,
)
from libc.stdint cimport uint64_t

import os

cdef extern from "pythread.h" nogil:
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds, int intr_flag)

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int descriptor, const void* data, size_t size)
    ssize_t read(int descriptor, void* data, size_t size)
    int close(int descriptor)


cdef inline void ring(int descriptor) noexcept nogil:
    # An eventfd accepts exactly these eight bytes. A full pipe refuses them: then the loop wakes anyway.
    cdef uint64_t one = 1
    write(descriptor, &one, sizeof(one))


@cython.final
cdef class Bell:
    def __cinit__(self):
        self.descriptor = self._write_descriptor = -1
        if hasattr(os, "eventfd"):
            self.descriptor = self._write_descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self.descriptor, self._write_descriptor = os.pipe()
            os.set_blocking(self.descriptor, False)
            os.set_blocking(self._write_descriptor, False)

    def __dealloc__(self):
        if self._write_descriptor != self.descriptor:
            close(self._write_descriptor)
        if self.descriptor >= 0:
            close(self.descriptor)

    def ring(self):
        ring(self._write_descriptor)

    def answer(self):
        cdef char[4096] discarded
        read(self.descriptor, discarded, sizeof(discarded))


@cython.final
cdef class ThreadGate:
    def __cinit__(self):
        self._lock = PyThread_allocate_lock()
        if self._lock is NULL:
            raise MemoryError
        PyThread_acquire_lock(self._lock, WAIT_LOCK)

    def __dealloc__(self):
        if self._lock is not NULL:
            # As CPython does with its own locks: freeing a held lock is undefined.
            PyThread_release_lock(self._lock)
            PyThread_free_lock(self._lock)

    def open(self):
        PyThread_release_lock(self._lock)

    def wait(self, double seconds, Bell bell=None):
        cdef long long microseconds = -1 if seconds < 0 else <long long>(seconds * 1e6)
        cdef int descriptor = -1 if bell is None else bell._write_descriptor
        cdef PyLockStatus status
        # The caller's arguments keep `bell` and `self` alive; neither is written to after its construction.
        with nogil:
            if descriptor >= 0:
                ring(descriptor)
            status = PyThread_acquire_lock_timed(self._lock, microseconds, 0)
        return status == PY_LOCK_ACQUIRED
