"""The server's side of a connection that speaks gRPC: its opening, drain and end.

::

    bytes ──► Http2Connection ──► GrpcRequests ──► Gate.pass_known ──► handler
                                                                         │ answer, fail, refuse, messages
    bytes ◄── Http2Connection ◄── GrpcServedConnection ◄─────────────────┘

A drain has two steps, as HTTP/2 has it: a GOAWAY with the highest id, so that a call under way is no last one too many, and
behind the answer to a PING one with the last id that is taken. Calls above it are not processed.
"""

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE
from fastrpc._core.grpc.grpc_call cimport GrpcCall, GrpcHead
from fastrpc._core.grpc.grpc_served_connection cimport GrpcServedConnection
from fastrpc._core.http2.frames cimport CODE_CALM_DOWN, CODE_INTERNAL, CODE_NONE, CODE_SETTINGS_TIMEOUT
from fastrpc._core.http2.header_block cimport HeaderBlock, HeaderField
from fastrpc._core.http2.incoming cimport DRAIN_FINAL, OWN_FRAME_LIMIT
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.contract cimport Facts
from fastrpc._core.server.connection_life cimport new_life
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport take_client
from fastrpc._core.wire.frame cimport REASON_HANDSHAKE, REASON_INTERNAL, REASON_MEMORY

logger = logging.getLogger("fastrpc.server")

cdef dict CODES = {
    REASON_HANDSHAKE: CODE_SETTINGS_TIMEOUT,
    REASON_MEMORY: CODE_CALM_DOWN,
    REASON_INTERNAL: CODE_INTERNAL,
}


cdef class GrpcServer(GrpcRequests):
    """The server's side of one connection."""

    def __init__(self, *, Gate gate not None, Openings openings not None, timeouts, keepalive, limits, memory, web=None,
                 proxies=None):
        cdef GrpcServedConnection connection = GrpcServedConnection(gate, "grpc")
        connection.join(self)
        connection.piece_bytes = OWN_FRAME_LIMIT
        connection.grace_bytes = gate.memory.credit_grace
        self.connection = connection
        self.gate = gate
        self.openings = openings
        self.incomplete = set()
        self.is_trusted = not gate.asks_access()
        self.web = web
        self.proxies = proxies
        self.most_streaming = limits.streams
        self.set_up(False, limits.concurrent_calls, limits.stream_window_bytes, limits.metadata_bytes)
        self.lend(memory.stream_pool, limits.message_bytes)
        self.set_pings(keepalive.interval or 0.0, keepalive.timeout, keepalive.minimum_interval)
        self.life = new_life(self, connection)
        self.life.set_rules(timeouts, keepalive)

    # Calls

    cdef int refuse_http(self, GrpcCall call, int status, str text) except -1:
        return (<GrpcServedConnection>self.connection).answer_by_http(call, status, text)

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
            self.note_unanswered()
            self.refuse_http(call, refusal[0], refusal[1])
        else:
            call.route = self.gate.routes.find(PyBytes_AS_STRING(head.name), PyBytes_GET_SIZE(head.name))
            self.gate.refuse_client(call, refusal)
        return False

    # The peer

    def describe_peer(self):
        """Return the other side of the connection."""
        return self.connection.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Note who the certificate names, and until when; a call's own credential comes before it."""
        (<GrpcServedConnection>self.connection).certify(identity, valid_seconds, generation)
        return True

    def go_on(self):
        """Take the requests that waited for a verdict."""
        if self._stream is not NULL and not self.is_closed:
            # The verdict took the time, not the peer.
            self.life.resumed_ns = now_ns()
            (<ByteStream>self._stream).release_input()

    # Opening and leaving

    cdef int connected(self) except -1:
        self.now = now_ns()
        self.connection.peer_info = self.gate.dispatcher.describe_peer(self)
        if self.life.count_in():
            self.open(False)
            return self._finish_with(CODE_CALM_DOWN, self.life.surplus_text(), True)
        self.life.enter_opening(self.openings)
        self.open(self.is_trusted)
        if self._stream is not NULL:
            (<ByteStream>self._stream).schedule_check(earlier(self.life.begin(self.now), self.check_http2(self.now)))
        return 0

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        if not (self.life.has_heard or self.is_closed) and not self.life.hear_first(data, size):
            return 0
        return GrpcRequests.receive(self, data, size)

    cdef int on_settings(self) except -1:
        return self.life.leave_opening()

    def begin_drain(self, reason, text=""):
        """Take no new calls, once the peer knows; those under way go on."""
        cdef uint64_t now = now_ns()
        self.now = max(self.now, now)
        self.connection.note_drain()
        self.life.begin_drain(0)
        self.start_drain(text)
        if self._stream is not NULL and not self.is_closed:
            (<ByteStream>self._stream).schedule_check(max(now, self.life.left_due()))

    @property
    def has_drained(self):
        """Whether the peer knows that no new calls are taken, none is under way, and all output is sent."""
        if self.is_busy() or self.unsent_bytes():
            return False
        return self.is_closed or self.control.drain_step == DRAIN_FINAL

    def end_calls(self, text):
        """Answer every call that is still under way, and stop its handler."""
        self.end_incomplete(text)
        self.gate.end_calls(self.connection, text)

    def close(self, int reason=0, str text=""):
        """Tell the peer the reason, and close once all output is sent."""
        self.now = max(self.now, now_ns())
        self._finish_with(CODES.get(reason, CODE_NONE), text, reason != REASON_HANDSHAKE)

    cdef int _finish_with(self, int code, str text, bint lingers) except -1:
        if self.is_closed:
            return 0
        self.control.say_goodbye(code, text)
        return self.end(lingers and self.life.linger_ns != 0)

    cdef int close_with(self, int code, str text) except -1:
        return self._finish_with(code, text, True)

    cdef int on_violation(self, int code, str text) except -1:
        self.gate.dispatcher.stranger(self.connection.describe_peer(), f"grpc: {text}")
        return 0

    cdef int on_closed(self) except -1:
        cdef uint64_t now = now_ns()
        self.life.leave_opening()
        self.life.linger(now)
        self.forget_incomplete()
        # Before the stream is told, which may bring its end at once.
        self.gate.leave(self.connection)
        if self._stream is not NULL:
            (<ByteStream>self._stream).schedule_check(self.life.linger_until_ns or now)
        return self.gate.runner.tell_watcher()

    cdef int lost(self, object error) except -1:
        self.life.leave_opening()
        self.forget_incomplete()
        GrpcRequests.lost(self, error)
        self._count_blocks(0)
        return self.life.count_out(error)

    # The engine

    def stats(self):
        """Return the state of the connection as plain data."""
        found = (<GrpcServedConnection>self.connection).stats(self.unsent_bytes())
        found["credit"] = self.incoming.flow.sending
        return found

    cdef int read_done(self) except -1:
        self.list_latest()
        self.connection.received_ns = self.received_ns
        self.connection.read_ended()
        self.life.go_on_opening()
        self._count_blocks(self.held_bytes())
        return self.gate.runner.leave_task()

    def _count_blocks(self, Py_ssize_t size):
        """Count header blocks and tables, like bytes that wait for their turn."""
        if size != self.counted_bytes:
            self.gate.memory.count_tail(self.connection, size - self.counted_bytes)
            self.counted_bytes = size

    cdef int flushed(self) except -1:
        cdef int64_t unsent = self.unsent_output()
        if unsent or self.sender.queued_bytes or self.connection.output_held:
            self.life.weigh((<GrpcServedConnection>self.connection).unsent_bytes(), self.now)
        self.life.heed_output(unsent, self.now)
        return self.gate.runner.tell_watcher() if self.gate.runner.is_watched else 0

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.came_ns)

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.connection, change)

    cdef bint hears_rest_first(self) except -1:
        return not self.is_busy()

    cdef int crash(self) except -1:
        return self._finish_with(CODE_INTERNAL, "internal error", False)

    # Time

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due
        if self.is_closed:
            return self._check_life(now)
        if self.connection.output_held:
            self.life.heed_output(self.unsent_output(), now)
        due = earlier(self.check_http2(now), self._check_incomplete(now))
        due = earlier(due, self._check_life(now))
        return self.life.linger_until_ns if self.is_closed else due

    cdef uint64_t _check_life(self, uint64_t now) except? 0:
        """Give the life of the connection its facts; return when to look again."""
        cdef Facts facts
        facts.is_busy = self.is_busy()
        facts.is_receiving = self.incoming.began_ns != 0
        facts.began_ns = self.incoming.began_ns
        facts.heard_ns = self.received_ns
        facts.received = self.incoming.came
        facts.unsent = self.unsent_output() if self.is_closed else (<GrpcServedConnection>self.connection).unsent_bytes()
        # Messages of streams may wait for the windows of their readers for as long as `Timeouts.stream_idle` lets them.
        facts.parked = max(0, self.sender.queued_bytes - self.waiting_bytes)
        return self.life.check(now, &facts)

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
        """Return the instant at which a caller is late with the rest of a request or message; 0: we hold it up."""
        cdef int64_t received = call.counted if call.has_started else call.charge
        if self.life.patience_ns == 0 or self.life.is_held_back or self._stream is NULL:
            return 0
        if (<ByteStream>self._stream).waits_for_turn() or self.window_of(call.http2_stream) <= 0:
            # Its bytes are here, or its window is used up: then we hold it up.
            call.heard_ns = self.now
            return 0
        return self.life.message_due(
            max(call.began_ns, self.life.resumed_ns), max(call.heard_ns, self.life.resumed_ns), received
        )

    cdef int _end_late(self, GrpcCall call) except -1:
        cdef str text = "the rest of a message did not come in time"
        if call.has_started:
            return self._end_locally(call, DEADLINE_EXCEEDED, text)
        return self.gate.refuse(call, DEADLINE_EXCEEDED, f"{call.method}: {text}")


cdef list texts_of(HeaderBlock block, bytes name):
    """Return the values of all fields of a name."""
    cdef HeaderField field
    return [field.value.decode("latin-1") for field in block.fields if field.name == name]
