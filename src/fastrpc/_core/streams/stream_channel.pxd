"""The messages of one stream, in both directions, as its user sends and receives them."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from fastrpc._core.base.timer_wheel cimport Timed
from fastrpc._core.calls.call cimport Call
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.wire.frame cimport Frame


cdef enum:
    # The default for the most messages that `receive_many` returns.
    MOST_AT_ONCE = 4096


cdef struct Message:
    # `payload`: the encoded payload, an owned reference to bytes. `cost`: the window bytes that it occupies. `codec`,
    # `compressor`: its encoding.
    PyObject* payload
    Py_ssize_t cost
    uint8_t codec
    uint8_t compressor


cdef class StreamChannel(Timed):
    cdef:
        # `call`: the call, whose `stream` is this object until `close`; `loop_state`: the loop of the receivers and
        # senders, None for the blocking client.
        readonly Call call
        LoopState loop_state

        # Received messages that were not taken: a ring whose size is a power of two, with `waiting` messages from
        # _first on.
        Message* _ring
        Py_ssize_t _places
        Py_ssize_t _first
        readonly Py_ssize_t waiting

        # `_steps`: the decompression of the oldest message in short steps, or None; `_unpacking_error`: the error that
        # ended it; `_missed_turns`: the number of consecutive turns of the loop that had no time for it.
        object _steps
        object _unpacking_error
        int _missed_turns

        # Whether no further message will arrive.
        readonly bint input_ended
        # The error to raise after the last message; None: the stream ended without an error.
        object input_error
        # `input_error` itself, until it is raised for the first time.
        object fresh_error

        # `output_ended`: whether nothing more can be sent; `output_error`: the error for a sender, None if this side
        # ended its stream itself.
        readonly bint output_ended
        object output_error

        # Whether the server is decompressing the oldest message; it wakes the receiver afterwards.
        bint is_unpacking
        # Whether taken messages still count until the next one is requested.
        bint holds_taken

        # Whether `close` was called.
        readonly bint is_closed

        # Whether `on_drained` is to be called once no message waits.
        bint tells_drained

        # The receiver that waits for a message, or lets other work run before it takes one.
        Receiving _receiver
        # The instant since which the receiver waits; 0: it does not wait.
        uint64_t _receiving_ns
        # The earliest instant from which the receiver's wait counts towards `idle_ns`; NOT_YET: this instant is still
        # unknown.
        uint64_t _counting_ns

        # The instant at which the reader lets other work run although messages are present; 0: not set.
        uint64_t _turn_ends_ns

        # `_room`: the future on which a sender waits; `_sending_ns`: since when it waits.
        object _room
        uint64_t _sending_ns

        # The compression in progress of the last sent message (calling.packing), or None.
        object _packing

        # The longest time of one wait in nanoseconds (`Timeouts.stream_idle`), 0: no limit.
        uint64_t idle_ns

        # Functions of interceptors around sent messages (`sent_wraps`) and around received messages (`received_wraps`),
        # in the order in which they were added, or None.
        list sent_wraps
        list received_wraps

    # Return the instant from which the receiver's wait counts; 0: it does not wait.
    cdef inline uint64_t receiving_since(self) noexcept:
        return max(self._receiving_ns, self._counting_ns) if self._receiving_ns else 0

    # Receiving.
    cdef int put(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int end_input(self, object error) except -1
    cdef object take(self)
    cdef list take_many(self, Py_ssize_t limit)
    cdef bint is_packed(self) noexcept
    cdef bint unpack(self) except -1
    cdef int drop_messages(self) except -1
    cdef object end_of_input(self, object clean)
    cdef Receiving next_message(self)

    # Sending.
    cdef bint is_full(self) noexcept
    cdef int send_payload(self, bytes payload) except -1
    cdef object wait_room(self)
    cdef int pack(self, object compressor, bytes payload) except -1
    cdef int end_output(self, object error, bint is_fresh=*) except -1
    cdef object wrapped_for_sending(self, object message)

    # The end of both.
    cdef int close(self, object error) except -1

    # Implemented for each side of a call.
    cdef object decode(self, bytes payload, int codec, int compressor)
    cdef object unpacking(self, bytes payload, int compressor)
    cdef int leave_packed(self) except -1
    cdef int on_drained(self) except -1
    cdef int on_unreadable(self, object error) except -1
    cdef int taken(self, Py_ssize_t cost) except -1
    cdef int asked(self) except -1
    cdef int reader_waits(self) except -1
    cdef int reader_left(self) except -1
    cdef int emit(self, bytes payload) except -1
    cdef object packing(self, object compressor, bytes payload)
    cdef int emit_packed(self, bytes payload, bint is_smaller) except -1
    cdef int on_unpackable(self, object error) except -1
    cdef bint output_is_full(self) noexcept
    cdef int await_turn(self) except -1
    cdef int wake_receiver(self) except -1
    cdef int wake_sender(self) except -1
    cdef int on_idle(self) except -1

    # The parts of it.
    cdef int _grow(self) except -1
    cdef bytes _pop(self, Message* message)
    cdef int _watch_wait(self, uint64_t now) except -1
    cdef int _await_room(self) except -1
    cdef int _drop_packing(self) except -1


cdef enum Wanted:
    # The result of an awaitable. WANTED_NEXT: one message for `async for`; WANTED_ONE: one message for `receive`;
    # WANTED_MANY: all present messages.
    WANTED_NEXT = 0
    WANTED_ONE = 1
    WANTED_MANY = 2


@cython.final
cdef class Receiving:
    cdef:
        # `channel`: the stream; `wanted`: the kind of result; `limit`: the most messages in it.
        StreamChannel channel
        int wanted
        Py_ssize_t limit

        # `phase`: the phase of the awaitable. `future`: the future that it waits for, or None.
        int phase
        object future

    cdef int step(self, PyObject** result) except -1
    cdef int give(self, PyObject** result) except -1
    cdef int wait(self, PyObject** result) except -1
    cdef int park(self, PyObject** result) except -1
    cdef int pause(self, PyObject** result) except -1
    cdef int leave(self) noexcept
    cdef int give_up(self) except -1


# An instant later than any other.
cdef uint64_t NOT_YET
cdef str SECOND_SENDER
