"""Received bytes of one connection that are not handled yet.

::

    the beginning of a frame ─────────────► kept until the rest of it comes
    what a turn has no time left for ─────► put off: kept, counted and dated until the connection goes on
    the end of a payload, for that reason ► put off where it lies

"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy


@cython.final
cdef class ReceiveTail:
    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int keep(self, const char* data, Py_ssize_t size) except -1:
        """Keep a copy of these bytes instead of those that were kept."""
        PyMem_Free(self.data)
        self.data = NULL
        self.size = size
        if size:
            self.data = <char*>PyMem_Malloc(size)
            if self.data is NULL:
                self.size = 0
                raise MemoryError()
            memcpy(self.data, data, size)
        return 0

    cdef int drop(self) noexcept:
        """Keep nothing."""
        PyMem_Free(self.data)
        self.data = NULL
        self.size = self.placed = 0
        return 0

    cdef int end(self) noexcept:
        """Nothing is put off any more."""
        self.is_put_off = False
        self.put_off_ns = 0
        return 0

    cdef Py_ssize_t recount(self) noexcept:
        """Count what is put off; return by how many bytes that is more than before."""
        cdef Py_ssize_t before = self.counted
        self.counted = self.size if self.is_put_off else 0
        return self.counted - before
