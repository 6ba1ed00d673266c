"""The output of a connection: bytes in order, of which long parts are not copied.

::

    engine ── frames ──► out.reserve ──┐                   ┌──► plain, skip    all of it lies in `out`
           ── payloads ► put ──────────┴─► chunks, then out ┴──► take           bytes, or a list of parts
                            └─► long: kept as a chunk, after the bytes of `out`

Each engine has an OutputBuffer, which its byte stream empties (`io/engine`). Native connections have a send queue
instead.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcpy


cdef class OutputBuffer:
    """Bytes that wait to be sent, in order."""

    def __cinit__(self):
        self.out = WriteBuffer.__new__(WriteBuffer)

    @cython.final
    cdef int put(self, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1:
        """Append `size` bytes of a payload: a short part is copied, a long one kept."""
        if size >= UNCOPIED:
            return self.keep(payload, offset, size)
        if size:
            memcpy(self.out.reserve(size), PyBytes_AS_STRING(payload) + offset, <size_t>size)
        return 0

    @cython.final
    cdef int keep(self, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1:
        """Append a part of a payload without copying. The payload is referenced until the part is sent."""
        if self.chunks is None:
            self.chunks = []
        if self.out.size:
            self.chunk_bytes += self.out.size
            self.chunks.append(self.out.take())
        self.chunks.append(payload if size == PyBytes_GET_SIZE(payload) else memoryview(payload)[offset:offset + size])
        self.chunk_bytes += size
        return 0

    @cython.final
    cdef void drop(self) noexcept:
        """Drop the output and free its memory, after the connection was lost."""
        self.chunks = None
        self.chunk_bytes = 0
        self.out.clear()
        self.out.release()

    # For the byte stream

    cdef Py_ssize_t size(self) noexcept:
        """Return the number of bytes that `take` would return."""
        return self.out.size + self.chunk_bytes

    cdef const char* plain(self, Py_ssize_t* size) noexcept:
        """Return all output if it is in one piece, otherwise NULL; valid until more is written, or taken."""
        size[0] = self.out.size
        return self.out.data() if self.chunk_bytes == 0 else NULL

    cdef object take(self):
        """Return and remove the output: bytes, or a list of bytes-like parts in order."""
        cdef list parts = self.chunks
        if parts is None:
            return self.out.take()
        self.chunks = None
        self.chunk_bytes = 0
        if self.out.size:
            parts.append(self.out.take())
        return parts

    cdef int skip(self) except -1:
        """Remove the plain output after it was written."""
        self.out.clear()
        return 0
