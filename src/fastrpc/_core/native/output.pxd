from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.wire.frame cimport Frame, WireProtocol


cdef class Output:
    cdef:
        # The owner of this part: borrowed, NULL once it is gone (parts_owner).
        PyObject* owner

        # The rules of the wire, the owner's.
        WireProtocol wire

        # Bytes to send: `control` may overtake, except while the preface waits; then `chunks` in order (or None), then
        # `out`. A CANCEL lies there: no CREDIT may overtake it.
        WriteBuffer control
        WriteBuffer out
        list chunks
        Py_ssize_t chunk_bytes
        bint opening_waits
        bint cancel_waits
        readonly uint64_t flushes

    cdef int send_cancel(self, uint64_t id, int reason) except -1
    cdef int send_credit(self, uint64_t id, uint32_t size) except -1
    cdef int send_control(self, WriteBuffer buffer, int kind, int flags, bytes body) except -1
    cdef object take_output(self)
    cdef int skip_output(self) except -1

    cdef inline Py_ssize_t output_bytes(self) noexcept:
        """Bytes that `take_output` would return."""
        return self.out.size + self.control.size + self.chunk_bytes

    cdef inline bint is_plain(self) noexcept:
        """Whether all output lies in `out`."""
        return self.chunk_bytes == 0 and self.control.size == 0

    cdef int put_body(
        self, WriteBuffer buffer, int kind, int flags, uint64_t id, const char* body, Py_ssize_t size
    ) except -1
    cdef int put(self, Frame* frame, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
