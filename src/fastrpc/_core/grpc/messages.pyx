"""Messages in the DATA of a stream: each has a prefix of five bytes in front.

::

    u8 flags (0, or 1: compressed) · u32 length, highest byte first · the message

DATA is cut anywhere, inside a prefix too, and one DATA may have many messages. A message that lies in one part is copied
once; a longer one is received into an `Assembly`, whose memory grows with the bytes that came, not with the length.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy

from fastrpc._core.http2.big_endian cimport load32_big


@cython.final
@cython.freelist(16)
cdef class MessageReader:
    """Cuts the DATA of one direction of a stream into messages."""

    def __cinit__(self, Py_ssize_t limit):
        self.limit = limit

    cdef bytes read(self, const char** data, Py_ssize_t* size, Py_ssize_t trusted):
        cdef Py_ssize_t taken
        cdef bytes message
        if self._prefix_size < PREFIX_BYTES and not self._read_prefix(data, size):
            return None
        taken = min(size[0], self.missing())
        if taken == self.total:
            message = PyBytes_FromStringAndSize(data[0], taken)
            self.assembly = None
            self._prefix_size = 0
        else:
            if self.assembly is None:
                self.assembly = Assembly(self.total)
            self.assembly.append(data[0], taken, trusted)
            message = self._finish()
        data[0] += taken
        size[0] -= taken
        return message

    cdef bint _read_prefix(self, const char** data, Py_ssize_t* size) except -1:
        """Take bytes of the prefix; True: it is whole, and without a problem."""
        cdef Py_ssize_t taken = min(size[0], <Py_ssize_t>(PREFIX_BYTES - self._prefix_size))
        # The bytes of the caller.
        memcpy(self._prefix + self._prefix_size, data[0], <size_t>taken)
        self._prefix_size += <int>taken
        data[0] += taken
        size[0] -= taken
        if self.problem or self._prefix_size < PREFIX_BYTES:
            return False
        self.total = load32_big(<const char*>self._prefix + 1)
        self.is_compressed = self._prefix[0] == IS_COMPRESSED
        if self._prefix[0] > IS_COMPRESSED:
            self.problem = MESSAGE_FLAGS
        elif self.total > self.limit:
            self.problem = MESSAGE_TOO_LARGE
        return self.problem == MESSAGE_OK

    cdef char* place(self, Py_ssize_t most, Py_ssize_t* room, Py_ssize_t trusted) except NULL:
        if self.assembly is None:
            self.assembly = Assembly(self.total)
        return self.assembly.place(min(most, self.missing()), room, trusted)

    cdef bytes placed(self, Py_ssize_t size):
        self.assembly.filled += size
        return self._finish()

    cdef bytes _finish(self):
        """Return the message if all of it came."""
        cdef bytes message
        if self.assembly.filled < self.total:
            return None
        message = self.assembly.finish()
        self.assembly = None
        self._prefix_size = 0
        return message
