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
        # The part of its engine that makes the calls, which has the limits of the server.
        CallingPart calling

        # The rules of its life; the heads of requests.
        ClientLife life
        RequestHeads heads

        # Returns the seconds for which a token is valid, 0: the token does not state them. None: no other token
        # follows.
        object validity
        double valid_seconds

        # Calls that wait for a stream, and how many of them were given up. Whether some of them are being started.
        PriorityQueue waiting
        Py_ssize_t dropped
        bint is_releasing

        # The streams that may be reset without an answer: about as many as servers do not treat as a flood.
        Budget resets

        # Flushes of all output so far: a request written before one has been sent.
        uint64_t flushes

        # Whether the server leaves and another replaces it, or does not speak HTTP/2; whether it wants fewer pings.
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
        """Return the calls under way; all calls that wait for a stream count as one."""
        return self.http2.streams.count_open() + (1 if self.waiting.has_items() else 0)
