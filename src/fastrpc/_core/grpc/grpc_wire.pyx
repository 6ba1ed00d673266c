"""The server's side of gRPC: it passes requests to the gate and writes outcomes as frames.

::

    bytes ──► Http2Connection ──► GrpcRequests ──► Gate.pass_known ──► handler
                                                                         │ answer, fail, refuse, messages
    bytes ◄── Http2Connection ◄── GrpcOutcomes ◄── GrpcWire ◄── Link ◄───┘

The wire holds the connection, its requests and its outcomes; `GrpcRequests` is the handler of the connection.

A drain has two steps (RFC 9113, section 6.8): a GOAWAY with the highest id and a PING; after the answer to the PING, a
GOAWAY with the last accepted id. So calls that the client sends before it reads the first GOAWAY are still served.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.calls.call cimport Call
from fastrpc._core.exchange.pages cimport Pages
from fastrpc._core.grpc.dialect cimport GrpcDialect, new_forms
from fastrpc._core.grpc.grpc_call cimport GrpcCall, let_in
from fastrpc._core.grpc.incomplete_requests cimport new_incomplete
from fastrpc._core.grpc.outcomes cimport GrpcOutcomes, new_outcomes
from fastrpc._core.grpc.requests cimport GrpcRequests
from fastrpc._core.http2.connection cimport Http2Connection, new_http2
from fastrpc._core.http2.frames cimport CODE_CALM_DOWN, CODE_INTERNAL, CODE_NONE, CODE_SETTINGS_TIMEOUT
from fastrpc._core.http2.header_block cimport FIELD_OVERHEAD
from fastrpc._core.http2.http2_pages cimport Http2Pages
from fastrpc._core.http2.incoming cimport DRAIN_FINAL, OWN_FRAME_LIMIT
from fastrpc._core.http2.wire_parts cimport new_backlog, new_placing
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Assembling, Facts, Goodbye, Wire
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.link cimport Link, LinkedConnection
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.wire.frame cimport REASON_HANDSHAKE, REASON_INTERNAL, REASON_MEMORY

cdef dict CODES = {
    REASON_HANDSHAKE: CODE_SETTINGS_TIMEOUT,
    REASON_MEMORY: CODE_CALM_DOWN,
    REASON_INTERNAL: CODE_INTERNAL,
}


@cython.final
cdef class GrpcWire(Wire):
    """The server's side of one connection."""

    cdef:
        # `gate`: the gate that all connections share; `connection`: this connection in the form in which the gate knows
        # it.
        Gate gate
        LinkedConnection connection

        # `http2`: the HTTP/2 connection; `requests`: its handler, which has the requests; `pages`: the requests that
        # are no calls, or None.
        readonly Http2Connection http2
        GrpcRequests requests
        Http2Pages pages

        # Writes answers to calls; it is the `flow` of the wire.
        GrpcOutcomes outcomes

        # Bytes of header blocks and tables, counted for the connection.
        Py_ssize_t counted_bytes

    def __init__(
        self, *, Gate gate not None, keepalive, limits, memory, web=None, proxies=None, Pages pages=None,
        bint serves_grpc=True,
    ):
        cdef GrpcRequests requests = GrpcRequests.__new__(GrpcRequests)
        cdef Http2Connection http2 = new_http2(
            requests, False, limits.concurrent_calls, limits.stream_window_bytes, most_head_bytes(limits, pages)
        )
        cdef GrpcDialect dialect = GrpcDialect.__new__(GrpcDialect)
        self.protocol = "grpc" if serves_grpc else "http"
        self.excludes_http = requests.serves_grpc = serves_grpc
        self.gate = requests.gate = dialect.gate = gate
        self.http2 = requests.http2 = http2
        self.requests = requests
        http2.streams.most_streaming = limits.streams
        http2.lend(memory.stream_pool, limits.message_bytes)
        http2.set_pings(keepalive.interval or 0.0, keepalive.timeout, keepalive.minimum_interval)
        self.dialect = dialect
        self.forms = new_forms(http2.control.peer, gate)
        http2.has_known_peer = not gate.guards.asks_access()
        requests.incomplete = new_incomplete(http2, gate)
        self.outcomes = requests.outcomes = new_outcomes(dialect, http2, requests.incomplete)
        requests.web, requests.proxies = web, proxies
        self.flow = self.outcomes
        if pages is not None:
            self._serve(pages)
        self._add_parts()

    cdef int _serve(self, Pages pages) except -1:
        """Serve pages as well: requests that are not calls."""
        self.pages = self.requests.pages = Http2Pages(pages, self.http2, self.outcomes.lingering)
        self.http2.control.offers_connect = pages.takes_tunnels
        self.takes_values = pages.takes_values
        return 0

    cdef int _add_parts(self) except -1:
        """Add the groups of the contract (`link/contract`) that need the whole wire."""
        cdef GrpcGoodbye goodbye = GrpcGoodbye.__new__(GrpcGoodbye)
        cdef GrpcAssembling assembling = GrpcAssembling.__new__(GrpcAssembling)
        goodbye.wire = assembling.wire = <PyObject*>self
        self.goodbye, self.assembling = goodbye, assembling
        self.placing = new_placing(self.http2, self.pages)
        self.backlog = new_backlog(self.http2)
        return 0

    cdef int join(self, Engine link) except -1:
        self.http2.join(link)
        self.requests.join(<PyObject*><Link?>link)
        self.connection = (<Link>link).connection
        self.connection.has_trailers = True
        self.connection.piece_bytes = OWN_FRAME_LIMIT
        self.connection.grace_bytes = self.gate.memory.credit_grace
        return 0 if self.pages is None else self.pages.pages.join(self.connection)

    # Requests

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t taken = self.http2.take(data, size)
        if self.requests.latest is not None:
            self.requests.list_latest()
        if self.pages is not None:
            self.pages.end_read()
        self._count_blocks(self.http2.held_bytes())
        return taken

    cdef int _count_blocks(self, Py_ssize_t size) except -1:
        """Count the memory of header blocks and tables as unprocessed input of the connection."""
        if size != self.counted_bytes:
            self.gate.memory.count_tail(self.connection, size - self.counted_bytes)
            self.counted_bytes = size
        return 0

    # Outcomes

    cdef int answer(self, Call call, bytes payload) except -1:
        if type(call) is GrpcCall:
            return self.outcomes.answer(call, payload)
        let_in(self.http2, <ServerCall>call)
        return self.pages.pages.outcomes.answer(call, payload)

    cdef int fail(self, Call call, Failure failure) except -1:
        if type(call) is GrpcCall:
            return self.outcomes.fail(call, failure)
        return self.pages.pages.outcomes.fail(call, failure)

    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1:
        if type(call) is GrpcCall:
            return self.outcomes.refuse(call, failure, is_faulty)
        return self.pages.pages.outcomes.refuse(call, failure.status, failure.text, is_faulty)

    # The connection

    cdef int lost(self) except -1:
        # Set first, so that the code that ends the requests writes nothing more.
        self.http2.is_closed = True
        self.requests.forget_incomplete()
        if self.pages is not None:
            self.pages.lost()
        self.http2.lost()
        return self._count_blocks(0)

    cdef int tell(self, Facts* facts) except -1:
        cdef Http2Connection http2 = self.http2
        facts.is_receiving = http2.incoming.began_ns != 0
        facts.began_ns = http2.incoming.began_ns
        facts.received = http2.incoming.came
        # Messages of streams may wait for the peer's windows as long as `Timeouts.stream_idle` allows.
        facts.parked = max(0, http2.sender.queued_bytes - self.outcomes.waiting_bytes)
        if self.pages is not None:
            facts.parked = max(0, facts.parked - self.pages.turns.waiting_bytes)
        return 0

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due
        if not (self.http2.control.has_opened or self.http2.is_closed):
            self.http2.open(self.http2.has_known_peer)
        due = earlier(self.http2.check_http2(now), self.requests.incomplete.check(now))
        due = earlier(due, self.outcomes.lingering.check(now))
        return due if self.pages is None or self.http2.is_closed else earlier(due, self.pages.check(now))

    cdef int forgive(self, uint64_t late) except -1:
        return self.http2.forgive(late)


@cython.final
cdef class GrpcGoodbye(Goodbye):
    """The goodbye of a connection: GOAWAY."""

    cdef:
        # The wire, borrowed. It holds this object, which only the wire and its link use.
        PyObject* wire

    cdef int drain(self, str text) except -1:
        return (<GrpcWire>self.wire).http2.start_drain(text)

    cdef bint is_told(self) except -1:
        return (<GrpcWire>self.wire).http2.control.drain_step == DRAIN_FINAL

    cdef int say(self, int reason, str text) except -1:
        cdef GrpcWire wire = <GrpcWire>self.wire
        cdef int code = CODES.get(reason, CODE_NONE)
        if wire.http2.is_closed:
            # The wire has already written its own GOAWAY, for a broken rule.
            return 0
        if not wire.http2.control.has_opened:
            wire.http2.open(False)
        if wire.pages is not None:
            wire.pages.say_goodbye(text)
        wire.http2.control.say_goodbye(code, text)
        wire.http2.fall_silent(code, text)
        return wire.requests.forget_incomplete()


@cython.final
cdef class GrpcAssembling(Assembling):
    """Requests and messages that have arrived in part, and pages until their streams end."""

    cdef:
        # The wire, borrowed as in GrpcGoodbye.
        PyObject* wire

    cdef Py_ssize_t count(self) except -1:
        cdef GrpcWire wire = <GrpcWire>self.wire
        return len(wire.requests.incomplete.calls) + (0 if wire.pages is None else len(wire.pages.exchanges))

    cdef int admitted(self, Call call) except -1:
        # A stream, a tunnel or an upload may be answered only at its end.
        return 0 if type(call) is GrpcCall else let_in((<GrpcWire>self.wire).http2, <ServerCall>call)

    cdef int judged(self, Call call, int verdict) except -1:
        cdef GrpcWire wire = <GrpcWire>self.wire
        if type(call) is not GrpcCall:
            if verdict == SENDER_ADMITTED:
                let_in(wire.http2, <ServerCall>call)
            return wire.pages.pages.outcomes.judged(call, verdict)
        if not wire.outcomes.awaits(<GrpcCall>call):
            return 0
        return wire.requests.sender_known(<GrpcCall>call, verdict)

    cdef int end(self, str text) except -1:
        cdef GrpcWire wire = <GrpcWire>self.wire
        wire.requests.incomplete.end(text)
        return 0 if wire.pages is None else wire.pages.end(text)


cdef Py_ssize_t most_head_bytes(object limits, Pages pages) except -1:
    """Return the limit for the size of a head (MAX_HEADER_LIST_SIZE): the larger of calls' and pages' limits."""
    cdef Py_ssize_t most = limits.metadata_bytes
    if pages is None:
        return most
    return max(most, pages.limits.header_bytes + FIELD_OVERHEAD * pages.limits.headers)
