"""The half of a client's connection that opens streams: from a client's calls to heads and messages of requests.

::

    ClientCall ──► GrpcCalls.send ──► a stream ──► head, message              beyond the server's limit: `waiting`
    ClientCall ◄── answers of the other half, RST_STREAM, GOAWAY, the end of the connection

The `user` of a stream is the answer to its call (`answered_connection`); the `id` of a call is the id of its stream.
The engine in `client` holds this connection.
"""

import logging

cimport cython
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.base.histogram cimport client_waits
from fastrpc._core.base.priority_queue cimport Queue
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_GONE, STATE_WAITING
from fastrpc._core.grpc.answered_connection cimport GrpcAnswer
from fastrpc._core.grpc.fields cimport IS_COMPRESSED, LONGEST_TIMEOUT, encoding_name, put_metadata, timeout_field
from fastrpc._core.http2.connection cimport new_http2
from fastrpc._core.http2.frames cimport CODE_CALM_DOWN, CODE_CANCEL, CODE_NONE, FLAG_END_STREAM
from fastrpc._core.http2.header_block cimport TOKEN_GRPC_ENCODING, TOKEN_GRPC_PREVIOUS_ATTEMPTS, TOKEN_GRPC_TIMEOUT
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.native.outgoing cimport FEW_DROPPED, Outgoing, forget_dropped, let_go, live_queue, new_item
from fastrpc._core.wire.budgets cimport open_idle_work
from fastrpc._core.wire.frame cimport IDEMPOTENT, ONE_WAY, REQUEST, STREAM_IN
from fastrpc._core.wire.window cimport HIGHEST_WINDOW, spend

from fastrpc._version import __version__

logger = logging.getLogger("fastrpc.client")

cdef enum:
    # The most connections that the threads of a client open while calls wait for a stream.
    MOST_CONNECTIONS = 8

PINGS_TEXT = "the server allows fewer pings (raise Keepalive.interval); the next connection sends half as many"

cdef bytes TIMEOUT = b"grpc-timeout"
cdef bytes ENCODING = b"grpc-encoding"
cdef bytes PREVIOUS_ATTEMPTS = b"grpc-previous-rpc-attempts"
cdef bytes TOO_MANY_PINGS = b"too_many_pings"


@cython.final
cdef class AskingConnection(AnsweredConnection):
    """The half of a client's connection that opens streams."""

    def __init__(
        self, parts, CallingPart calling not None, *, str scheme not None, str authority not None, double ping_interval,
        validity not None
    ):
        config = parts.config
        self.calling = calling
        self.http2 = new_http2(
            self, True, 0, min(config.limits.stream_window_bytes, HIGHEST_WINDOW), config.limits.metadata_bytes
        )
        self.http2.lend(config.memory.stream_pool, config.limits.message_bytes)
        self.http2.set_pings(ping_interval, config.keepalive.timeout, 0.0)
        self.message_bytes = config.limits.message_bytes
        self.left_out = []
        self.life = ClientLife(parts.owner, parts.timeouts, config.keepalive, config.early_calls)
        self.heads = RequestHeads(scheme, authority, f"fastrpc/{__version__}", parts.credential)
        self.waiting = PriorityQueue()
        open_idle_work(&self.resets)
        if parts.renews and parts.credential is not None:
            self.validity = validity
            self.valid_seconds = validity(parts.credential)

    # Requests

    cdef int send_request(self, ClientCall call, bytes payload) except -1:
        """Open the stream of a call and send its request, or queue the call until a stream is free."""
        if (self.waiting.has_items() and self.http2.control.is_settled) or not self._may_open(call):
            return _wait(self, call, payload)
        return 0 if _open_call(self, call, payload) else _wait(self, call, payload)

    cdef bint _may_open(self, Call call) noexcept:
        """Return whether a call may be sent now: the server has answered the opening, or early calls are allowed."""
        return self.http2.control.is_settled or self.life.takes_early(call.flags & IDEMPOTENT)

    # Calls that wait for a stream

    cdef int give_up(self, ClientCall call) except -1:
        """Cancel a call: drop it if it waits for a stream, otherwise reset its stream."""
        cdef Http2Stream stream
        if call.state == STATE_GONE:
            return 0
        self.call_over(call)
        if call.unsent is not None:
            let_go(<Outgoing>call.unsent)
            self.dropped += 1
            if self.dropped > FEW_DROPPED:
                forget_dropped(tuple(self.waiting.queues()), &self.dropped)
        stream = self.http2.streams.find(<uint32_t>call.id) if call.id else None
        if stream is not None:
            (<GrpcAnswer>stream.user).call = None
            if not spend(&self.resets, 1, self.http2.instant()) and stream.is_ended_by_us:
                # A server would treat further resets as a flood, so the call continues and its answer is dropped.
                return 0
            self.http2.reset(stream, CODE_CANCEL)
        return self._close_when_idle()

    cdef int call_over(self, ClientCall call) except -1:
        """Mark a call as ended on this side: stop its timer, and count it as over."""
        cdef LoopState loop_state = self.calling.loop_state
        if loop_state is not None:
            loop_state.stop_timer(call)
        if call.state != STATE_GONE:
            call.state = STATE_GONE
            if not call.is_probe and not call.flags & ONE_WAY:
                self.life.call_ended(self.http2.engine())
        return 0

    cdef int on_over(self, Http2Stream stream) except -1:
        stream.user = None
        if self.waiting.has_items():
            _release(self)
        return self._close_when_idle()

    # The connection

    cdef int on_settings(self) except -1:
        cdef CallingPart part = self.calling
        if not part.is_settled:
            part.is_settled = True
            self.life.opened(self.http2.engine())
            if self.valid_seconds > 0:
                self.life.credential_expires(self.http2.engine(), self.valid_seconds)
        return _release(self)

    cdef int on_unauthenticated(self) except -1:
        return 0 if self.validity is None else self.life.credential_refused(self.http2.engine())

    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1:
        cdef Http2Stream stream
        cdef ClientCall call
        self.calling.peer_leaves = True
        self.peer_replaces = code == CODE_NONE
        if code != CODE_NONE:
            self.goaway_text = f"the server ended it with code {code}: {debug.decode('utf-8', 'replace')!r:.200}"
        if code == CODE_CALM_DOWN and debug == TOO_MANY_PINGS:
            self.wants_fewer_pings = True
            logger.warning("%s: %s", self.calling.endpoint, PINGS_TEXT)
        # Retired first, so that calls that fail now are retried on another connection. With 1 call it is not closed yet.
        self.life.retire(self.http2.engine(), 1)
        for stream in not_taken:
            call = (<GrpcAnswer>stream.user).call
            stream.user = None
            if call is not None:
                self.fail(call, self.calling.error_of_end(call, False, None))
        _fail_waiting(self, None)
        return self._close_when_idle()

    cdef int fail_all(self, str why, bint leaves) except -1:
        """Fail all calls. If `leaves`, written output is still sent, so written requests count as sent."""
        cdef CallingPart part = self.calling
        cdef Http2Stream stream
        cdef ClientCall call
        _fail_waiting(self, why)
        for stream in self.http2.streams.entries():
            call = None if stream.user is None else (<GrpcAnswer>stream.user).call
            if call is not None:
                (<GrpcAnswer>stream.user).call = None
                self.fail(call, part.error_of_end(call, part.was_written(call) if leaves else part.was_handed(call), why))
        return 0

    cdef int _close_when_idle(self) except -1:
        return self.life.close_when_idle(self.http2.engine(), self.in_flight())

    cdef int on_violation(self, int code, str text) except -1:
        self.is_unreadable = not self.http2.control.is_settled
        return 0

    cdef int on_closed(self, bint lingers) except -1:
        self.http2.engine().is_closed = True
        if self.is_unreadable:
            self.http2.closed_text = f"the server does not speak HTTP/2 ({self.http2.closed_text})"
        self.life.refuse_calls(self.http2.engine())
        self.fail_all(self.http2.closed_text or self.goaway_text or "it was closed", True)
        if self.http2.stream_below() is not NULL:
            (<ByteStream>self.http2.stream_below()).finish(lingers)
        return 0


@cython.nonecheck(False)
cdef bint _open_call(AskingConnection connection, ClientCall call, bytes payload) except -1:
    """Send a request on a new stream; False: no stream can be opened now."""
    cdef GrpcAnswer answer
    cdef Http2Stream stream
    cdef uint64_t left_ns = 0
    if call.deadline_ns != NO_DEADLINE:
        if call.deadline_ns <= connection.http2.instant():
            # The deadline of the call has passed: its caller ends it, unsent.
            return True
        left_ns = call.deadline_ns - connection.http2.instant()
    stream = connection.http2.open_stream()
    if stream is None:
        return False
    answer = GrpcAnswer.__new__(GrpcAnswer)
    stream.user = answer
    call.id = stream.id
    if not call.flags & ONE_WAY:
        call.state = STATE_WAITING
        answer.call = call
    else:
        call.state = STATE_GONE
    _write_head(connection, stream, call, left_ns)
    if not call.flags & STREAM_IN:
        connection.http2.send_message(stream, payload, IS_COMPRESSED if call.compressor else 0, True)
    call.handed_at = connection.flushes + 1
    return True


@cython.nonecheck(False)
cdef int _write_head(AskingConnection connection, Http2Stream stream, ClientCall call, uint64_t left_ns) except -1:
    connection.http2.begin_head(stream)
    connection.http2.sender.put_fields(connection.heads.head_of(call.route, call.sent_metadata), None)
    if left_ns:
        left_ns = min(left_ns, <uint64_t>LONGEST_TIMEOUT)
        connection.http2.put_field(TOKEN_GRPC_TIMEOUT, TIMEOUT, timeout_field(<int64_t>left_ns))
    if call.compressor:
        connection.http2.put_field(TOKEN_GRPC_ENCODING, ENCODING, encoding_name(call.compressor))
    elif call.options is not None and call.options.compressor is not None:
        _declare(connection, call.options.compressor)
    if call.attempt_number:
        connection.http2.put_field(TOKEN_GRPC_PREVIOUS_ATTEMPTS, PREVIOUS_ATTEMPTS, b"%d" % call.attempt_number)
    if call.sent_metadata is not None:
        put_metadata(connection.http2.sender.encoder, connection.http2.sender.out, call.sent_metadata)
    return connection.http2.end_head(stream, False)


cdef int _declare(AskingConnection connection, object compressor) except -1:
    """Declare the compressor of a call whose request is too short for it: the answer may be longer."""
    cdef int number = connection.calling.peer.compressor_number(compressor.wire_id, compressor.name)
    if number > 0:
        connection.http2.put_field(TOKEN_GRPC_ENCODING, ENCODING, encoding_name(number))
    return 0


cdef int _wait(AskingConnection connection, ClientCall call, bytes payload) except -1:
    cdef Outgoing item = new_item(call, REQUEST, payload)
    item.last = item
    item.queued_ns = connection.http2.instant()
    call.unsent = item
    connection.waiting.of(call.priority).append(item)
    if not connection.http2.control.is_settled:
        return 0
    # One waiting call is a crowd already: the server takes no further stream.
    if connection.life.owner is None:
        connection.calling.peer.workers = MOST_CONNECTIONS
    elif connection.life.is_crowd(connection.life.crowd):
        connection.calling.loop_state.call_soon(connection.http2.engine().tell_crowd)
    return 0


cdef int _release(AskingConnection connection) except -1:
    """Start waiting calls by priority, then by arrival, while there are free streams."""
    cdef Outgoing item
    cdef ClientCall call
    cdef Queue queue
    if connection.is_releasing or not connection.http2.control.is_settled:
        # Called for a call that ended in the loop below, which continues anyway.
        return 0
    connection.is_releasing = True
    try:
        while not connection.http2.is_closed:
            queue = live_queue(connection.waiting, &connection.dropped)
            if queue is None:
                break
            item = <Outgoing>queue[0]
            if not _open_call(connection, <ClientCall>item.call, item.payload):
                break
            client_waits.counted(connection.http2.instant() - min(connection.http2.instant(), item.queued_ns))
            queue.popleft()
            call = <ClientCall>item.call
            let_go(item)
            if item.flags & FLAG_END_STREAM:
                connection.calling.send_end(call)
            elif call.flags & STREAM_IN:
                # The sender of the call already waits, as the call had no stream before.
                call.may_send()
    finally:
        connection.is_releasing = False
    return 0


cdef int _fail_waiting(AskingConnection connection, str why) except -1:
    """Fail the calls that wait for a stream: the server has seen nothing of them."""
    cdef Outgoing item
    cdef ClientCall call
    while connection.waiting.has_items():
        item = <Outgoing>connection.waiting.first().popleft()
        if not item.is_dropped:
            call = <ClientCall>item.call
            let_go(item)
            connection.fail(call, connection.calling.error_of_end(call, False, why))
    connection.dropped = 0
    return 0
