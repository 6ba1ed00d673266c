"""A connection of a server, which holds the wire of its protocol. `link/contract` defines the interface between them."""

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
        """Return the link, or None if the connection is closed or the link was freed."""
        return None if self._engine is NULL or self.is_closed else <Link>self._engine


@cython.final
cdef class Link(Engine):
    cdef:
        # `gate`: the server's gate; `connection`: this connection from the view of the gate.
        readonly Gate gate
        readonly LinkedConnection connection

        # `wire`: the protocol. The next three are copies of fields of the wire: each read uses `placing`, each flush
        # `flow` and `backlog`.
        readonly Wire wire
        Placing placing
        Flow flow
        Backlog backlog

        # `has_backlog`: whether the last pump left output in the wire; `has_senders`: whether senders of streams have
        # waited since the last `Flow.room`.
        bint has_backlog
        bint has_senders

        # `life`: the rules of the connection; a use of the connection is the start or end of a call. `leaving`: the
        # rules of its end.
        ConnectionLife life
        readonly Leaving leaving

        # The connections that are opening. An opening ends when a call is admitted, complete or not, or when the wire ends
        # it.
        Openings openings

        # The checks of requests, which the wire calls.
        Intake intake

        # The object that pushes, or None. Its `on_room` is called when more may be pushed, `on_end` at the end.
        public object pusher

    # Called by the wire while it handles input.
    cdef inline int stamp(self, ServerCall call) except -1:
        """Set the connection and the start of a new call, and the instants of this read in the connection."""
        call.connection = self.connection
        call.groups = self.connection.groups
        call.started_ns = self.life.used_ns = self.came_ns or self.now
        self.connection.now = self.now
        self.connection.received_ns = self.received_ns
        self.connection.is_reading = self.is_reading
        call.has_trailers = self.connection.has_trailers
        return 0

    cdef inline int request(self, ServerCall call, const char* name, Py_ssize_t size, bytes payload) except -1:
        """Pass a complete request to the gate. `name` is the full name of its method."""
        self.gate.pass_in(call, name, size, 0, payload)
        if self.connection.ended_ns > self.turn_ends_ns:
            self.messages_left = 0
        # The handler may continue in the next turn of the loop.
        self.woke = True
        return 0
