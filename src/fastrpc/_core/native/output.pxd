from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.output_buffer cimport OutputBuffer
from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.engine cimport STREAM_SHARE, ByteStream
from fastrpc._core.wire.frame cimport Frame, WireProtocol


cdef enum:
    # Heads of frames that a stream writes beyond its share of the output: else four messages of 64 KiB would fill it.
    SHARE_OF_HEADS = 4_096


cdef class Output(OutputBuffer):
    cdef:
        # The owner of this part: borrowed, NULL once it was freed (parts_owner).
        PyObject* owner

        # The rules of the wire, the owner's.
        WireProtocol wire

        # Frames that may overtake the ordered output, except while the preface waits there. No CREDIT may overtake a
        # CANCEL that waits there.
        WriteBuffer control
        bint opening_waits
        bint cancel_waits
        readonly uint64_t flushes

        # Whether the system may refuse output that was taken, and the last flush whose output the system took
        # completely. If the system cannot refuse output, a flush passes it on.
        bint may_be_refused
        # Whether the first small message of a SendQueue waits for credit, as its last `pump` found; here it takes no room.
        bint lacks_credit
        uint64_t handed_flushes

        # Calls that wait until our output has left; None without any.
        dict waiters

    cdef int send_cancel(self, uint64_t id, int reason) except -1
    cdef int send_credit(self, uint64_t id, uint32_t size) except -1
    cdef int send_control(self, WriteBuffer buffer, int kind, int flags, bytes body) except -1

    cdef inline Py_ssize_t output_bytes(self) noexcept:
        """Return the bytes that `take` would return."""
        return self.out.size + self.control.size + self.chunk_bytes

    cdef inline bint is_plain(self) noexcept:
        """Return whether all output lies in `out`."""
        return self.chunk_bytes == 0 and self.control.size == 0

    cdef int put_body(
        self, WriteBuffer buffer, int kind, int flags, uint64_t id, const char* body, Py_ssize_t size
    ) except -1
    cdef inline bint is_full(self) noexcept:
        """Return whether the output holds as much as streams may write before the transport takes it."""
        return self.output_bytes() > STREAM_SHARE + SHARE_OF_HEADS

    cdef inline bint was_handed(self, Call call) noexcept:
        """Return whether the last piece of a REQUEST was passed to the transport: from then on, the call may run."""
        return call.handed_at != 0 and call.handed_at <= (self.handed_flushes if self.may_be_refused else self.flushes)

    # The stream below, before there is one and once it is gone a stream that does nothing. Whether it takes no output at
    # present. Calls that wait for it.
    cdef ByteStream below(self)
    cdef bint is_stuck(self) noexcept
    cdef int await_output(self, Call call) except -1
    cdef int wake_waiters(self) except -1
    cdef int wake(self, Call call) except -1

    cdef int put_frame(self, Frame* frame, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
