"""The half of a client's connection that opens streams."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.priority_queue cimport PriorityQueue
from fastrpc._core.calls.call cimport Call
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.grpc.answered_connection cimport AnsweredConnection
from fastrpc._core.grpc.fields cimport RequestHeads
from fastrpc._core.io.client_life cimport ClientLife
from fastrpc._core.wire.window cimport Budget


@cython.final
cdef class AskingConnection(AnsweredConnection):
    cdef:
        # The part of the engine that makes the calls. It has the limits of the server.
        CallingPart calling

        # `life`: the rules by which the connection ages and ends. `heads`: the heads of requests.
        ClientLife life
        RequestHeads heads

        # Returns the seconds for which a token is valid, 0 if the token does not state them; None if the token is never
        # renewed. `valid_seconds`: this number for the first token.
        object validity
        double valid_seconds

        # `waiting`: calls that wait for a stream; `dropped`: the number of them that were cancelled; `is_releasing`:
        # whether `_release` is running.
        PriorityQueue waiting
        Py_ssize_t dropped
        bint is_releasing

        # The budget of resets of unanswered streams: servers treat many more as a flood.
        Budget resets

        # How often all output was flushed. A request written before a flush was sent with it.
        uint64_t flushes

        # `peer_replaces`: whether the server shuts down without an error, so that another replaces it; `is_unreadable`:
        # whether it does not speak HTTP/2; `wants_fewer_pings`: whether it wants fewer pings.
        bint peer_replaces
        bint is_unreadable
        bint wants_fewer_pings

        # The text of a GOAWAY with an error, or None.
        str goaway_text

    # Requests.
    cdef int send_request(self, ClientCall call, bytes payload) except -1
    cdef bint _may_open(self, Call call) noexcept
    cdef int give_up(self, ClientCall call) except -1

    # The end.
    cdef int fail_all(self, str why, bint leaves) except -1
    cdef int _close_when_idle(self) except -1
    cdef inline Py_ssize_t in_flight(self) noexcept:
        """Return the number of calls in progress; all calls that wait for a stream count as one."""
        return self.http2.streams.count_open() + (1 if self.waiting.has_items() else 0)
