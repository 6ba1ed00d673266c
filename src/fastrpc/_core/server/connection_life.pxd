"""The rules by which a served connection lives and ends, in every protocol."""

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
        # The engine and its served connection, borrowed: the engine holds both, and nothing else holds this object.
        PyObject* engine
        PyObject* connection

        # The rules, in nanoseconds; 0 = off. The patience is for silence in a message, and for a peer that takes no
        # output. Without a linger a closed connection stops reading, and ends once its output is sent.
        uint64_t handshake_ns
        uint64_t idle_ns
        uint64_t patience_ns
        uint64_t leave_after_ns
        uint64_t linger_ns

        # Instants, 0 = not running: the deadline of the opening, until the peer completed it; the end of the age (before
        # `begin`: the age itself); the end of calls; the end of the linger after the close.
        uint64_t opening_due_ns
        uint64_t aged_at_ns
        uint64_t leave_at_ns
        uint64_t linger_until_ns

        # The instant of the last use, and the earliest instant at which a drain closes a resting connection.
        uint64_t used_ns
        uint64_t kept_until_ns

        # Whether the first bytes were received.
        bint has_heard
        # Whether the age was reached.
        bint has_aged
        bint drains
        # Whether the protocol closes by itself after the last answer, and answers a late peer itself.
        bint closes_by_answers
        bint ends_late_peers
        # Whether a connection at rest drains before it closes: its protocol tells the peer, whose last call may be on
        # its way.
        bint drains_at_rest
        # Whether the drain or the rest has ended the connection.
        bint has_ended

        # The openings (`server.openings.Openings`) in which the connection counts; None: its opening is over, or was
        # not counted.
        object openings

        # Whether the protocol itself pauses reading; whether reading is paused, by the protocol or because of output
        # that the peer has not taken; the instant at which reading resumed.
        bint wants_pause
        bint is_held_back
        uint64_t resumed_ns

        # The instant of the next check of `has_rested` and `has_left`.
        uint64_t next_ns

        # The instant since which the peer takes no output (0: it takes output), and the bytes taken by the last check.
        # The interval between checks of weighed output.
        uint64_t stuck_ns
        int64_t taken
        uint64_t output_look_ns

    # The rules.
    cdef int set_rules(self, object timeouts, object keepalive) except -1
    cdef int set_age(self, object timeouts, object keepalive) except -1

    # Counting in and out; the verdict about a certificate.
    cdef bint count_in(self) except -1
    cdef int count_out(self, object error) except -1
    cdef str surplus_text(self)
    cdef bint hear_first(self, const char* data, Py_ssize_t size) except -1
    cdef bint meet_peer(self) except -1

    # Reports of an engine.
    cdef uint64_t begin(self, uint64_t now) except? 0
    cdef int enter_opening(self, object openings) except -1
    cdef int go_on_opening(self) except -1
    cdef int leave_opening(self) except -1
    cdef bint heed_output(self, int64_t unsent, uint64_t now) except -1
    cdef int begin_drain(self, uint64_t kept_until_ns) noexcept
    cdef uint64_t linger(self, uint64_t now) noexcept

    # The orders that are due: all of them, and single rules.
    cdef uint64_t check(self, uint64_t now, Facts* facts) except? 0
    cdef uint64_t look(self, uint64_t now, bint is_busy, int64_t unsent) except? 0
    cdef uint64_t check_credentials(self, uint64_t now) except? 0
    cdef uint64_t rest_due(self, uint64_t used_ns) noexcept
    cdef bint has_rested(self, uint64_t now, bint is_between) except -1
    cdef uint64_t left_due(self) noexcept
    cdef bint has_left(self, uint64_t now, bint is_between) except -1
    cdef bint may_rest(self, uint64_t now) except -1
    # `patience_ns` is the connection's; WebSockets have the patience of `HTTPLimits`.
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


# Make the life of a connection, with all rules off; an engine that serves no calls has no served connection.
cdef ConnectionLife new_life(Engine engine, ServedConnection connection)
