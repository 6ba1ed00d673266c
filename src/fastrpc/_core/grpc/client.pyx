"""The client's side of gRPC: our calls on one connection of HTTP/2.

::

    ClientCall ──► GrpcCalls.send ──► a stream ──► head, message              above the server's limit: `waiting`
    ClientCall ◄── GrpcClient ◄── head, messages, trailers, RST_STREAM, GOAWAY, the end of the connection

A stream has the answer to its call as `user` (`answers`), and a call the id of its stream. The message of a unary answer is
kept until the trailers say that it counts. It serves the clients of loops and of threads, which `ClientLife` tells apart.
"""

import logging

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.base.histogram cimport client_waits
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_GONE, STATE_WAITING
from fastrpc._core.client.call_errors cimport (
    check_request, lost_error, unreadable_error, unstarted_error, violation_error,
)
from fastrpc._core.grpc.answered_connection cimport DETAILS_CODEC, GrpcAnswer, encoding_name
from fastrpc._core.grpc.fields cimport IS_COMPRESSED, LONGEST_TIMEOUT, metadata_size, put_metadata, timeout_field
from fastrpc._core.http2.frames cimport CODE_CALM_DOWN, CODE_CANCEL, CODE_NONE, FLAG_END_STREAM
from fastrpc._core.http2.header_block cimport TOKEN_GRPC_ENCODING, TOKEN_GRPC_PREVIOUS_ATTEMPTS, TOKEN_GRPC_TIMEOUT
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.native.outgoing cimport FEW_DROPPED, forget_dropped, let_go, new_item
from fastrpc._core.wire.budgets cimport open_idle_work
from fastrpc._core.wire.frame cimport IDEMPOTENT, ONE_WAY, REASON_PROTOCOL, REQUEST, STREAM_IN
from fastrpc._core.wire.window cimport HIGHEST_WINDOW, spend

from fastrpc._core.client.call_errors import take_details
from fastrpc._core.grpc.details import decode_details
from fastrpc._version import __version__
from fastrpc.errors import EncodeError
from fastrpc.status import Status

logger = logging.getLogger("fastrpc.client")

# The details of an answer are a google.rpc.Status, not a payload.
take_details(DETAILS_CODEC, decode_details)

cdef enum:
    # The most connections that threads make while calls wait for a stream.
    MOST_CONNECTIONS = 8

PINGS_TEXT = "the server allows fewer pings (raise Keepalive.interval); the next connection sends half as many"

cdef bytes TIMEOUT = b"grpc-timeout"
cdef bytes ENCODING = b"grpc-encoding"
cdef bytes PREVIOUS_ATTEMPTS = b"grpc-previous-rpc-attempts"
cdef bytes TOO_MANY_PINGS = b"too_many_pings"


@cython.final
cdef class GrpcCalls(CallingPart):
    """The calls of ours on a connection that speaks gRPC."""

    cdef inline GrpcClient engine(self):
        # The caller is the engine, or a call that holds it.
        return <GrpcClient>self.owner

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        cdef GrpcClient engine = self.engine()
        return engine.life.takes_thread(engine, now, rested_ns)

    # A call

    cdef int start(self, Call call, bytes payload) except -1:
        self.send(call, payload)
        if call.deadline_ns != NO_DEADLINE and not call.flags & ONE_WAY and not (<ClientCall>call).is_settled:
            self.loop_state.start_timer(call, call.deadline_ns)
        return 0

    cdef int send(self, Call call, bytes payload) except -1:
        cdef GrpcClient engine = self.engine()
        check_request(self, call, payload)
        if call.sent_metadata is not None:
            self._check_metadata(call)
        if call.flags & STREAM_IN and ((<ClientCall>call).args or (<ClientCall>call).kwargs):
            raise EncodeError(
                f"{call.route.method} takes a stream, and by gRPC nothing beside it",
                hint="send the other arguments as the first message, or as metadata",
            )
        if not (<ClientCall>call).is_probe:
            engine.life.call_begins(engine, call.flags & ONE_WAY)
        return engine.send_request(<ClientCall>call, payload)

    cdef int _check_metadata(self, Call call) except -1:
        """Raise EncodeError when the metadata cannot travel as fields, or its base64 is over the limit of the server."""
        cdef GrpcClient engine = self.engine()
        try:
            size = metadata_size(call.sent_metadata)
        except ValueError as error:
            raise EncodeError(f"{call.route.method}: {error}") from None
        if size + engine.heads.size_of(call.route) > <int64_t>engine.control.peer.header_list_bytes:
            raise EncodeError(
                f"the metadata of {call.route.method} is over the {engine.control.peer.header_list_bytes} bytes of fields "
                "that the server takes",
                status=Status.RESOURCE_EXHAUSTED,
                hint="each field counts name + value + 32, and bytes grow by a third as base64",
            )
        return 0

    cdef int abandon(self, Call call, int reason) except -1:
        cdef GrpcClient engine = self.engine()
        if self.loop_state is not None:
            self.loop_state.stop_timer(call)
        if not engine.is_closed:
            engine.now = now_ns()
            engine.give_up(<ClientCall>call)
        return 0

    # Its messages

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef GrpcClient engine = self.engine()
        cdef Http2Stream stream = engine.streams.find(<uint32_t>call.id)
        return 0 if stream is None else engine.send_message(stream, payload, IS_COMPRESSED if compressor else 0, False)

    cdef int send_end(self, Call call) except -1:
        cdef GrpcClient engine = self.engine()
        cdef Http2Stream stream = engine.streams.find(<uint32_t>call.id)
        if stream is not None:
            return engine.end_stream(stream)
        if call.unsent is not None:
            # The unsent piece waits for its stream, and ends the request with it.
            (<Outgoing>call.unsent).flags = FLAG_END_STREAM
        return 0

    cdef bint output_is_full(self, Call call) noexcept:
        # Without a stream it waits for one, or is over: its end ends the wait.
        cdef GrpcClient engine = self.engine()
        cdef Http2Stream stream = engine.streams.find(<uint32_t>call.id)
        return stream is None or engine.is_full(stream)

    cdef int await_turn(self, Call call) except -1:
        cdef GrpcClient engine = self.engine()
        cdef Http2Stream stream = engine.streams.find(<uint32_t>call.id)
        return 0 if stream is None else engine.await_turn(stream)

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        cdef GrpcClient engine = self.engine()
        cdef Http2Stream stream = engine.streams.find(<uint32_t>call.id)
        return 0 if stream is None else engine.take_messages(stream, cost)

    cdef int reader_waits(self, Call call) except -1:
        cdef GrpcClient engine = self.engine()
        cdef Http2Stream stream = engine.streams.find(<uint32_t>call.id)
        return 0 if stream is None else engine.let_grow(stream) + engine.grant_rest(stream, True)

    # The state of its request

    cdef bint was_written(self, Call call) noexcept:
        return call.handed_at != 0

    cdef bint was_handed(self, Call call) noexcept:
        return call.handed_at != 0 and call.handed_at <= self.engine().flushes

    cdef object error_of_end(self, Call call, bint handed, str why):
        cdef GrpcClient engine = self.engine()
        if why is None:
            return unstarted_error(self.endpoint, call)
        if engine.is_unreadable:
            return unreadable_error(self.endpoint, call, why)
        if engine.closed_code > CODE_NONE:
            return violation_error(self.endpoint, call, handed, why, REASON_PROTOCOL)
        return lost_error(self.endpoint, call, handed, why)


@cython.final
cdef class GrpcClient(AnsweredConnection):
    """The client's side of one connection that speaks gRPC."""

    def __init__(
        self, parts, *, str scheme not None, str authority not None, peer, double ping_interval, validity not None
    ):
        cdef GrpcCalls part = GrpcCalls.__new__(GrpcCalls)
        config = parts.config
        self.set_up(True, 0, min(config.limits.stream_window_bytes, HIGHEST_WINDOW), config.limits.metadata_bytes)
        self.lend(config.memory.stream_pool, config.limits.message_bytes)
        self.set_pings(ping_interval, config.keepalive.timeout, 0.0)
        self.message_bytes = config.limits.message_bytes
        self.left_out = []
        self.life = ClientLife(parts.owner, parts.timeouts, config.keepalive, config.early_calls)
        self.heads = RequestHeads(scheme, authority, f"fastrpc/{__version__}", parts.credential)
        self.waiting = PriorityQueue()
        open_idle_work(&self.resets)
        if parts.renews and parts.credential is not None:
            self.validity = validity
            self.valid_seconds = validity(parts.credential)
        part.owner = <PyObject*>self
        part.endpoint = parts.endpoint
        part.protocol = parts.protocol.name
        part.takes_values = parts.protocol.traits.takes_values
        part.loop_state = parts.loop_state
        part.most_bytes = config.limits._sent_bytes
        part.peer = peer
        self.calling = part

    def __dealloc__(self):
        # The collector may have cleared the field before.
        if self.calling is not None:
            (<GrpcCalls>self.calling).owner = NULL

    @property
    def endpoint(self):
        """The address it leads to."""
        return (<GrpcCalls>self.calling).endpoint

    @property
    def peer(self):
        """The limits of the server."""
        return (<GrpcCalls>self.calling).peer

    @property
    def is_ready(self):
        """Whether the server has answered the opening."""
        return bool(self.control.is_settled)

    @property
    def announces_calls(self):
        """Whether the owner is to be notified of the next call."""
        return bool(self.life.announces_calls)

    @announces_calls.setter
    def announces_calls(self, bint announces):
        self.life.announces_calls = announces

    @property
    def is_aged(self):
        """Whether it waits for its successor."""
        return bool(self.life.is_aged)

    @property
    def is_spent(self):
        """Whether its age or rest ended it."""
        return bool(self.life.is_spent)

    @property
    def is_dispensable(self):
        """Whether it ended as no call needed it."""
        return bool(self.life.is_dispensable)

    @property
    def auth_status(self):
        """The verdict about the credential, which each call gets for itself: the connection has no verdict."""
        return -1

    @property
    def auth_text(self):
        """The text of that verdict."""
        return None

    # Requests

    cdef int send_request(self, ClientCall call, bytes payload) except -1:
        """Open the stream of a call and send its request, or let it wait for a stream."""
        if (self.waiting.has_items() and self.control.is_settled) or not self._may_open(call):
            return self._wait(call, payload)
        return 0 if self._open_call(call, payload) else self._wait(call, payload)

    cdef bint _may_open(self, Call call) noexcept:
        """Return whether a call may leave, by the state of the opening."""
        return self.control.is_settled or self.life.takes_early(call.flags & IDEMPOTENT)

    cdef bint _open_call(self, ClientCall call, bytes payload) except -1:
        """Send a request on a new stream; False: no stream can be opened now."""
        cdef GrpcAnswer answer
        cdef Http2Stream stream
        cdef uint64_t left_ns = 0
        if call.deadline_ns != NO_DEADLINE:
            if call.deadline_ns <= self.now:
                # Its deadline has passed: the caller ends it, unsent.
                return True
            left_ns = call.deadline_ns - self.now
        stream = self.open_stream()
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
        self._write_head(stream, call, left_ns)
        if not call.flags & STREAM_IN:
            self.send_message(stream, payload, IS_COMPRESSED if call.compressor else 0, True)
        call.handed_at = self.flushes + 1
        return True

    cdef int _write_head(self, Http2Stream stream, ClientCall call, uint64_t left_ns) except -1:
        self.begin_head(stream)
        self.put_template(self.heads.head_of(call.route, call.sent_metadata))
        if left_ns:
            self.put_field(TOKEN_GRPC_TIMEOUT, TIMEOUT, timeout_field(<int64_t>min(left_ns, <uint64_t>LONGEST_TIMEOUT)))
        if call.compressor:
            self.put_field(TOKEN_GRPC_ENCODING, ENCODING, encoding_name(call.compressor))
        elif call.options is not None and call.options.compressor is not None:
            self._declare(call.options.compressor)
        if call.attempt_number:
            self.put_field(TOKEN_GRPC_PREVIOUS_ATTEMPTS, PREVIOUS_ATTEMPTS, b"%d" % call.attempt_number)
        if call.sent_metadata is not None:
            put_metadata(self.sender.encoder, self.sender.out, call.sent_metadata)
        return self.end_head(stream, False)

    cdef int _declare(self, object compressor) except -1:
        """Declare the compressor of a call whose request is too short for it: the answer may be longer."""
        cdef int number = (<GrpcCalls>self.calling).peer.compressor_number(compressor.wire_id, compressor.name)
        if number > 0:
            self.put_field(TOKEN_GRPC_ENCODING, ENCODING, encoding_name(number))
        return 0

    # Calls that wait for a stream

    cdef int _wait(self, ClientCall call, bytes payload) except -1:
        cdef Outgoing item = new_item(call, REQUEST, payload)
        item.last = item
        item.queued_ns = self.now
        call.unsent = item
        self.waiting.of(call.priority).append(item)
        if not self.control.is_settled:
            return 0
        # One waiting call is a crowd already: the server takes no further stream.
        if self.life.owner is None:
            (<GrpcCalls>self.calling).peer.workers = MOST_CONNECTIONS
        elif self.life.is_crowd(self.life.crowd):
            (<GrpcCalls>self.calling).loop_state.call_soon(self.tell_crowd)
        return 0

    cdef int _release(self) except -1:
        """Start waiting calls by priority, then by arrival, as far as there are streams."""
        cdef Outgoing item
        cdef ClientCall call
        if self.is_releasing or not self.control.is_settled:
            # A call that ended at once: the loop that started it goes on anyhow.
            return 0
        self.is_releasing = True
        try:
            while self.waiting.has_items() and not self.is_closed:
                item = self._next_waiting()
                if item is None or not self._open_call(<ClientCall>item.call, item.payload):
                    break
                client_waits.counted(self.now - min(self.now, item.queued_ns))
                self.waiting.first().popleft()
                call = <ClientCall>item.call
                let_go(item)
                if item.flags & FLAG_END_STREAM:
                    (<GrpcCalls>self.calling).send_end(call)
                elif call.flags & STREAM_IN:
                    # Its sender waits, and had no stream to wait at.
                    call.may_send()
        finally:
            self.is_releasing = False
        return 0

    cdef Outgoing _next_waiting(self):
        """Return the next call that waits, which stays in its queue, or None."""
        cdef Outgoing item
        while self.waiting.has_items():
            item = <Outgoing>self.waiting.first()[0]
            if not item.is_dropped:
                return item
            self.waiting.first().popleft()
            self.dropped -= 1
        return None

    cdef int give_up(self, ClientCall call) except -1:
        """Stop a call: it is never sent if it waits, else its stream is reset."""
        cdef Http2Stream stream
        if call.state == STATE_GONE:
            return 0
        self.call_over(call)
        if call.unsent is not None:
            let_go(<Outgoing>call.unsent)
            self.dropped += 1
            if self.dropped > FEW_DROPPED:
                forget_dropped(tuple(self.waiting.queues()), &self.dropped)
        stream = self.streams.find(<uint32_t>call.id) if call.id else None
        if stream is not None:
            (<GrpcAnswer>stream.user).call = None
            if not spend(&self.resets, 1, self.now) and stream.is_ended_by_us:
                # A server would take more of them for a flood. The call may go on, and its answer is dropped.
                return 0
            self.reset(stream, CODE_CANCEL)
        return self._close_when_idle()

    cdef int call_over(self, ClientCall call) except -1:
        """A call is over here: it may be used again, and its deadline is not watched."""
        cdef LoopState loop_state = (<GrpcCalls>self.calling).loop_state
        if loop_state is not None:
            loop_state.stop_timer(call)
        if call.state != STATE_GONE:
            call.state = STATE_GONE
            if not call.is_probe and not call.flags & ONE_WAY:
                self.life.call_ended(self)
        return 0

    cdef int on_over(self, Http2Stream stream) except -1:
        stream.user = None
        if self.waiting.has_items():
            self._release()
        return self._close_when_idle()

    # The connection

    cdef int on_settings(self) except -1:
        cdef GrpcCalls part = <GrpcCalls>self.calling
        if not part.is_settled:
            part.is_settled = True
            if self._stream is not NULL:
                (<ByteStream>self._stream).engine_ready()
            if self.life.owner is not None:
                self.life.owner.connection_ready(self)
            if self.valid_seconds > 0:
                self.life.credential_expires(self, self.valid_seconds)
        return self._release()

    cdef int on_unauthenticated(self) except -1:
        return 0 if self.validity is None else self.life.credential_refused(self)

    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1:
        cdef Http2Stream stream
        cdef ClientCall call
        (<GrpcCalls>self.calling).peer_leaves = True
        self.peer_replaces = code == CODE_NONE
        if code != CODE_NONE:
            self.goaway_text = f"the server ended it with code {code}: {debug.decode('utf-8', 'replace')!r:.200}"
        if code == CODE_CALM_DOWN and debug == TOO_MANY_PINGS:
            self.wants_fewer_pings = True
            logger.warning("%s: %s", self.endpoint, PINGS_TEXT)
        # First: calls that fail now may be made again, elsewhere. It is not closed before.
        self.life.retire(self, 1)
        for stream in not_taken:
            call = (<GrpcAnswer>stream.user).call
            stream.user = None
            if call is not None:
                self._fail(call, (<GrpcCalls>self.calling).error_of_end(call, False, None))
        self._fail_waiting(None)
        return self._close_when_idle()

    cdef int _fail(self, ClientCall call, object error) except -1:
        self.call_over(call)
        self.woke = True
        return call.failed(error)

    cdef int _fail_waiting(self, str why) except -1:
        """Fail the calls that wait for a stream: the server has seen nothing of them."""
        cdef Outgoing item
        cdef ClientCall call
        while self.waiting.has_items():
            item = <Outgoing>self.waiting.first().popleft()
            if not item.is_dropped:
                call = <ClientCall>item.call
                let_go(item)
                self._fail(call, (<GrpcCalls>self.calling).error_of_end(call, False, why))
        self.dropped = 0
        return 0

    cdef int _fail_all(self, str why, bint leaves) except -1:
        """Fail all calls; `leaves` says whether written output still leaves."""
        cdef GrpcCalls part = <GrpcCalls>self.calling
        cdef Http2Stream stream
        cdef ClientCall call
        self._fail_waiting(why)
        for stream in self.streams.entries():
            call = None if stream.user is None else (<GrpcAnswer>stream.user).call
            if call is not None:
                (<GrpcAnswer>stream.user).call = None
                self._fail(call, part.error_of_end(call, part.was_written(call) if leaves else part.was_handed(call), why))
        return 0

    cdef int _close_when_idle(self) except -1:
        return self.life.close_when_idle(self, self._in_flight())

    cdef inline Py_ssize_t _in_flight(self) noexcept:
        return self.streams.count_open() + (1 if self.waiting.has_items() else 0)

    cdef int on_violation(self, int code, str text) except -1:
        self.is_unreadable = not self.control.is_settled
        return 0

    cdef int on_closed(self) except -1:
        if self.is_unreadable:
            self.closed_text = f"the server does not speak HTTP/2 ({self.closed_text})"
        self.life.refuse_calls(self)
        return self._fail_all(self.closed_text or self.goaway_text or "it was closed", True)

    cdef int connected(self) except -1:
        self.life.begin(self)
        self.received_ns = self.now
        self.open(True)
        if self._stream is not NULL:
            (<ByteStream>self._stream).schedule_check(self.check(self.now))
        return 0

    cdef int eof(self) except -1:
        return self.life.refuse_calls(self)

    cdef int lost(self, object error) except -1:
        cdef str why = self.closed_text or self.goaway_text
        self.life.refuse_calls(self)
        self._fail_all(why or (str(error) if error is not None else "the server closed it"), False)
        AnsweredConnection.lost(self, error)
        if self.life.owner is not None:
            self.life.owner.connection_lost(self, error)
        return 0

    cdef int left_behind(self) except -1:
        self.is_usable = False
        return 0

    cdef int flushed(self) except -1:
        if self.sender.size() == 0:
            self.flushes += 1
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = self.life.check(self, now, self.control.is_settled, self._in_flight())
        return earlier(due, self.check_http2(now))

    # For the client

    @property
    def calls_in_flight(self):
        """The number of calls under way, waiting calls included."""
        return self.streams.count_open() + len(self.waiting) - self.dropped

    def await_crowd(self, Py_ssize_t calls):
        """Notify the owner, once, when a call finds all streams of the server in use; 0: never."""
        self.life.crowd = calls

    def tell_crowd(self):
        """Notify the owner of a crowd."""
        if not self.is_closed:
            self.life.owner.connection_crowded(self)

    def begin_probe(self, ClientCall call not None):
        """Note that a call only asks for health: it does not count as use of the connection."""
        call.is_probe = True

    def end_probe(self, ClientCall call not None):
        """Note that such a call ended, or was not sent."""

    def present(self, bytes token not None):
        """Show the server another token with each further call."""
        cdef double seconds
        self.heads.present(token)
        seconds = 0.0 if self.validity is None else self.validity(token)
        if seconds > 0:
            self.now = now_ns()
            self.life.credential_expires(self, seconds)

    def retire(self):
        """Take no new calls, and close once those under way have ended."""
        self.life.retire(self, self._in_flight())

    def close(self, reason=0, str text=""):
        """Close once all output is sent; calls under way fail."""
        if not self.is_closed:
            self.now = now_ns()
            self.close_with(CODE_NONE, text)

    def stats(self):
        """Return the state of this connection as plain data."""
        return {
            "calls": self.streams.count_open(),
            "waiting": len(self.waiting) - self.dropped,
            "buffered": self.unsent_bytes(),
            "credit": self.control.flow.sending,
        }
