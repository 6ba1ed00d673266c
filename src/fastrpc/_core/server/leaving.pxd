"""The end of a connection: its drain, its last calls, its close."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.link.contract cimport Goodbye, Wire
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class Leaving:
    cdef:
        # Borrowed: `engine`, which holds the connection and is the only holder of this object; `connection`, its served
        # connection.
        PyObject* engine
        PyObject* connection

        # `wire`: the protocol, which reports incomplete messages; `goodbye`: its goodbye, or None; `life`: the rules of
        # the connection's life.
        Wire wire
        Goodbye goodbye
        ConnectionLife life

        # Whether input is ignored, because the connection closes when its calls have ended.
        readonly bint ignores_input

        # For the drain of a protocol without a goodbye, 0 = none. `pause_from_ns`: the instant after which the
        # connection closes as soon as it has no call; `last_call_ns`: the instant after which it accepts no calls.
        uint64_t pause_from_ns
        uint64_t last_call_ns

    cdef inline ByteStream stream(self):
        """Return the stream of the engine, or None after it was freed."""
        return None if (<Engine>self.engine)._stream is NULL else <ByteStream>(<Engine>self.engine)._stream

    cdef inline int64_t unsent(self) except? -1:
        """Return the bytes of output that the peer has not accepted, including messages that wait in the wire.

        Messages in the wire of a closed connection do not count, because they are never sent.
        """
        if self.wire.backlog is None or (<Engine>self.engine).is_closed:
            return (<Engine>self.engine).unsent_output()
        return (<Engine>self.engine).unsent_output() + self.wire.backlog.queued()

    # Ends of calls.
    cdef inline int call_ended(self, bint was_let_in) except -1:
        """Note the end of a call, which is a use of the connection and may end its opening or close it."""
        cdef EngineServedConnection connection = <EngineServedConnection>self.connection
        self.life.used_ns = max(self.life.used_ns, connection.now, connection.stepped_ns)
        if self.ignores_input or self.pause_from_ns:
            return self._end_after_call(was_let_in)
        return self.life.leave_opening() if was_let_in and self.life.openings is not None else 0

    cdef int call_refused(self, ServerCall call, int status) except -1
    cdef int violated(self, object error) except -1

    # State.
    cdef bint is_busy(self) except -1
    cdef bint is_receiving(self) except -1
    cdef bint carries_nothing(self) except -1
    cdef bint has_drained(self) except -1

    # Steps.
    cdef int begin_drain(self, int reason, str text) except -1
    cdef int end_at_pause(self) except -1
    cdef bint finish(self, int reason, str text, bint lingers) except -1

    # Time.
    cdef uint64_t check(self, uint64_t now) except? 0
    cdef uint64_t check_last_call(self, uint64_t now) except? 0

    cdef int _end_after_call(self, bint was_let_in) except -1
