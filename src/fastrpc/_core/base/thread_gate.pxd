"""A gate for a waiting thread, and a bell that wakes an event loop."""

cimport cython


@cython.final
cdef class Bell:
    cdef:
        # Own descriptors, open until deallocation; one descriptor twice if the system has eventfd.
        readonly int descriptor
        int _write_descriptor


@cython.final
cdef class ThreadGate:
    cdef:
        # Owned; held except between `open` and the end of the `wait` that it ends.
        void* _lock
