"""A connection of a server, which holds the wire of its protocol; the contract of the two is `link/contract`."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Backlog, Dialect, Flow, Forms, Placing, Wire
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.intake cimport Intake
from fastrpc._core.server.leaving cimport Leaving
from fastrpc._core.server.openings cimport Openings
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class LinkedConnection(EngineServedConnection):
    cdef:
        # The words of the protocol and the forms of its calls, which calls may ask for when the link is gone; or None.
        Dialect dialect
        Forms forms


@cython.final
cdef class Link(Engine):
    cdef:
        # Shared by all connections of the server; the state of this one for the gate.
        readonly Gate gate
        readonly LinkedConnection connection

        # Its protocol; the wire's `placing`, for each read, its `flow` and `backlog`, for each flush.
        readonly Wire wire
        Placing placing
        Flow flow
        Backlog backlog

        # Whether the last pump left something in the wire; whether a sender of a stream has waited since `Flow.room`.
        bint has_backlog
        bint has_senders

        # Its life, and the end of it. The last use of the connection is the last call, or its end.
        ConnectionLife life
        readonly Leaving leaving

        # The connections in their opening: it lasts until a call was let in, whole or begun, or until the wire says so.
        Openings openings

        # The limits of requests, for the wire.
        Intake intake

        # Receives `on_room` for further pushes and `on_end`, or None.
        public object pusher

    # For a wire, while it takes input.
    cdef inline int stamp(self, ServerCall call) except -1:
        """Date a call that begins, and tell its connection about this read."""
        call.connection = self.connection
        call.started_ns = self.life.used_ns = self.came_ns or self.now
        self.connection.now = self.now
        self.connection.received_ns = self.received_ns
        self.connection.is_reading = self.is_reading
        return 0

    cdef inline int request(self, ServerCall call, const char* name, Py_ssize_t size, bytes payload) except -1:
        """Hand a whole request to the gate; `name` is the full name of its method."""
        self.gate.pass_in(call, name, size, 0, payload)
        if self.connection.ended_ns > self.turn_ends_ns:
            self.messages_left = 0
        # Its handler may go on in the next turn of the loop.
        self.woke = True
        return 0

    cdef int _tell_pusher(self) except -1
    cdef int _heed_output(self, Py_ssize_t unsent, uint64_t now) except -1
