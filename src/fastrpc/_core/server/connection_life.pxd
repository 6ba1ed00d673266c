"""The rules by which a served connection is checked and ended, in every protocol."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.server.served_connection cimport ServedConnection


cdef enum:
    # A draining connection closes after this many nanoseconds without a call.
    REST_NS = 1_000_000_000


@cython.final
cdef class ConnectionLife:
    cdef:
        # Borrowed: `engine`, which holds the connection and is the only holder of this object; `connection`, its served
        # connection.
        PyObject* engine
        PyObject* connection

        # Times in nanoseconds; 0 = no limit. `patience_ns` limits silence within a message, and the time in which a
        # peer reads no output. If `linger_ns` is 0, a closed connection stops reading, and ends when its output was
        # sent.
        uint64_t handshake_ns
        uint64_t idle_ns
        uint64_t patience_ns
        uint64_t leave_after_ns
        uint64_t linger_ns

        # Instants, 0 = none. `opening_due_ns`: the deadline of the opening; `aged_at_ns`: the instant of the maximum
        # age (before `begin`: the age itself); `leave_at_ns`: the instant at which a drain ends the calls;
        # `linger_until_ns`: the end of the linger after the close.
        uint64_t opening_due_ns
        uint64_t aged_at_ns
        uint64_t leave_at_ns
        uint64_t linger_until_ns

        # `used_ns`: the instant of the last use; `kept_until_ns`: the earliest instant at which a drain closes an idle
        # connection.
        uint64_t used_ns
        uint64_t kept_until_ns

        # Whether the first bytes were received.
        bint has_heard
        # Whether the maximum age was reached.
        bint has_aged
        bint drains
        # `closes_by_answers`: whether the protocol itself closes the connection after the last answer of a drain;
        # `ends_late_peers`: whether it handles a peer that is late with a message or does not read.
        bint closes_by_answers
        bint ends_late_peers
        # Whether an idle connection drains before it closes. The protocol can then announce this to the peer, a call of
        # which may be in flight.
        bint drains_at_rest
        # Whether the connection was ended by the drain or because it was idle.
        bint has_ended

        # The `server.openings.Openings` that counts the connection; None if its opening is over or was not counted.
        object openings

        # `wants_pause`: whether the protocol wants reading to pause; `is_held_back`: whether reading is paused, for the
        # protocol or because the peer does not read our output; `resumed_ns`: the instant of the last pause or
        # resumption.
        bint wants_pause
        bint is_held_back
        uint64_t resumed_ns

        # The instant of the next check by `has_rested` or `has_left`.
        uint64_t next_ns

        # `stuck_ns`: the instant since which the peer reads no output, 0 if it does; `taken`: the bytes it had accepted
        # at the last check; `output_look_ns`: the interval at which unsent output is counted again.
        uint64_t stuck_ns
        int64_t taken
        uint64_t output_look_ns

    # The rules.
    cdef int set_rules(self, object timeouts, object keepalive) except -1
    cdef int set_age(self, object timeouts, object keepalive) except -1

    # Counting the connection, and the verdict on the peer's certificate.
    cdef bint count_in(self) except -1
    cdef int count_out(self, object error) except -1
    cdef str surplus_text(self)
    cdef bint hear_first(self, const char* data, Py_ssize_t size) except -1
    cdef bint meet_peer(self) except -1

    # Called by the engine.
    cdef uint64_t begin(self, uint64_t now) except? 0
    cdef int enter_opening(self, object openings) except -1
    cdef int go_on_opening(self) except -1
    cdef int leave_opening(self) except -1
    cdef bint heed_output(self, int64_t unsent, uint64_t now) except -1
    cdef int begin_drain(self, uint64_t kept_until_ns) noexcept
    cdef uint64_t linger(self, uint64_t now) noexcept

    # The rules: all of them, and single ones.
    cdef uint64_t check(self, uint64_t now, Facts* facts) except? 0
    cdef uint64_t look(self, uint64_t now, bint is_busy, int64_t unsent) except? 0
    cdef uint64_t check_credentials(self, uint64_t now) except? 0
    cdef uint64_t rest_due(self, uint64_t used_ns) noexcept
    cdef bint has_rested(self, uint64_t now, bint is_between) except -1
    cdef uint64_t left_due(self) noexcept
    cdef bint has_left(self, uint64_t now, bint is_between) except -1
    cdef bint may_rest(self, uint64_t now) except -1
    # `patience_ns` is the field of the connection, or for WebSockets a limit of `HTTPLimits`.
    cdef uint64_t message_due(
        self, uint64_t began_ns, uint64_t heard_ns, int64_t received, uint64_t patience_ns
    ) noexcept
    cdef bint has_taken(self) except -1
    cdef bint is_stuck(self, int64_t unsent, uint64_t now) except -1

    # Output and stalls.
    cdef int weigh(self, int64_t unsent, uint64_t now) except -1
    cdef uint64_t weigh_again(self, int64_t unsent, uint64_t now) except? 0
    cdef int note_stall(self, uint64_t now, uint64_t came_ns) except -1

    cdef uint64_t _check_calls(self, uint64_t now, int64_t unsent) except? 0
    cdef uint64_t look_after(self) noexcept


# Return the life of a connection, without time limits. `connection` is None for an engine that serves no calls.
cdef ConnectionLife new_life(Engine engine, ServedConnection connection)
