from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.io.receive_tail cimport ReceiveTail
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.loop.spinner cimport Spinner


cdef class Session(ByteStream):
    cdef:
        # The protocol.
        readonly Engine engine

        # The transport below and the loop it lives on; None before connection_made and after connection_lost. The callback
        # holds the stream, until connection_lost.
        readonly object transport
        readonly LoopState loop_state
        object _write
        # Made on first use: many connections flush at the end of their reads alone.
        object _flush_callback
        readonly object peer_name

        # Keeps the loop from sleeping while this connection is busy, and for how long; None without spinning.
        Spinner spinner
        uint64_t spin_ns

        # The socket, to write past the transport and, while it is spun on, to read; -1 where that cannot be. Whether
        # bytes given to the transport may still be there.
        readonly int descriptor
        bint transport_holds

        # Whether a `TLSLayer` is the transport.
        bint is_encrypted

        # Input that is not handled yet. It lies in the loop's buffer only while that is handled. Whether the
        # last place given out was that of a long payload.
        ReceiveTail tail
        bint in_body

        # Whether the tail has a place among the loop's turns, and whether the end of the stream came behind it.
        bint has_turn
        bint has_end

        # Whether the engine takes nothing more until it says so.
        bint is_input_held

        # Whether it is not read from for another reason, which `hold_back` told.
        bint is_held_back

        # Whether it is asked once a second if the peer is gone, as nothing is read that would tell.
        bint is_watched

        # When this read began, or what it has not spent yet of the time for work without an answer.
        uint64_t began_ns

        # The size of the last place given out; bytes that may be received before other callbacks get their turn.
        Py_ssize_t place_size
        Py_ssize_t read_share

        # Whether a flush is scheduled, and whether the transport is full.
        bint _flush_scheduled
        readonly bint is_write_paused

        # When the engine checks its instants next; 0 = not.
        uint64_t check_due_ns

        # Bytes given to the transport.
        int64_t written

    cdef int schedule_flush(self) except -1
    cdef int leave_closed_loop(self) except -1

    # The parts of reading.
    cdef char* _place(self, Py_ssize_t* room) except NULL
    cdef int _took_in(self, Py_ssize_t size) except -1
    cdef int _heard(self) except -1
    cdef int _handle(self, Py_ssize_t size) except -1
    cdef int _hand_over(self, Py_ssize_t size) except -1
    cdef int _add_to_turns(self) except -1
    cdef int _put_off(self) except -1
    cdef int _yield_loop(self) except -1
    cdef int _recount_tail(self) except -1
    cdef int _go_on(self) except -1
    cdef int _read_on(self) except -1
    cdef int _hear_last_answers(self) except -1
    cdef int _watch_peer(self) except -1

    # The parts of writing.
    cdef int _write_all(self) except -1
    cdef int _write_output(self) except -1
    cdef bint _send_directly(self) except -1
    cdef int _note_blocked(self) except -1
