cimport cython

from fastrpc._core.client.client_stream cimport ClientStream


@cython.final
cdef class Gathered:
    cdef:
        # Payloads, with the number of their compressor if they have one; those from `next` on are not handed over yet.
        list messages
        Py_ssize_t next

        # The exception of the next message, which cannot be encoded, or None; whether nothing follows.
        object failure
        bint is_last

    cdef bint is_sent(self) noexcept
    cdef int hand_over(self, ClientStream stream) except -1


cdef bint are_there(object messages) except -1
cdef Gathered gather(ClientStream stream, object source)
