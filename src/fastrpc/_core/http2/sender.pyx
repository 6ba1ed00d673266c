"""The way of frames out of a connection of HTTP/2: order, windows, and the pieces of long messages."""

cimport cython

@cython.final
cdef class Http2Message:
    """A message of a stream that could not be written at once."""


@cython.final
cdef class Http2Sender:
    """The streams that wait to send, and the bytes that may leave."""

    cdef Py_ssize_t begin_head(self) except -1:
        raise NotImplementedError()

    cdef int end_head(self, Http2Stream stream, Py_ssize_t start, bint ends_stream) except -1:
        raise NotImplementedError()

    cdef int send_message(self, Http2Stream stream, bytes payload, int flags, bint ends_stream) except -1:
        raise NotImplementedError()

    cdef int send_data(self, Http2Stream stream, bytes payload, bint ends_stream) except -1:
        raise NotImplementedError()

    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1:
        raise NotImplementedError()

    cdef int drop_unsent(self, Http2Stream stream) except -1:
        raise NotImplementedError()

    cdef int unpark(self, Http2Stream stream) except -1:
        raise NotImplementedError()

    cdef int wait_turn(self, Http2Stream stream) except -1:
        raise NotImplementedError()

    cdef int pump(self, Py_ssize_t room, bint with_large) except -1:
        raise NotImplementedError()

    cdef object take_output(self):
        raise NotImplementedError()

    cdef int skip_output(self) except -1:
        raise NotImplementedError()
