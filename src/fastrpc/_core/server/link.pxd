"""A connection of a server, which holds the wire of its protocol; the contract of the two is `link/contract`."""

cimport cython

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Backlog, Flow, Placing, Wire
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.intake cimport Intake
from fastrpc._core.server.leaving cimport Leaving
from fastrpc._core.server.openings cimport Openings
from fastrpc._core.server.served_call cimport ServerCall


cdef class Link(Engine)


@cython.final
cdef class LinkedConnection(EngineServedConnection):
    cdef inline Link open_link(self):
        """Return the link, or None: the connection is closed, or the link was freed."""
        return None if self._engine is NULL or self.is_closed else <Link>self._engine


@cython.final
cdef class Link(Engine):
    cdef:
        # The server's gate; the state of this connection for it.
        readonly Gate gate
        readonly LinkedConnection connection

        # Its protocol; the wire's `placing`, used by each read, its `flow` and `backlog`, used by each flush.
        readonly Wire wire
        Placing placing
        Flow flow
        Backlog backlog

        # Whether the last pump left output in the wire; whether a stream's sender has waited since `Flow.room`.
        bint has_backlog
        bint has_senders

        # Its life, and its leaving. The last use of the connection is the begin or end of its last call.
        ConnectionLife life
        readonly Leaving leaving

        # The opening connections: an opening ends when a call, whole or begun, is admitted, or when the wire says so.
        Openings openings

        # The limits of requests, for the wire.
        Intake intake

        # Receives `on_room` for further pushes and `on_end`, or None.
        public object pusher

    # For a wire, while it takes input.
    cdef inline int stamp(self, ServerCall call) except -1:
        """Date a new call, and note this read in its connection."""
        call.connection = self.connection
        call.groups = self.connection.groups
        call.started_ns = self.life.used_ns = self.came_ns or self.now
        self.connection.now = self.now
        self.connection.received_ns = self.received_ns
        self.connection.is_reading = self.is_reading
        call.has_trailers = self.connection.has_trailers
        return 0

    cdef inline int request(self, ServerCall call, const char* name, Py_ssize_t size, bytes payload) except -1:
        """Pass a complete request to the gate; `name` is the full name of its method."""
        self.gate.pass_in(call, name, size, 0, payload)
        if self.connection.ended_ns > self.turn_ends_ns:
            self.messages_left = 0
        # The handler may continue in the next turn of the loop.
        self.woke = True
        return 0
