"""The served calls of one connection that speaks gRPC: from their outcomes to heads, messages and trailers.

::

    answer, message ──► head, once ──► message        success ──► grpc-status 0
    send_metadata ──► head                            failure ──► grpc-status, grpc-message, details; without a head before
                                                                  them they are the head and the end in one

Trailers of a call whose caller may still send end the whole stream: RST_STREAM with NO_ERROR follows them by itself.
"""

from copy import copy

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, INTERNAL, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED
from fastrpc._core.calls.call cimport STATE_GONE, Call
from fastrpc._core.grpc.details cimport encode_details
from fastrpc._core.grpc.fields cimport binary_field, message_field, metadata_fields, metadata_size, put_metadata
from fastrpc._core.grpc.grpc_call cimport (
    ENCODING_IDENTITY,
    FAULT_FORM,
    FAULT_NONE,
    GrpcHead,
    encoding_name,
    fault_status,
    fault_text,
)
from fastrpc._core.grpc.requests cimport let_in
from fastrpc._core.http2.connection cimport MESSAGE_COMPRESSED
from fastrpc._core.http2.frames cimport CODE_CANCEL
from fastrpc._core.http2.header_block cimport (
    TOKEN_CONTENT_TYPE,
    TOKEN_GRPC_ACCEPT_ENCODING,
    TOKEN_GRPC_ENCODING,
    TOKEN_GRPC_MESSAGE,
    TOKEN_GRPC_PUSHBACK,
    TOKEN_GRPC_STATUS,
    TOKEN_GRPC_STATUS_DETAILS,
    TOKEN_OTHER,
    TOKEN_OUTCOME,
    TOKEN_STATUS,
)
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport HOLD_DRAIN
from fastrpc._core.wire.frame cimport OUTCOME_NOT_STARTED, PUSHBACK_NEVER, STREAM_IN, STREAM_OUT

from fastrpc.errors import CallError
from fastrpc.status import Status

cdef enum:
    # The most bytes of grpc-message: peers take 8 KiB for all fields.
    LONGEST_TEXT = 4_096

cdef tuple NUMBERS = tuple([b"%d" % number for number in range(17)])
cdef bytes NOT_STARTED = b"%d" % OUTCOME_NOT_STARTED


cpdef list failure_fields(Failure failure, list sent):
    cdef list fields = [
        (TOKEN_GRPC_STATUS, b"grpc-status", NUMBERS[failure.status]),
        (TOKEN_GRPC_MESSAGE, b"grpc-message", short_message(failure.text)),
    ]
    if failure.details and TOKEN_GRPC_STATUS_DETAILS not in [field[0] for field in sent]:
        fields.append((TOKEN_GRPC_STATUS_DETAILS, b"grpc-status-details-bin", binary_field(failure.details)))
    if failure.pushback_ms:
        pause = b"-1" if failure.pushback_ms == PUSHBACK_NEVER else b"%d" % failure.pushback_ms
        fields.append((TOKEN_GRPC_PUSHBACK, b"grpc-retry-pushback-ms", pause))
    if not failure.has_run:
        fields.append((TOKEN_OUTCOME, b"frpc-outcome", NOT_STARTED))
    return fields


@cython.final
cdef class GrpcServedConnection(EngineServedConnection):
    """The served calls of one connection that speaks gRPC."""

    def __init__(self, gate not None, str protocol not None):
        EngineServedConnection.__init__(self, gate, protocol)
        self.has_trailers = self.has_marshals = True
        self.peers = {}
        self.head_fields = HeaderTemplate(((b":status", b"200"), (b"content-type", b"application/grpc")))
        self.success_fields = HeaderTemplate(((b"grpc-status", b"0"),))

    cdef GrpcRequests owner(self, GrpcCall call):
        """Return the connection if the stream of a call is open there, else None; output is sent at its instant."""
        cdef GrpcRequests engine
        if self._engine is NULL or self.is_closed or call.http2_stream is None:
            return None
        engine = <GrpcRequests>self._engine
        if self.now > engine.now:
            engine.now = self.now
        return engine

    cdef Marshal marshal_of(self, Call call):
        """Return the marshal of the method's messages, or of their JSON."""
        cdef MethodRoute route = call.route
        if route is self.last_route and call.codec == self.last_codec:
            return self.last_marshal
        if route.marshals is None:
            route.marshals = {}
        # The codecs of these numbers have other payloads in other protocols.
        key = -1 - call.codec
        marshal = route.marshals.get(key)
        if marshal is None:
            marshal = route.marshals[key] = self.gate.dispatcher.message_marshal_of(route, call.codec == CODEC_JSON)
        self.last_route, self.last_codec, self.last_marshal = route, call.codec, marshal
        return self.last_marshal

    # The head of an answer

    cdef int _put_head(self, GrpcRequests engine, GrpcCall call, int compressor, bytes metadata) except -1:
        call.has_begun = True
        engine.begin_head(call.http2_stream)
        engine.put_template(self._head_of(call))
        if compressor:
            call.announced = <unsigned char>compressor
            engine.put_field(TOKEN_GRPC_ENCODING, b"grpc-encoding", encoding_name(compressor))
        if metadata is not None:
            put_metadata(engine.sender.encoder, engine.sender.out, metadata)
        return 0

    cdef HeaderTemplate _head_of(self, GrpcCall call):
        """Return the fields of a head, with the type of the request."""
        if call.codec != CODEC_JSON:
            return self.head_fields
        if self.json_head_fields is None:
            self.json_head_fields = HeaderTemplate(
                ((b":status", b"200"), (b"content-type", b"application/grpc+json"))
            )
        return self.json_head_fields

    cdef int _begin(self, GrpcRequests engine, GrpcCall call, int compressor, bytes metadata) except -1:
        let_in(engine, call)
        if call.web is not None:
            return self._begin_web(engine, call, compressor, metadata)
        self._put_head(engine, call, compressor, metadata)
        return engine.end_head(call.http2_stream, False)

    cdef int send_head(self, Call call, bytes metadata) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        if engine is None or served.has_begun:
            return 0
        return self._begin(engine, served, self._compressor_of(served), metadata)

    def _compressor_of(self, GrpcCall call not None):
        """Return the compressor of later messages: the request's, if the answer may have it."""
        cdef int number = call.compressor or (<GrpcHead>call.head).compressor
        compressor = self.gate.compressors.get(number)
        return 0 if compressor is None else self.taken_compressor(call, number, compressor)

    # The end of a call

    cdef int do_answer(self, Call call, bytes payload) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        cdef Http2Stream stream
        if engine is None:
            return 0
        stream = served.http2_stream
        let_in(engine, served)
        if served.web is not None:
            engine.note_answered()
            self._end_web(engine, served, None if call.route.gives_stream else payload, None)
            return self.flush_early(engine)
        if not call.route.gives_stream:
            if not served.has_begun:
                self._begin(engine, served, call.compressor, None)
            engine.send_message(stream, payload, MESSAGE_COMPRESSED if call.compressor else 0, False)
        if served.has_begun:
            fields = None if call.sent_metadata is None else metadata_fields(call.sent_metadata)
            engine.send_trailers(stream, self.success_fields, fields)
        else:
            self._put_head(engine, served, 0, call.sent_metadata)
            engine.put_template(self.success_fields)
            engine.end_head(stream, True)
        engine.note_answered()
        self._ended(engine, served, PyBytes_GET_SIZE(payload))
        return self.flush_early(engine)

    cdef int do_fail(self, Call call, Failure failure) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        if engine is None:
            return 0
        if failure.status == DEADLINE_EXCEEDED and served.http2_stream.unsent is not None:
            # Trailers would wait behind a message that has begun.
            engine.note_answered()
            call.state = STATE_GONE
            return engine.reset(served.http2_stream, CODE_CANCEL)
        engine.note_answered()
        return self.end_with(served, failure, None)

    cdef bint is_unanswered(self, Call call) except -1:
        return call.state != STATE_GONE

    cdef int do_refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        cdef uint32_t pushback_ms = served.pushback_ms
        cdef list further = None
        if served.charge and served.waiting_payload is None and not served.is_held:
            (<Gate>self.gate).memory.charge(served, 0)
        if engine is None:
            return 0
        if served.fault != FAULT_NONE and served.fault != FAULT_FORM and status == INVALID_ARGUMENT:
            status, text = fault_status(served.fault), fault_text(served, (<Gate>self.gate).message_bytes)
            is_faulty = True
        if is_faulty and status == RESOURCE_EXHAUSTED:
            # Otherwise the same call would seem to succeed a little later.
            pushback_ms = PUSHBACK_NEVER
        if status == UNIMPLEMENTED and (<GrpcHead>served.head).encoding is not None:
            further = [(TOKEN_GRPC_ACCEPT_ENCODING, b"grpc-accept-encoding", self.encodings())]
        if status == DEADLINE_EXCEEDED or not is_faulty:
            # Honest callers cause them as well, so they are in no budget.
            engine.note_unanswered()
        if served.web is not None:
            self._answer_web(engine, served, served.web.refuse(served, status, text, is_faulty))
        else:
            self.end_with(served, Failure(status, text, pushback_ms=pushback_ms, has_run=False), further)
        if is_faulty and self._engine is not NULL:
            engine.note_idle_work()
        return 0

    cdef int end_with(self, GrpcCall call, Failure failure, list further) except -1:
        """End a call with a failure, and with further fields."""
        cdef GrpcRequests engine = self.owner(call)
        cdef Http2Stream stream
        cdef list fields, sent
        if engine is None:
            return 0
        if call.web is not None:
            return self._end_web(engine, call, None, failure)
        stream = call.http2_stream
        sent = [] if call.sent_metadata is None else metadata_fields(call.sent_metadata)
        fields = failure_fields(failure, sent)
        if further is not None:
            fields += further
        fields += sent
        if call.has_begun:
            engine.send_trailers(stream, None, fields)
        else:
            engine.send_head(stream, self._head_of(call), fields, True)
            call.has_begun = True
        return self._ended(engine, call, 0)

    cdef int _ended(self, GrpcRequests engine, GrpcCall call, Py_ssize_t size) except -1:
        """All of an answer was given to the connection."""
        call.state = STATE_GONE
        if call.http2_stream is not None and call.http2_stream.unsent is not None:
            call.waiting_bytes = size
            engine.waiting_bytes += size
        if <int64_t>engine.output.size() + engine.sender.queued_bytes > (<Gate>self.gate).send_soft:
            return self.weigh_answer()
        return 0

    cdef int answer_by_http(self, GrpcCall call, int status, str text) except -1:
        """Refuse a request that is no call of gRPC, by a status of HTTP and a text."""
        cdef GrpcRequests engine = self.owner(call)
        cdef Http2Stream stream
        if engine is None:
            return 0
        if call.web is not None:
            return self._answer_web(engine, call, call.web.refusal)
        stream = call.http2_stream
        call.has_begun = True
        fields = [
            (TOKEN_STATUS, b":status", b"%d" % status),
            (TOKEN_CONTENT_TYPE, b"content-type", b"text/plain; charset=utf-8"),
        ]
        if status == 405:
            fields.append((TOKEN_OTHER, b"allow", b"POST"))
        engine.send_head(stream, None, fields, (<GrpcHead>call.head).is_head)
        if not (<GrpcHead>call.head).is_head:
            engine.send_data(stream, text.encode() + b"\n", True)
        return self._ended(engine, call, 0)

    # Answers by gRPC-Web and Connect

    cdef int _begin_web(self, GrpcRequests engine, GrpcCall call, int compressor, bytes metadata) except -1:
        """Send the head of an answer, unless it leaves with the whole of it."""
        cdef list fields = call.web.head_fields(call, metadata, compressor)
        if fields is None:
            return 0
        call.has_begun = True
        return engine.send_head(call.http2_stream, None, fields, False)

    cdef int _end_web(self, GrpcRequests engine, GrpcCall call, bytes payload, Failure failure) except -1:
        """End a call with its answer, which the rest of a stream may be, or with a failure."""
        cdef bytes part
        if not call.has_begun:
            return self._answer_web(engine, call, call.web.answer(call, payload, failure))
        part = call.web.end(call, payload, failure)
        engine.send_data(call.http2_stream, part, True)
        return self._ended(engine, call, 0 if call.flags & STREAM_OUT else PyBytes_GET_SIZE(part))

    cdef int _answer_web(self, GrpcRequests engine, GrpcCall call, tuple answer) except -1:
        """Send a whole answer: its fields and its content."""
        cdef Http2Stream stream = call.http2_stream
        cdef list fields = answer[0]
        cdef bytes content = b"" if (<GrpcHead>call.head).is_head else answer[1]
        call.has_begun = True
        engine.send_head(stream, None, fields, not content)
        if content:
            engine.send_data(stream, content, True)
        return self._ended(engine, call, PyBytes_GET_SIZE(content))

    cdef str protocol_of(self, Call call):
        return self.protocol if (<GrpcCall>call).web is None else (<GrpcCall>call).web.protocol

    def peer_of(self, GrpcCall call not None):
        """Return the other side of a call, with the protocol of that call."""
        if call.web is None:
            return self.peer_info
        protocol = call.web.protocol
        peer = self.peers.get(protocol)
        if peer is None and self.peer_info is not None:
            peer = self.peers[protocol] = copy(self.peer_info)
            peer.protocol = protocol
        return peer

    cdef int do_hold(self, Call call) except -1:
        # Its stream has it.
        return 0

    cdef int do_release(self, Call call) except -1:
        return 0

    cdef list streams_under_way(self):
        cdef ServerCall call
        calls = [*(self.held or ()), *(self.queue or ())]
        return [call for call in calls if call.flags & (STREAM_IN | STREAM_OUT)]

    # Messages

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        if engine is None:
            return 0
        if not served.has_begun:
            self._begin(engine, served, compressor or self._compressor_of(served), None)
        if served.web is not None:
            engine.send_data(served.http2_stream, served.web.message(payload, compressor), False)
        else:
            engine.send_message(served.http2_stream, payload, MESSAGE_COMPRESSED if compressor else 0, False)
        # The message waits for a window: nothing may be flushed, so the output is weighed here.
        return self.weigh_answer() if served.http2_stream.unsent is not None else 0

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        return 0 if engine is None else engine.message_taken(served, cost)

    cdef int reader_waits(self, Call call) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        return 0 if engine is None else engine.reader_waits(served)

    cdef int reader_left(self, Call call) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        return 0 if engine is None else engine.reader_left(served)

    cdef bint output_is_full(self, Call call) noexcept:
        cdef Http2Stream stream = (<GrpcCall>call).http2_stream
        return self._engine is not NULL and stream is not None and (<GrpcRequests>self._engine).is_full(stream)

    cdef int await_turn(self, Call call) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef GrpcRequests engine = self.owner(served)
        return 0 if engine is None else engine.await_turn(served.http2_stream)

    # The limits of the peer

    cdef uint32_t most_metadata(self) noexcept:
        return self.max_metadata if self._engine is NULL else (<GrpcRequests>self._engine).control.peer.header_list_bytes

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        if (<GrpcCall>call).web is not None:
            (<GrpcCall>call).web.form.check_sent(call.route.method, metadata)
            return 0
        try:
            metadata_size(metadata, True)
        except ValueError as error:
            raise CallError(Status.INTERNAL, f"{call.route.method}: {error}") from None
        return 0

    cdef int taken_compressor(self, Call call, int number, object compressor) except -1:
        cdef GrpcCall served = <GrpcCall>call
        if encoding_name(number) is None or number == ENCODING_IDENTITY:
            return 0
        if served.web is not None:
            return number if served.web.form.takes(number) else 0
        if served.has_begun:
            return number if served.announced == number else 0
        return number if (<GrpcHead>served.head).accepted & (1 << number) else 0

    def encodings(self):
        """Return the names of the compressors that requests may have."""
        names = [encoding_name(number) for number in self.gate.compressors]
        return b",".join([b"identity", *[name for name in names if name is not None]])

    def unknown_compressor(self, GrpcCall call not None):
        """Return the error text for an unknown compressor."""
        if call.web is not None:
            return call.web.form.unknown_compressor()
        known = self.encodings().decode()
        return f"grpc-encoding is {(<GrpcHead>call.head).encoding or 'identity'}, only {known} are taken here"

    def corrupt_status(self, GrpcCall call not None):
        """Return the status for a request, or a message of its stream, that cannot be decompressed."""
        return INTERNAL if call.web is None else call.web.form.corrupt_status

    def note_answer(self, GrpcCall call not None, int status, dict fields, compress):
        """Keep the fields of an answer by Connect that caches may store."""
        if call.web is not None:
            call.web.note_answer(fields)

    def unknown_method(self, call, str method not None, services):
        """Return the error text for a path that leads to no method."""
        return f"no method has the path {method!r}: it is /service/method" if "/" in method or not method else None

    def encode_details(self, call, int status, str text not None, details):
        """Return the details of an error as a google.rpc.Status; b"" if no message holds them."""
        return encode_details(status, text, details) or b""

    def note_drain(self):
        """Notify handlers that the connection drains. Its second GOAWAY names the last call in time."""
        EngineServedConnection.note_drain(self)
        self.holding &= ~HOLD_DRAIN

    cdef int64_t unsent_bytes(self) except? -1:
        cdef int64_t unsent = EngineServedConnection.unsent_bytes(self)
        if self._engine is NULL or self.is_closed:
            return unsent
        return unsent + (<GrpcRequests>self._engine).sender.queued_bytes

    cdef int64_t passed_bytes(self) except? -1:
        cdef Gate gate = <Gate>self.gate
        if self._engine is NULL or self.is_closed:
            return 0
        # There may be as many of them as streams, so there is a bound.
        return min(<int64_t>(<GrpcRequests>self._engine).sender.cut_bytes, gate.send_hard - gate.send_soft)

    # The sender of a long request

    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1:
        cdef GrpcRequests engine = self.owner(<GrpcCall>call)
        if engine is None or due_ns == 0 or engine._stream is NULL:
            return 0
        return (<ByteStream>engine._stream).schedule_check(due_ns)

    cdef int sender_known(self, ServerCall call, int verdict) except -1:
        cdef GrpcRequests engine = self.owner(<GrpcCall>call)
        return 0 if engine is None else engine.sender_known(<GrpcCall>call, verdict)


cdef bytes short_message(str text):
    """Return grpc-message for a text, which a long one is cut to."""
    cdef bytes value = message_field(text)
    while PyBytes_GET_SIZE(value) > LONGEST_TEXT:
        text = text[:len(text) // 2] + "…"
        value = message_field(text)
    return value
