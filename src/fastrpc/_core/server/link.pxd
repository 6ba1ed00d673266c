"""A connection of a server, which holds the wire of its protocol; the contract of the two is `link/contract`."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Placing, Wire
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection, SenderCheck
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.openings cimport Openings
from fastrpc._core.server.served_call cimport ServerCall

cdef enum:
    # Beside the verdicts of `SenderCheck`: no sender is judged at present.
    SENDER_UNJUDGED = 3


@cython.final
cdef class LinkedConnection(EngineServedConnection):
    pass


@cython.final
cdef class Link(Engine):
    cdef:
        # Shared by all connections of the server; the state of this one for the gate.
        readonly Gate gate
        readonly LinkedConnection connection

        # Its protocol; the wire's `placing`, for each read.
        readonly Wire wire
        Placing placing

        # Its life. The last use of the connection is the last call, or its end.
        ConnectionLife life

        # The connections in their opening: it lasts until a call was let in, whole or begun.
        Openings openings

        # Whether nothing more is taken: it closes once the calls under way have ended.
        readonly bint ignores_input

        # Of a drain: the instant from which it closes at the first moment without a call, and the one from which it takes
        # no further calls; 0: neither.
        uint64_t pause_from_ns
        uint64_t last_call_ns

        # Receives `on_room` for further pushes and `on_end`, or None.
        public object pusher

        # Judges the senders of long requests, None before the first one; a deferred verdict, until the wire asks for it.
        SenderCheck sender_check
        int sender_verdict

    # For a wire, while it takes input.
    cdef inline int stamp(self, ServerCall call) except -1:
        """Date a call that begins, and tell its connection about this read."""
        call.connection = self.connection
        call.started_ns = self.life.used_ns = self.came_ns or self.now
        self.connection.now = self.now
        self.connection.received_ns = self.received_ns
        self.connection.is_reading = self.is_reading
        return 0

    cdef inline bint is_crowded(self) except -1:
        """Return whether a further call is too many; `crowd_text` has the reason."""
        return self.connection.calls_under_way() >= self.gate.concurrent_calls

    cdef inline int request(self, ServerCall call, const char* name, Py_ssize_t size, bytes payload) except -1:
        """Hand a whole request to the gate; `name` is the full name of its method."""
        self.gate.pass_in(call, name, size, 0, payload)
        if self.connection.ended_ns > self.turn_ends_ns:
            self.messages_left = 0
        # Its handler may go on in the next turn of the loop.
        self.woke = True
        return 0

    cdef inline int leave_opening(self) except -1:
        """End the opening: a call is let in, or may take longer than an opening."""
        return self.life.leave_opening()

    cdef str crowd_text(self)
    cdef bint has_room(self, ServerCall call, Py_ssize_t size, bint is_new) except -1
    cdef int charge(self, Py_ssize_t change) except -1
    cdef int sender_verdict_now(self) except -1
    cdef int judge_sender(self, ServerCall call, str method) except -1

    # For its served connection.
    cdef int call_refused(self, ServerCall call, int status) except -1
    cdef int call_ended(self, bint was_let_in) except -1

    cdef int violated(self, object error) except -1
    cdef int end(self, bint lingers) except -1
    cdef bint is_busy(self) noexcept
    cdef bint is_receiving(self) except -1
    cdef int _tell_pusher(self) except -1
    cdef int _heed_output(self, Py_ssize_t unsent, uint64_t now) except -1
    cdef uint64_t _check_life(self, uint64_t now) except? 0
    cdef uint64_t _check_last_call(self, uint64_t now) except? 0
    cdef int _end_at_pause(self) except -1
