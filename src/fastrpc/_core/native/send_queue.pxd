cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastrpc._core.base.priority_queue cimport PriorityQueue, Queue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.engine cimport LITTLE, MUCH, NOTHING, ByteStream, Engine
from fastrpc._core.native.outgoing cimport DeficitRing, Outgoing
from fastrpc._core.native.output cimport Output
from fastrpc._core.wire.frame cimport Frame

cdef enum:
    # Messages up to this size are copied into the write buffer, before pieces of larger messages.
    SMALL_MESSAGE = 16_384
    # How many bytes of small messages in a row may overtake waiting larger messages.
    SMALL_IN_A_ROW = 262_144
    # Bytes of requests and answers that one flush sends if nothing else waits. BURST and STREAM_SHARE are 1 MiB together.
    BURST = 786_432


@cython.final
cdef class SendQueue(Output):
    cdef:
        # Waiting messages: in `small` the small ones wait for credit; in `ring` large ones, and streams without room,
        # wait for their turn. Each queue is None until the first message. `dropped`: the number of dropped messages,
        # which stay in their queue until there are too many. `queued_bytes`: the bytes of all waiting messages.
        PriorityQueue small
        DeficitRing ring
        Py_ssize_t dropped
        readonly Py_ssize_t queued_bytes

        # The number of streams that the last `pump` notified that they may send. Their messages precede the next pieces.
        Py_ssize_t woken

        # Unwritten bytes of our requests and answers that are sent in pieces.
        Py_ssize_t cut_bytes

        # `send_left`: the connection's credit; `data_frames_sent`: the number of data frames sent, which limits the
        # number of the peer's CREDIT frames.
        readonly int64_t send_left
        uint64_t data_frames_sent

    cdef int send_response(self, Call call, bytes payload, uint32_t elapsed_us) except -1
    cdef int send_failure(self, Call call, Outgoing failure) except -1
    cdef int send_head(self, Call call, bytes metadata) except -1
    cdef int send_message(self, Call call, bytes payload, uint8_t codec, uint8_t compressor) except -1
    cdef int send_end(self, Call call) except -1
    cdef int send(self, Outgoing item) except -1
    cdef int enqueue(self, Outgoing item) except -1
    cdef int drop_unsent(self, Call call) except -1
    cdef int drop_answer(self, Call call) except -1
    cdef int forget_all(self, list calls) except -1
    cdef bint holds_messages(self, list calls) except -1
    cdef int unpark(self, Call call) except -1
    cdef int raise_credit(self, Call call, uint32_t size) except -1
    cdef int pump(self, Py_ssize_t room, bint with_large) except -1

    cdef inline bint has_small(self) noexcept:
        """Return whether small messages wait."""
        return self.small is not None and self.small.has_items()

    cdef inline bint has_pieces(self) noexcept:
        """Return whether large messages or streams wait for their turn."""
        return self.ring is not None and self.ring.has_items()

    cdef inline int rest(self) noexcept:
        """Return how much output waits for its turn: NOTHING, LITTLE or MUCH. Output that waits for credit is ignored."""
        if self.has_pieces() or (self.has_small() and not self.lacks_credit):
            return LITTLE if self.queued_bytes <= BURST and (self.ring is None or self.ring.round.streams == 0) else MUCH
        return NOTHING

    cdef inline bint is_waiting(self) noexcept:
        """Return whether messages wait for credit or for their turn."""
        return self.has_small() or self.has_pieces()

    cdef bint has_room(self, Call call) noexcept
    cdef bint is_full_for(self, Call call) noexcept
    cdef bint _goes_alone(self, Call call) noexcept
    cdef int wait_turn(self, Call call) except -1
    cdef DeficitRing shared_ring(self)
    cdef Queue small_of(self, Call call)

    cdef inline bint takes_small(self) noexcept:
        """Return whether a small message may be written now: no other waits, and it is not the turn of large messages."""
        return not self.has_small() and not self._is_turn_of_large()

    cdef inline bint _is_turn_of_large(self) noexcept:
        return self.ring is not None and self.ring.has_items() and self.out.size + self.chunk_bytes >= SMALL_IN_A_ROW

    cdef inline Py_ssize_t unsent_bytes(self) noexcept:
        """Return the number of our bytes that the stream has not taken yet, including waiting messages."""
        return self.output_bytes() + self.queued_bytes

    cdef inline int64_t untaken_bytes(self) except? -1:
        """Return the number of our bytes that the peer has not accepted: here and in the stream."""
        cdef PyObject* stream = (<Engine>self.owner)._stream
        # Asked after each answer: without `below`, which takes a reference.
        return self.unsent_bytes() + (0 if stream is NULL else (<ByteStream>stream).untaken_bytes())

    cdef tuple queues(self)

    # The steps of sending.
    cdef int _ended(self, Outgoing item) except -1
    cdef int _count_cut(self, Outgoing item, int change) except -1
    cdef int _write_whole(self, Outgoing item) except -1
    cdef int _write_piece(self, Outgoing item) except -1
    cdef int _write_first(self, Outgoing item, Frame* frame, Py_ssize_t size) except -1
    cdef int _write_next(self, Outgoing item, Frame* frame, Py_ssize_t size) except -1
    cdef int _over_limit_now(self, Outgoing item) except -1
    cdef int _unsendable(self, Outgoing item, Py_ssize_t head) except -1
    cdef int _pump_ring(self, Py_ssize_t room) except -1
    cdef int _send_share(self, Outgoing item) except -1
    cdef int _open_next(self) except -1
