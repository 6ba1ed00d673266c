from libc.stdint cimport uint64_t


cdef class ReceiveTail:
    cdef:
        # The bytes, owned; NULL where there are none.
        char* data
        Py_ssize_t size

        # The last bytes of a long payload: they lie at their final place already, and do not count yet.
        Py_ssize_t placed

        # Whether all this waits for a turn of the loop, and since when (0: it does not).
        bint is_put_off
        uint64_t put_off_ns

        # So many bytes are counted for the connection.
        Py_ssize_t counted

    cdef int keep(self, const char* data, Py_ssize_t size) except -1
    cdef int drop(self) noexcept
    cdef int end(self) noexcept
    cdef Py_ssize_t recount(self) noexcept
