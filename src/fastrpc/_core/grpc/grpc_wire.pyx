"""The server's side of gRPC: requests into the gate, outcomes into frames.

::

    bytes ──► Http2Connection ──► GrpcRequests ──► Gate.pass_known ──► handler
                                                                         │ answer, fail, refuse, messages
    bytes ◄── Http2Connection ◄── GrpcOutcomes ◄── GrpcWire ◄── Link ◄───┘

A drain has two steps, as in HTTP/2: a GOAWAY with the highest id, so that no call under way is refused, and after the
answer to a PING a GOAWAY with the last accepted id. Calls above it are not processed.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED
from fastrpc._core.calls.call cimport NO_DEADLINE, Call
from fastrpc._core.grpc.call_kinds cimport dialect_of_kinds, flow_of_kinds, forms_of_kinds, handling_of_kinds
from fastrpc._core.grpc.dialect cimport GrpcDialect, new_forms
from fastrpc._core.grpc.grpc_call cimport GrpcCall, GrpcHead
from fastrpc._core.grpc.long_messages cimport LongMessages
from fastrpc._core.grpc.outcomes cimport new_outcomes
from fastrpc._core.grpc.requests cimport let_in
from fastrpc._core.http2.frames cimport CODE_CALM_DOWN, CODE_INTERNAL, CODE_NONE, CODE_SETTINGS_TIMEOUT
from fastrpc._core.http2.header_block cimport FIELD_OVERHEAD, HeaderBlock, HeaderField
from fastrpc._core.http2.http2_pages cimport new_pages
from fastrpc._core.http2.incoming cimport DRAIN_FINAL, OWN_FRAME_LIMIT
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.http2.wire_parts cimport add_parts
from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.link cimport Link
from fastrpc._core.server.served_call cimport ServerCall, take_client
from fastrpc._core.wire.frame cimport REASON_HANDSHAKE, REASON_INTERNAL, REASON_MEMORY, REASON_PROTOCOL

cdef dict CODES = {
    REASON_HANDSHAKE: CODE_SETTINGS_TIMEOUT,
    REASON_MEMORY: CODE_CALM_DOWN,
    REASON_INTERNAL: CODE_INTERNAL,
}


cdef class GrpcWire(GrpcRequests):
    """The server's side of one connection."""

    def __init__(
        self, *, Gate gate not None, keepalive, limits, memory, web=None, proxies=None, Pages pages=None,
        bint serves_grpc=True,
    ):
        cdef GrpcGoodbye goodbye = GrpcGoodbye.__new__(GrpcGoodbye)
        cdef GrpcAssembling assembling = GrpcAssembling.__new__(GrpcAssembling)
        cdef GrpcDialect dialect = GrpcDialect.__new__(GrpcDialect)
        self.protocol = "grpc" if serves_grpc else "http"
        self.excludes_http = self.serves_grpc = serves_grpc
        self.gate = gate
        self.incomplete = set()
        self.is_trusted = not gate.asks_access()
        self.web = web
        self.proxies = proxies
        self.set_up(False, limits.concurrent_calls, limits.stream_window_bytes, most_head_bytes(limits, pages))
        self.streams.most_streaming = limits.streams
        self.long_messages = LongMessages(gate, self.incoming.flow)
        self.lend(memory.stream_pool, limits.message_bytes)
        self.set_pings(keepalive.interval or 0.0, keepalive.timeout, keepalive.minimum_interval)
        add_parts(self)
        goodbye.wire = assembling.wire = <PyObject*>self
        self.goodbye = goodbye
        self.assembling = assembling
        dialect.gate = gate
        self.dialect = dialect
        self.forms = new_forms(self.control.peer, gate)
        self.flow = self.outcomes = new_outcomes(self, dialect)
        if pages is not None:
            self._serve(pages)

    cdef int _serve(self, Pages pages) except -1:
        """Serve requests that are no calls, beside the calls."""
        self.pages = new_pages(pages, self)
        self.control.offers_connect = pages.takes_tunnels
        self.takes_values = pages.takes_values
        self.flow = flow_of_kinds(pages, self.flow)
        self.dialect = dialect_of_kinds(pages, self.dialect)
        self.forms = forms_of_kinds(pages, self.forms)
        self.handling = handling_of_kinds(pages)
        return 0

    cdef int join(self, Engine link) except -1:
        GrpcRequests.join(self, link)
        self.connection = (<Link?>link).connection
        self.connection.has_trailers = self.connection.has_marshals = True
        self.connection.piece_bytes = OWN_FRAME_LIMIT
        self.connection.grace_bytes = self.gate.memory.credit_grace
        return 0 if self.pages is None else self.pages.pages.join(self.connection)

    # Requests

    cdef int refuse_http(self, GrpcCall call, int status, str text) except -1:
        return self.outcomes.answer_by_http(call, status, text)

    cdef bint takes_page(self, GrpcCall call, HeaderBlock block, bint ends_stream) except -1:
        cdef Http2Stream stream = call.http2_stream
        if not self.is_page(call, block):
            return False
        # It may have been found on the way.
        call.route = None
        if self._has_place(call, True):
            # The exchange of the stream is its user from now on.
            call.http2_stream = stream.user = None
            self.pages.head(stream, block, ends_stream)
        return True

    cdef bint takes_client(self, GrpcCall call, HeaderBlock block) except -1:
        cdef GrpcHead head = <GrpcHead>call.head
        cdef object found = self.proxies.client_of(
            self.connection.peer_info, texts_of(block, b"x-forwarded-for"), texts_of(block, b"x-forwarded-proto")
        )
        cdef tuple refusal = take_client(call, found, self.connection.protocol_of(call))
        if refusal is None:
            return True
        if head.http_status:
            call.web = None
            self.engine().note_unanswered()
            self.refuse_http(call, refusal[0], refusal[1])
        else:
            call.route = self.gate.routes.find(PyBytes_AS_STRING(head.name), PyBytes_GET_SIZE(head.name))
            self.gate.refuse_client(call, refusal)
        return False

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        cdef Py_ssize_t taken = GrpcRequests.take(self, data, size)
        if self.latest is not None:
            self.list_latest()
        if self.pages is not None:
            self.pages.end_read()
        self._count_blocks(self.held_bytes())
        return taken

    cdef int placed(self, Py_ssize_t size) except -1:
        GrpcRequests.placed(self, size)
        return 0 if self.pages is None else self.pages.end_read()

    cdef int _count_blocks(self, Py_ssize_t size) except -1:
        """Count header blocks and tables, like bytes that wait for their turn."""
        if size != self.counted_bytes:
            self.gate.memory.count_tail(self.connection, size - self.counted_bytes)
            self.counted_bytes = size
        return 0

    # Outcomes

    cdef int answer(self, Call call, bytes payload) except -1:
        if type(call) is GrpcCall:
            return self.outcomes.answer(call, payload)
        let_in(self, <ServerCall>call)
        return self.pages.answer(call, payload)

    cdef int fail(self, Call call, Failure failure) except -1:
        return self.outcomes.fail(call, failure) if type(call) is GrpcCall else self.pages.fail(call, failure)

    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1:
        if type(call) is GrpcCall:
            return self.outcomes.refuse(call, failure, is_faulty)
        return self.pages.refuse(call, failure, is_faulty)

    # The connection

    cdef int on_settings(self) except -1:
        # The opening lasts until the settings of the peer came.
        return (<Link>self._engine).life.leave_opening()

    cdef int on_violation(self, int code, str text) except -1:
        self.gate.dispatcher.stranger(self.connection.describe_peer(), f"grpc: {text}")
        return 0

    cdef int on_closed(self, bint lingers) except -1:
        self.forget_incomplete()
        (<Link>self._engine).leaving.finish(REASON_PROTOCOL, "", lingers)
        return 0

    cdef int lost(self) except -1:
        # Nothing is written any more, whatever ends with the requests.
        self.is_closed = True
        self.forget_incomplete()
        if self.pages is not None:
            self.pages.lost()
        GrpcRequests.lost(self)
        return self._count_blocks(0)

    cdef int tell(self, Facts* facts) except -1:
        facts.is_receiving = self.incoming.began_ns != 0
        facts.began_ns = self.incoming.began_ns
        facts.received = self.incoming.came
        # Messages of streams may wait for their readers' windows as long as `Timeouts.stream_idle` allows.
        facts.parked = max(0, self.sender.queued_bytes - self.waiting_bytes)
        if self.pages is not None:
            facts.parked = max(0, facts.parked - self.pages.turns.waiting_bytes)
        return 0

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due
        if not (self.control.has_opened or self.is_closed):
            self.open(self.is_trusted)
        due = earlier(self.check_http2(now), self._check_incomplete(now))
        return due if self.pages is None or self.is_closed else earlier(due, self.pages.check(now))

    cdef uint64_t _check_incomplete(self, uint64_t now) except? 0:
        """End calls whose callers are late with a request or message; return the instant of the next check, 0 = never."""
        cdef GrpcCall call
        cdef uint64_t due = 0, late_ns
        if not self.incomplete:
            return 0
        if self.incoming.flow.waiting is not None and not self.is_closed:
            # There may be memory for them now.
            self.grant_waiting()
        for call in list(self.incomplete):
            if self.is_closed or call.http2_stream is None:
                continue
            if call.sender_check is not None:
                due = earlier(due, call.sender_check.check(now))
                continue
            late_ns = self._late_at(call)
            if not call.has_started and now >= call.deadline_ns:
                self.connection.now = now
                self.gate.refuse_rest(call)
            elif late_ns and now >= late_ns:
                self.connection.now = now
                self._end_late(call)
            else:
                due = earlier(due, late_ns)
                if not call.has_started and call.deadline_ns != NO_DEADLINE:
                    due = earlier(due, call.deadline_ns)
        return due

    cdef uint64_t _late_at(self, GrpcCall call) except? 0:
        """Return the instant at which a caller is late with the rest of a request or message; 0: we delay it."""
        cdef ConnectionLife life = (<Link>self._engine).life
        cdef int64_t received = call.counted if call.has_started else call.charge
        if life.patience_ns == 0 or life.is_held_back or self.stream_below() is NULL:
            return 0
        if (<ByteStream>self.stream_below()).waits_for_turn() or self.window_of(call.http2_stream) <= 0:
            # Its bytes are here, or its window is used up: then we delay it.
            call.heard_ns = self.instant()
            return 0
        return life.message_due(
            max(call.began_ns, life.resumed_ns), max(call.heard_ns, life.resumed_ns), received
        )

    cdef int _end_late(self, GrpcCall call) except -1:
        cdef str text = "the rest of a message did not come in time"
        if call.has_started:
            return self._end_locally(call, DEADLINE_EXCEEDED, text)
        return self.gate.refuse(call, DEADLINE_EXCEEDED, f"{call.method}: {text}")


@cython.final
cdef class GrpcGoodbye(Goodbye):
    """The last words of a connection: GOAWAY."""

    cdef int drain(self, str text) except -1:
        return (<GrpcWire>self.wire).start_drain(text)

    cdef bint is_told(self) except -1:
        return (<GrpcWire>self.wire).control.drain_step == DRAIN_FINAL

    cdef int say(self, int reason, str text) except -1:
        cdef GrpcWire wire = <GrpcWire>self.wire
        cdef int code = CODES.get(reason, CODE_NONE)
        if wire.is_closed:
            # The wire has already written its own GOAWAY, for a broken rule.
            return 0
        if not wire.control.has_opened:
            wire.open(False)
        if wire.pages is not None:
            wire.pages.say_goodbye(text)
        wire.control.say_goodbye(code, text)
        wire.fall_silent(code, text)
        return wire.forget_incomplete()


@cython.final
cdef class GrpcAssembling(Assembling):
    """Requests and messages of which a part is here, and pages until the ends of their streams."""

    cdef Py_ssize_t count(self) except -1:
        cdef GrpcWire wire = <GrpcWire>self.wire
        return len(wire.incomplete) + (0 if wire.pages is None else len(wire.pages.exchanges))

    cdef int judged(self, Call call, int verdict) except -1:
        cdef GrpcWire wire = <GrpcWire>self.wire
        cdef GrpcRequests reached
        if type(call) is not GrpcCall:
            if verdict == SENDER_ADMITTED:
                let_in(wire, <ServerCall>call)
            return wire.pages.pages.judged(call, verdict)
        reached = wire.outcomes.reached(<GrpcCall>call)
        return 0 if reached is None else reached.sender_known(<GrpcCall>call, verdict)

    cdef int end(self, str text) except -1:
        cdef GrpcWire wire = <GrpcWire>self.wire
        wire.end_incomplete(text)
        return 0 if wire.pages is None else wire.pages.end(text)


cdef Py_ssize_t most_head_bytes(object limits, Pages pages) except -1:
    """Return the most bytes of a head, as MAX_HEADER_LIST_SIZE counts them: pages may have longer ones than calls."""
    cdef Py_ssize_t most = limits.metadata_bytes
    if pages is None:
        return most
    return max(most, pages.limits.header_bytes + FIELD_OVERHEAD * pages.limits.headers)


cdef list texts_of(HeaderBlock block, bytes name):
    """Return the values of all fields of a name."""
    cdef HeaderField field
    return [field.value.decode("latin-1") for field in block.fields if field.name == name]
