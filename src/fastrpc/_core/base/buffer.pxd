from cpython.ref cimport PyObject

cdef enum:
    # Allocating a smaller payload is cheaper than searching the pool.
    SMALLEST_BLOCK = 32_768

cdef PyObject* used_block(Py_ssize_t size) except? NULL
cdef int keep_block(PyObject* block) except -1

cdef bytes copied(const char* data, Py_ssize_t size)
cdef bytes new_block(Py_ssize_t size)


cdef class WriteBuffer:
    cdef:
        # Owned block; pointers into it are valid until the next `reserve`.
        char* _block
        Py_ssize_t _capacity

        # Bytes written and not yet taken are _block[:size]; 0 <= size <= _capacity.
        readonly Py_ssize_t size

    cdef int _grow(self, Py_ssize_t size) except -1
    cdef bytes take(self)
    cdef void clear(self) noexcept
    cdef void release(self) noexcept
    cdef void keep(self, Py_ssize_t size) noexcept

    cdef inline const char* data(self) noexcept:
        """Return the written bytes; valid until the next `reserve`, `take` or `clear`."""
        return self._block

    cdef inline char* reserve(self, Py_ssize_t size) except NULL:
        """Append `size` bytes to be filled by the caller and return their address."""
        if self.size + size > self._capacity:
            self._grow(size)
        cdef char* place = self._block + self.size
        self.size += size
        return place


cdef class ReadBuffer:
    cdef:
        # Owned block of `capacity` bytes, shared by all connections of one loop: it holds a connection's bytes only
        # between its get_buffer and the end of the immediately following buffer_updated.
        char* data
        readonly Py_ssize_t capacity


# Set whether memory is short: blocks of received payloads then grow little beyond the received bytes instead of
# doubling.
cdef void grow_tightly(bint is_on) noexcept


cdef class Assembly:
    cdef:
        # An owned bytes object of `_capacity` bytes, or NULL; bytes [0, filled) are received.
        PyObject* _block
        Py_ssize_t _capacity
        readonly Py_ssize_t filled

        # The length of the whole payload; filled <= total.
        readonly Py_ssize_t total

    cdef char* place(self, Py_ssize_t left, Py_ssize_t* room, Py_ssize_t trusted) except NULL
    cdef char* reserve(self, Py_ssize_t size, Py_ssize_t trusted) except NULL
    cdef int append(self, const char* data, Py_ssize_t size, Py_ssize_t trusted) except -1
    cdef bytes finish(self)
