"""The parts of a wire of HTTP/2 that a link asks: long messages in place, and messages that wait.

Most reads have neither: both then answer by reading a field, and the wire is not called.
"""

cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class Http2Placing(Placing):
    """Long messages, received into their memory."""

    cdef char* place(self, Py_ssize_t* room) except? NULL:
        cdef Http2Connection wire = <Http2Connection>self.wire
        return NULL if wire.incoming.data_stream is None else wire.place(room)

    cdef int placed(self, Py_ssize_t size) except -1:
        return (<Http2Connection>self.wire).placed(size)

    cdef object owner(self):
        return (<Http2Connection>self.wire).incoming.sink

    cdef bint completes(self, Py_ssize_t size) except -1:
        return (<Http2Connection>self.wire).completes(size)


@cython.final
cdef class Http2Backlog(Backlog):
    """Messages that wait for the windows of the peer, or for the turn of their stream."""

    cdef bint pump(self) except -1:
        cdef Http2Connection wire = <Http2Connection>self.wire
        if wire.sender.is_waiting():
            wire.pump()
        return wire.sender.is_waiting() or wire.sender.queued_bytes != 0

    cdef int rest(self) noexcept:
        return (<Http2Connection>self.wire).rest()

    cdef int turn_over(self) except -1:
        return (<Http2Connection>self.wire).turn_over()

    cdef int64_t queued(self) except? -1:
        return (<Http2Connection>self.wire).sender.queued_bytes

    cdef int64_t passed(self) except? -1:
        return (<Http2Connection>self.wire).sender.cut_bytes

    cdef int64_t credit(self) except? -1:
        return (<Http2Connection>self.wire).incoming.flow.sending


cdef int add_parts(Http2Connection wire) except -1:
    cdef Http2Placing placing = Http2Placing.__new__(Http2Placing)
    cdef Http2Backlog backlog = Http2Backlog.__new__(Http2Backlog)
    placing.wire = backlog.wire = <PyObject*>wire
    wire.placing = placing
    wire.backlog = backlog
    return 0
