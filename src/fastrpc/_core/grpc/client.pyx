"""The client's side of gRPC: the engine of one HTTP/2 connection, and the client's calls on it.

::

    byte stream ──► GrpcClient ──► Http2Connection ──► AskingConnection ──► answers ──► ClientCall
    ClientCall ──► GrpcCalls ──► AskingConnection ──► Http2Connection ──► the output of the engine

The engine serves clients on event loops and in threads; `ClientLife` has the difference.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, Call
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.call_errors cimport (
    check_request, lost_error, unreadable_error, unstarted_error, violation_error,
)
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.grpc.asking_connection cimport AskingConnection
from fastrpc._core.grpc.fields cimport IS_COMPRESSED, metadata_size
from fastrpc._core.http2.connection cimport Http2Connection
from fastrpc._core.http2.frames cimport CODE_NONE, FLAG_END_STREAM
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.io.engine cimport ByteStream, Engine
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.wire.frame cimport ONE_WAY, REASON_PROTOCOL, STREAM_IN

from fastrpc.errors import EncodeError
from fastrpc.status import Status


@cython.final
cdef class GrpcClient(Engine):
    """The client's side of one connection that speaks gRPC."""

    cdef:
        # The HTTP/2 connection; its handler, which has the calls.
        readonly Http2Connection http2
        AskingConnection asking

    def __init__(
        self, parts, *, str scheme not None, str authority not None, peer, double ping_interval, validity not None
    ):
        cdef GrpcCalls part = GrpcCalls.__new__(GrpcCalls)
        self.asking = AskingConnection(
            parts, part, scheme=scheme, authority=authority, ping_interval=ping_interval, validity=validity
        )
        self.http2 = self.asking.http2
        self.http2.join(self)
        self.reads_to_end = True
        part.owner = <PyObject*>self
        part.endpoint = parts.endpoint
        part.protocol = parts.protocol.name
        part.takes_values = parts.protocol.traits.takes_values
        part.loop_state = parts.loop_state
        part.most_bytes = parts.config.limits._sent_bytes
        part.peer = peer
        self.calling = part

    def __dealloc__(self):
        # The garbage collector may have cleared the field already.
        if self.calling is not None:
            (<GrpcCalls>self.calling).owner = NULL

    @property
    def endpoint(self):
        """The address of the server."""
        return (<GrpcCalls>self.calling).endpoint

    @property
    def peer(self):
        """The limits of the server."""
        return (<GrpcCalls>self.calling).peer

    @property
    def is_ready(self):
        """Whether the server has answered the opening."""
        return bool(self.http2.control.is_settled)

    @property
    def life(self):
        """The rules of its opening, age and rest."""
        return self.asking.life

    @property
    def auth_status(self):
        """The verdict on the connection's credential: always -1, as each call gets a separate verdict."""
        return -1

    @property
    def auth_text(self):
        """The text of the verdict on the connection's credential."""
        return None

    @property
    def closed_text(self):
        """Why this side ended the connection, or None."""
        return self.http2.closed_text

    @property
    def peer_replaces(self):
        """Whether the server shuts down without an error, so that another replaces it."""
        return bool(self.asking.peer_replaces)

    @property
    def wants_fewer_pings(self):
        """Whether the server closed the connection because of too many pings."""
        return bool(self.asking.wants_fewer_pings)

    # Bytes in

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        return self.http2.take(data, size)

    cdef char* body_place(self, Py_ssize_t* room) except? NULL:
        return NULL if self.http2.incoming.data_stream is None else self.http2.place(room)

    cdef int body_received(self, Py_ssize_t size) except -1:
        return self.http2.placed(size)

    cdef object body_owner(self):
        return self.http2.incoming.sink

    cdef bint completes_body(self, Py_ssize_t size) noexcept:
        return self.http2.completes(size)

    cdef int was_late(self, uint64_t late) except -1:
        return self.http2.forgive(late)

    # Bytes out

    cdef int pump(self) except -1:
        # There is nothing to do unless messages wait for a window or for their turn.
        return self.http2.pump() if self.http2.sender.is_waiting() else 0

    cdef int rest(self) noexcept:
        return self.http2.rest()

    cdef int turn_over(self) except -1:
        return self.http2.turn_over()

    cdef int flushed(self) except -1:
        if self.http2.sender.size() == 0:
            self.asking.flushes += 1
        return 0

    # The connection

    cdef int connected(self) except -1:
        self.asking.life.begin(self)
        self.received_ns = self.now
        self.http2.open(True)
        if self._stream is not NULL:
            (<ByteStream>self._stream).schedule_check(self.check(self.now))
        return 0

    cdef int eof(self) except -1:
        return self.asking.life.refuse_calls(self)

    cdef int lost(self, object error) except -1:
        cdef str why = self.http2.closed_text or self.asking.goaway_text
        # Set first, so that the code that ends the calls writes nothing more.
        self.http2.is_closed = True
        self.asking.life.refuse_calls(self)
        self.asking.fail_all(why or (str(error) if error is not None else "the server closed it"), False)
        self.is_closed = True
        self.http2.lost()
        if self.asking.life.owner is not None:
            self.asking.life.owner.connection_lost(self, error)
        return 0

    cdef int left_behind(self) except -1:
        self.http2.is_closed = True
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = self.asking.life.check(self, now, self.http2.control.is_settled)
        return earlier(due, self.http2.check_http2(now))

    # For the client

    @property
    def calls_in_flight(self):
        """The number of calls in progress, including calls that wait for a stream."""
        return self.http2.streams.count_open() + len(self.asking.waiting) - self.asking.dropped

    def await_crowd(self, Py_ssize_t calls):
        """Notify the owner, once, when a call has to wait for a stream; with 0 `calls`, never."""
        self.asking.life.crowd = calls

    def tell_crowd(self):
        """Notify the owner that calls wait for a stream."""
        if not self.is_closed:
            self.asking.life.owner.connection_crowded(self)

    def begin_probe(self, ClientCall call not None):
        """Mark a call as a health check, which does not count as use of the connection."""
        call.is_probe = True

    def end_probe(self, ClientCall call not None):
        """Note that a health check ended, or was not sent."""

    def present(self, bytes token not None):
        """Send another token with each further call."""
        cdef double seconds
        self.asking.heads.present(token)
        seconds = 0.0 if self.asking.validity is None else self.asking.validity(token)
        if seconds > 0:
            self.now = now_ns()
            self.asking.life.credential_expires(self, seconds)

    def retire(self):
        """Accept no new calls, and close once the calls in progress have ended."""
        self.asking.life.retire(self, self.asking.in_flight())

    def close(self, reason=0, str text=""):
        """Close once all output is sent; calls in progress fail."""
        if not self.is_closed:
            self.now = now_ns()
            self.http2.close_with(CODE_NONE, text)

    def stats(self):
        """Return the state of this connection as plain data."""
        return {
            "calls": self.http2.streams.count_open(),
            "waiting": len(self.asking.waiting) - self.asking.dropped,
            "buffered": self.http2.unsent_bytes(),
            "credit": self.http2.control.flow.sending,
        }


@cython.final
cdef class GrpcCalls(CallingPart):
    """The client's calls on a connection that speaks gRPC."""

    cdef inline GrpcClient engine(self):
        # The pointer is valid: the caller is the engine, or a call that holds it.
        return <GrpcClient>self.owner

    cdef inline Http2Connection http2(self):
        return (<GrpcClient>self.owner).http2

    cdef inline Http2Stream stream_of(self, Call call):
        """Return the stream of a call, or None if the call waits for a stream or is over."""
        return self.http2().streams.find(<uint32_t>call.id)

    cdef bint takes_call(self, uint64_t now, uint64_t rested_ns) except -1:
        cdef GrpcClient engine = self.engine()
        return engine.asking.life.takes_thread(engine, now, rested_ns)

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
                f"{call.route.method} takes a stream, and over gRPC no other argument",
                hint="send the other arguments as the first message, or as metadata",
            )
        if not (<ClientCall>call).is_probe:
            engine.asking.life.call_begins(engine, call.flags & ONE_WAY)
        return engine.asking.send_request(<ClientCall>call, payload)

    cdef int _check_metadata(self, Call call) except -1:
        """Raise EncodeError if the metadata cannot be sent as header fields, or exceeds the server's limit."""
        cdef GrpcClient engine = self.engine()
        cdef uint32_t most = engine.http2.control.peer.header_list_bytes
        try:
            size = metadata_size(call.sent_metadata)
        except ValueError as error:
            raise EncodeError(f"{call.route.method}: {error}") from None
        if size + engine.asking.heads.size_of(call.route) > <int64_t>most:
            raise EncodeError(
                f"the metadata of {call.route.method} exceeds the {most} bytes of header fields "
                "that the server accepts",
                status=Status.RESOURCE_EXHAUSTED,
                hint="each field counts name + value + 32 bytes; values of type bytes are sent as base64, a third longer",
            )
        return 0

    cdef int abandon(self, Call call, int reason) except -1:
        cdef GrpcClient engine = self.engine()
        if self.loop_state is not None:
            self.loop_state.stop_timer(call)
        if not engine.is_closed:
            engine.now = now_ns()
            engine.asking.give_up(<ClientCall>call)
        return 0

    # Its messages

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef Http2Stream stream = self.stream_of(call)
        return 0 if stream is None else self.http2().send_message(stream, payload, IS_COMPRESSED if compressor else 0, False)

    cdef int send_end(self, Call call) except -1:
        cdef Http2Stream stream = self.stream_of(call)
        if stream is not None:
            return self.http2().end_stream(stream)
        if call.unsent is not None:
            # The request still waits for a stream. The flag makes `_release` end the request once it has one.
            (<Outgoing>call.unsent).flags = FLAG_END_STREAM
        return 0

    cdef bint output_is_full(self, Call call) noexcept:
        # Without a stream the output counts as full: the call waits for a stream, or is over and its end ends the wait.
        cdef Http2Stream stream = self.stream_of(call)
        return stream is None or self.http2().is_full(stream)

    cdef int await_turn(self, Call call) except -1:
        cdef Http2Stream stream = self.stream_of(call)
        return 0 if stream is None else self.http2().await_turn(stream)

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        cdef Http2Stream stream = self.stream_of(call)
        return 0 if stream is None else self.http2().took_messages(stream, cost)

    cdef int reader_waits(self, Call call) except -1:
        cdef Http2Stream stream = self.stream_of(call)
        return 0 if stream is None else self.http2().let_grow(stream) + self.engine().asking.grant_rest(stream, True)

    # The state of its request

    cdef bint was_written(self, Call call) noexcept:
        return call.handed_at != 0

    cdef bint was_handed(self, Call call) noexcept:
        return call.handed_at != 0 and call.handed_at <= self.engine().asking.flushes

    cdef object error_of_end(self, Call call, bint handed, str why):
        cdef GrpcClient engine = self.engine()
        if why is None:
            return unstarted_error(self.endpoint, call)
        if engine.asking.is_unreadable:
            return unreadable_error(self.endpoint, call, why)
        if engine.http2.closed_code > CODE_NONE:
            return violation_error(self.endpoint, call, handed, why, REASON_PROTOCOL)
        return lost_error(self.endpoint, call, handed, why)
