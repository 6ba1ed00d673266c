cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.priority_queue cimport PriorityQueue
from fastrpc._core.base.queue cimport Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.framing.frame cimport Frame, WireProtocol
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.native.parts_owner cimport PartsOwner

cdef enum:
    # What is not larger is copied into the write buffer and goes before every piece of a larger message.
    SMALL_MESSAGE = 16_384


@cython.final
cdef class SendQueue:
    cdef:
        # Who holds this part: borrowed, NULL once it is gone (parts_owner). The rules of the wire, the owner's.
        PyObject* owner
        WireProtocol wire

        # Bytes to send: `control` may overtake, except while the preface waits; then `chunks` in order (None: there are
        # none), then `out`. A CANCEL lies there: no CREDIT may overtake it.
        WriteBuffer control
        WriteBuffer out
        list chunks
        Py_ssize_t chunk_bytes
        bint opening_waits
        bint cancel_waits
        readonly uint64_t flushes

        # Messages that wait for credit or for their turn: small ones by priority, large ones, and large ones whose first
        # piece is sent; the last two None until there is one. Dropped ones stay in their queue until they are too many.
        PriorityQueue small
        Queue large
        Queue begun
        bint begun_first
        Py_ssize_t dropped
        readonly Py_ssize_t queued_bytes

        # Cut messages of ours that are not wholly sent; the peer bounds each kind, those of streams it does not.
        int cut_requests
        int cut_responses

        # Credit of the connection, and data frames sent: the peer's CREDIT budget goes by them.
        readonly int64_t send_left
        uint64_t data_frames_sent

    cdef int send_response(self, Call call, bytes payload, uint32_t elapsed_us) except -1
    cdef int send_failure(self, Call call, Outgoing failure) except -1
    cdef int send_head(self, Call call, bytes metadata) except -1
    cdef int send_message(self, Call call, bytes payload, uint8_t codec, uint8_t compressor) except -1
    cdef int send_end(self, Call call) except -1
    cdef int send_cancel(self, Call call, int reason) except -1
    cdef int send_credit(self, uint64_t id, uint32_t size) except -1
    cdef int send(self, Outgoing item) except -1
    cdef int enqueue(self, Outgoing item) except -1
    cdef int send_control(self, WriteBuffer buffer, int kind, int flags, bytes body) except -1
    cdef int drop_unsent(self, Call call) except -1
    cdef int drop_answer(self, Call call) except -1
    cdef int unpark(self, Call call) except -1
    cdef int raise_credit(self, Call call, uint32_t size) except -1
    cdef int pump(self, Py_ssize_t room) except -1
    cdef object take_output(self)
    cdef int skip_output(self) except -1
    cdef bint has_pieces(self) noexcept
    cdef bint is_waiting(self) noexcept

    cdef inline Py_ssize_t output_bytes(self) noexcept:
        """Bytes that `take_output` would return."""
        return self.out.size + self.control.size + self.chunk_bytes

    cdef inline bint is_plain(self) noexcept:
        """Whether all output lies in `out`."""
        return self.chunk_bytes == 0 and self.control.size == 0

    cdef inline Py_ssize_t unsent_bytes(self) noexcept:
        """Bytes of ours that were not taken yet, those of messages that wait included."""
        return self.output_bytes() + self.queued_bytes

    cdef tuple queues(self)
    cdef int _queue_large(self, Outgoing item) except -1
    cdef int _queue_begun(self, Outgoing item) except -1

    # The parts of sending.
    cdef int _ended(self, Outgoing item) except -1
    cdef int _count_cut(self, Outgoing item, int change) except -1
    cdef int _write_whole(self, Outgoing item) except -1
    cdef int _write_piece(self, Outgoing item) except -1
    cdef int _write_first(self, Outgoing item, Frame* frame, Py_ssize_t size) except -1
    cdef int _write_next(self, Outgoing item, Frame* frame, Py_ssize_t size) except -1
    cdef int _over_limit_now(self, Outgoing item) except -1
    cdef int _unsendable(self, Outgoing item, Py_ssize_t head) except -1
    cdef int _put(self, Frame* frame, bytes payload, Py_ssize_t offset, Py_ssize_t size) except -1
    cdef int _pump_large(self, Py_ssize_t room) except -1
    cdef bint _may_begin(self, Outgoing item) noexcept
    cdef Outgoing _next_large(self)


cdef SendQueue new_sender(PartsOwner owner)
