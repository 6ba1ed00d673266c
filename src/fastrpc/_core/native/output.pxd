from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.output_buffer cimport OutputBuffer
from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.engine cimport STREAM_SHARE, ByteStream
from fastrpc._core.wire.frame cimport Frame, WireProtocol


cdef enum:
    # Bytes that a stream may write beyond its share of the output, for heads of frames. Without them, the heads would make
    # four messages of 64 KiB exceed the share.
    SHARE_OF_HEADS = 4_096


cdef class Output(OutputBuffer):
    cdef:
        # The owner of this part, borrowed; NULL after it was freed (parts_owner).
        PyObject* owner

        # The rules of the wire; the same object as the owner's.
        WireProtocol wire

        # Frames that may overtake the ordered output `out`, except while the preface waits in `out`. CREDIT must not
        # overtake a CANCEL that waits in `out`.
        WriteBuffer control
        bint opening_waits
        bint cancel_waits
        readonly uint64_t flushes

        # Whether the operating system may refuse output after `take`. `handed_flushes` is then the last flush whose output
        # the system accepted completely; otherwise each flush counts as accepted.
        bint may_be_refused
        # Whether the first small message of a SendQueue waited for credit at its last `pump`. The field is here because
        # here it needs no extra memory.
        bint lacks_credit
        uint64_t handed_flushes

        # Calls that wait until our output was sent, or None.
        dict waiters

    cdef int send_cancel(self, uint64_t id, int reason) except -1
    cdef int send_credit(self, uint64_t id, uint32_t size) except -1
    cdef int send_control(self, WriteBuffer buffer, int kind, int flags, bytes body) except -1

    cdef inline Py_ssize_t output_bytes(self) noexcept:
        """Return the bytes that `take` would return."""
        return self.out.size + self.control.size + self.chunk_bytes

    cdef inline bint is_plain(self) noexcept:
        """Return whether `out` has all the output."""
        return self.chunk_bytes == 0 and self.control.size == 0

    cdef int put_body(
        self, WriteBuffer buffer, int kind, int flags, uint64_t id, const char* body, Py_ssize_t size
    ) except -1
    cdef inline bint is_full(self) noexcept:
        """Return whether the output has as many bytes as streams may write before the transport takes them."""
        return self.output_bytes() > STREAM_SHARE + SHARE_OF_HEADS

    cdef inline bint was_handed(self, Call call) noexcept:
        """Return whether the last piece of a REQUEST was passed to the transport, so that the call may run."""
        return call.handed_at != 0 and call.handed_at <= (self.handed_flushes if self.may_be_refused else self.flushes)

    # `below`: the stream below, or a stream that does nothing as long as the connection has no stream. `is_stuck`:
    # whether it accepts no output at present. The other methods are for calls that wait for the output to be sent.
    cdef ByteStream below(self)
    cdef bint is_stuck(self) noexcept
    cdef int await_output(self, Call call) except -1
    cdef int wake_waiters(self) except -1
    cdef int wake(self, Call call) except -1

    cdef int put_frame(self, Frame* frame, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
