from fastrpc._core.base.buffer cimport WriteBuffer

cdef enum:
    # A part of this length or more is kept unchanged, shorter ones are copied.
    UNCOPIED = 16_384


cdef class OutputBuffer:
    cdef:
        # Output in order: the chunks, then the bytes of `out`. Chunks exist from the first kept part until all output
        # is taken, else the list is None. `chunk_bytes` is their size, so it is above 0 while there are chunks.
        WriteBuffer out
        list chunks
        Py_ssize_t chunk_bytes

    # For an engine.
    cdef int put(self, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
    cdef int keep(self, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
    cdef void drop(self) noexcept

    # Methods for the byte stream.
    cdef Py_ssize_t size(self) noexcept
    cdef const char* plain(self, Py_ssize_t* size) noexcept
    cdef object take(self)
    cdef int skip(self) except -1
