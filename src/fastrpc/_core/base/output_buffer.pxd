from fastrpc._core.base.buffer cimport WriteBuffer

cdef enum:
    # A part this long is kept as it is, shorter ones are copied.
    UNCOPIED = 16_384


cdef class OutputBuffer:
    cdef:
        # Output in order: the chunks (None: there are none), then the bytes of `out`. Chunks lie there from the first part
        # that was kept until all is taken; `chunk_bytes` is their size, so it is above 0 as long as there are chunks.
        WriteBuffer out
        list chunks
        Py_ssize_t chunk_bytes

    cdef int put(self, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
    cdef int keep(self, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
    cdef object take(self)
    cdef void drop(self) noexcept

    cdef inline Py_ssize_t size(self) noexcept:
        """Return the bytes that `take` would return."""
        return self.out.size + self.chunk_bytes

    cdef inline const char* plain(self, Py_ssize_t* size) noexcept:
        """Return all output where it lies in `out`, NULL where it does not; valid until more is written, or it is taken."""
        size[0] = self.out.size
        return self.out.data() if self.chunk_bytes == 0 else NULL

    cdef inline void skip(self) noexcept:
        """Forget the plain output: it has been written."""
        self.out.clear()
