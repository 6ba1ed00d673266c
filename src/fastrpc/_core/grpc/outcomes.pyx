"""The outcomes of calls by gRPC, written as heads, messages and trailers.

::

    answer, message ──► head, once ──► message        success ──► grpc-status 0
    send_metadata ──► head                            failure ──► grpc-status, grpc-message, details: as trailers, or as
                                                                  the only block if no head was sent

If the caller may still send, RST_STREAM with NO_ERROR follows the trailers, so they end the whole stream. Answers by
gRPC-Web, Connect and HTTP leave the caller time to end its side first (`LingeringStreams`).
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED
from fastrpc._core.calls.call cimport STATE_GONE, Call
from fastrpc._core.grpc.fields cimport binary_field, encoding_name, message_field, metadata_fields, put_metadata
from fastrpc._core.grpc.grpc_call cimport FAULT_FORM, FAULT_NONE, GrpcHead, fault_of, let_in
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
from fastrpc._core.http2.lingering cimport new_lingering
from fastrpc._core.http2.stream_table cimport Http2Stream
from fastrpc._core.wire.frame cimport OUTCOME_NOT_STARTED, PUSHBACK_NEVER, STREAM_OUT

cdef enum:
    # The most bytes of grpc-message: many peers accept only 8 KiB of fields in all.
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
cdef class GrpcOutcomes(Flow):
    """The answers of one connection that speaks gRPC."""

    cdef bint reaches(self, GrpcCall call) noexcept:
        """Return whether the stream of a call is open; advance the HTTP/2 clock to the instant of the connection."""
        if call.http2_stream is None:
            return False
        self.http2.not_before(self.connection.now)
        return True

    cdef bint awaits(self, GrpcCall call) noexcept:
        return call.state != STATE_GONE and self.reaches(call)

    # The head of an answer

    cdef int head(self, Call call, bytes metadata) except -1:
        cdef GrpcCall served = <GrpcCall>call
        if not self.awaits(served) or served.has_begun:
            return 0
        return _begin(self, served, _compressor_of(self, served), metadata)

    # Messages of streams

    cdef int message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef GrpcCall served = <GrpcCall>call
        if not self.awaits(served):
            return 0
        if not served.has_begun:
            _begin(self, served, compressor or _compressor_of(self, served), None)
        if served.web is not None:
            self.http2.send_data(served.http2_stream, served.web.message(payload, compressor), False)
        else:
            self.http2.send_message(served.http2_stream, payload, MESSAGE_COMPRESSED if compressor else 0, False)
        # A message that waits for a window may not cause a flush, so the memory of the output is checked here.
        return self.connection.weigh_answer() if served.http2_stream.unsent is not None else 0

    cdef bint is_full(self, Call call) noexcept:
        cdef Http2Stream stream = (<GrpcCall>call).http2_stream
        return stream is not None and self.http2.is_full(stream)

    cdef int await_turn(self, Call call) except -1:
        cdef GrpcCall served = <GrpcCall>call
        return self.http2.await_turn(served.http2_stream) if self.reaches(served) else 0

    cdef int room(self) except -1:
        # HTTP/2 wakes the senders of its streams itself, in turn.
        return 0

    cdef int taken(self, Call call, Py_ssize_t cost) except -1:
        cdef GrpcCall served = <GrpcCall>call
        if not self.reaches(served):
            return 0
        let_in(self.http2, served)
        return self.http2.took_messages(served.http2_stream, cost)

    cdef int reader(self, Call call, bint waits) except -1:
        cdef GrpcCall served = <GrpcCall>call
        if not self.reaches(served):
            return 0
        if not waits:
            return self.incomplete.reader_left(served)
        # The handler has read all messages, so only the window can delay the next message or its rest.
        let_in(self.http2, served)
        self.http2.let_grow(served.http2_stream)
        return self.incomplete.grant_rest(served.http2_stream, True) if served.is_incomplete else 0

    cdef int end_early(self, Call call) except -1:
        # Nothing to do: the trailers end the stream even if the caller may still send.
        return 0

    # The end of a call

    cdef int answer(self, Call call, bytes payload) except -1:
        cdef GrpcCall served = <GrpcCall>call
        cdef Http2Stream stream
        if not self.awaits(served):
            return 0
        stream = served.http2_stream
        let_in(self.http2, served)
        if served.web is not None:
            self.http2.note_answered()
            return _end_web(self, served, None if call.route.gives_stream else payload, None)
        if not call.route.gives_stream:
            if not served.has_begun:
                _begin(self, served, call.compressor, None)
            self.http2.send_message(stream, payload, MESSAGE_COMPRESSED if call.compressor else 0, False)
        if served.has_begun:
            fields = None if call.sent_metadata is None else metadata_fields(call.sent_metadata)
            self.http2.send_trailers(stream, self.success_fields, fields)
        else:
            _put_head(self, served, 0, call.sent_metadata)
            self.http2.sender.put_fields(self.success_fields, None)
            self.http2.end_head(stream, True)
        self.http2.note_answered()
        return _ended(self, served, PyBytes_GET_SIZE(payload))

    cdef int fail(self, Call call, Failure failure) except -1:
        cdef GrpcCall served = <GrpcCall>call
        if not self.awaits(served):
            return 0
        self.http2.note_answered()
        if failure.status == DEADLINE_EXCEEDED and served.http2_stream.unsent is not None:
            # Reset the stream: trailers would have to wait until the partly sent message is complete.
            call.state = STATE_GONE
            return self.http2.reset(served.http2_stream, CODE_CANCEL)
        return _end_with(self, served, failure, None)

    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1:
        """Answer a call that was not started."""
        cdef GrpcCall served = <GrpcCall>call
        cdef list further = None
        if not self.awaits(served):
            return 0
        if served.fault != FAULT_NONE and served.fault != FAULT_FORM and failure.status == INVALID_ARGUMENT:
            failure = failure_of_fault(self.dialect.gate.message_bytes, served)
            is_faulty = True
        if failure.status == UNIMPLEMENTED and (<GrpcHead>served.head).encoding is not None:
            further = [(TOKEN_GRPC_ACCEPT_ENCODING, b"grpc-accept-encoding", self.dialect.encodings())]
        if failure.status == DEADLINE_EXCEEDED or not is_faulty:
            # Well-behaved callers may cause any number of these failures. They count as work without an answer.
            self.http2.engine().note_unanswered()
        if served.web is not None:
            _answer_whole(self, served, served.web.refuse(served, failure.status, failure.text, is_faulty))
        else:
            _end_with(self, served, failure, further)
        return self.http2.note_idle_work() if is_faulty else 0

    cdef int answer_by_http(self, GrpcCall call, int status, str text) except -1:
        """Refuse a request that is not a gRPC call with an HTTP status and a text."""
        cdef list fields
        if not self.awaits(call):
            return 0
        if call.web is not None:
            return _answer_whole(self, call, call.web.refusal)
        fields = [
            (TOKEN_STATUS, b":status", b"%d" % status),
            (TOKEN_CONTENT_TYPE, b"content-type", b"text/plain; charset=utf-8"),
        ]
        if status == 405:
            fields.append((TOKEN_OTHER, b"allow", b"POST"))
        return _answer_whole(self, call, (fields, text.encode() + b"\n"))


@cython.nonecheck(False)
cdef int _begin(GrpcOutcomes outcomes, GrpcCall call, int compressor, bytes metadata) except -1:
    let_in(outcomes.http2, call)
    if call.web is not None:
        return _begin_web(outcomes, call, compressor, metadata)
    _put_head(outcomes, call, compressor, metadata)
    return outcomes.http2.end_head(call.http2_stream, False)


@cython.nonecheck(False)
cdef int _put_head(GrpcOutcomes outcomes, GrpcCall call, int compressor, bytes metadata) except -1:
    call.has_begun = True
    outcomes.http2.begin_head(call.http2_stream)
    outcomes.http2.sender.put_fields(_head_of(outcomes, call), None)
    if compressor:
        call.announced = <unsigned char>compressor
        outcomes.http2.put_field(TOKEN_GRPC_ENCODING, b"grpc-encoding", encoding_name(compressor))
    if metadata is not None:
        put_metadata(outcomes.http2.sender.encoder, outcomes.http2.sender.out, metadata)
    return 0


@cython.nonecheck(False)
cdef HeaderTemplate _head_of(GrpcOutcomes outcomes, GrpcCall call):
    """Return the fields of a head, with the type of the request."""
    if call.codec != CODEC_JSON:
        return outcomes.head_fields
    if outcomes.json_head_fields is None:
        outcomes.json_head_fields = HeaderTemplate(
            ((b":status", b"200"), (b"content-type", b"application/grpc+json"))
        )
    return outcomes.json_head_fields


@cython.nonecheck(False)
cdef int _ended(GrpcOutcomes outcomes, GrpcCall call, Py_ssize_t size) except -1:
    """Note that the whole answer was given to the connection."""
    call.state = STATE_GONE
    if call.is_incomplete:
        outcomes.incomplete.drop(call)
    if call.http2_stream is not None and call.http2_stream.unsent is not None:
        call.waiting_bytes = size
        outcomes.waiting_bytes += size
    if <int64_t>outcomes.http2.sender.size() + outcomes.http2.sender.queued_bytes > outcomes.dialect.gate.send_soft:
        return outcomes.connection.weigh_answer()
    return 0


cdef int _end_with(GrpcOutcomes outcomes, GrpcCall call, Failure failure, list further) except -1:
    """End a call with a failure, and with further fields."""
    cdef Http2Stream stream = call.http2_stream
    cdef list fields, sent
    if call.web is not None:
        return _end_web(outcomes, call, None, failure)
    sent = [] if call.sent_metadata is None else metadata_fields(call.sent_metadata)
    fields = failure_fields(failure, sent)
    if further is not None:
        fields += further
    fields += sent
    if call.has_begun:
        outcomes.http2.send_trailers(stream, None, fields)
    else:
        outcomes.http2.send_head(stream, _head_of(outcomes, call), fields, True)
        call.has_begun = True
    return _ended(outcomes, call, 0)


cdef int _compressor_of(GrpcOutcomes outcomes, GrpcCall call) except -1:
    """Return the compressor of later messages: the request's, if the answer may have it."""
    cdef int number = call.compressor or (<GrpcHead>call.head).compressor
    return outcomes.dialect.compressor(call, number) if number in outcomes.dialect.gate.compressors else 0


# Answers by gRPC-Web, Connect and HTTP

cdef int _begin_web(GrpcOutcomes outcomes, GrpcCall call, int compressor, bytes metadata) except -1:
    """Send the head of an answer, unless it is sent with the whole answer."""
    cdef list fields = call.web.head_fields(call, metadata, compressor)
    if fields is None:
        return 0
    call.has_begun = True
    return outcomes.http2.send_head(call.http2_stream, None, fields, False)


cdef int _end_web(GrpcOutcomes outcomes, GrpcCall call, bytes payload, Failure failure) except -1:
    """End a call with its answer, which may be the rest of a stream, or with a failure."""
    cdef bytes part
    if not call.has_begun:
        return _answer_whole(outcomes, call, call.web.answer(call, payload, failure))
    part = call.web.end(call, payload, failure)
    outcomes.lingering.spare_rest(call.http2_stream, False)
    outcomes.http2.send_data(call.http2_stream, part, True)
    return _ended(outcomes, call, 0 if call.flags & STREAM_OUT else PyBytes_GET_SIZE(part))


cdef int _answer_whole(GrpcOutcomes outcomes, GrpcCall call, tuple answer) except -1:
    """Send a whole answer: its fields and its content."""
    cdef Http2Stream stream = call.http2_stream
    cdef list fields = answer[0]
    cdef bytes content = b"" if (<GrpcHead>call.head).is_head else answer[1]
    call.has_begun = True
    # The first field is the status.
    outcomes.lingering.spare_rest(stream, fields[0][2] >= b"400")
    outcomes.http2.send_head(stream, None, fields, not content)
    if content:
        outcomes.http2.send_data(stream, content, True)
    return _ended(outcomes, call, PyBytes_GET_SIZE(content))


cdef bytes short_message(str text):
    """Return grpc-message for a text; shorten the text until it fits LONGEST_TEXT."""
    cdef bytes value = message_field(text)
    while PyBytes_GET_SIZE(value) > LONGEST_TEXT:
        text = text[:len(text) // 2] + "…"
        value = message_field(text)
    return value


cdef Failure failure_of_fault(uint64_t message_bytes, GrpcCall call):
    """Return the failure that reports the fault of a request."""
    status, text = fault_of(call, message_bytes)
    # A message over the limit never succeeds, so its caller must not retry.
    pushback_ms = PUSHBACK_NEVER if status == RESOURCE_EXHAUSTED else call.pushback_ms
    return Failure(status, text, pushback_ms=pushback_ms, has_run=False)


cdef GrpcOutcomes new_outcomes(GrpcDialect dialect, Http2Connection http2, IncompleteRequests incomplete):
    cdef GrpcOutcomes outcomes = GrpcOutcomes.__new__(GrpcOutcomes)
    outcomes.dialect, outcomes.http2 = dialect, http2
    outcomes.incomplete = incomplete
    outcomes.lingering = new_lingering(http2)
    outcomes.head_fields = HeaderTemplate(((b":status", b"200"), (b"content-type", b"application/grpc")))
    outcomes.success_fields = HeaderTemplate(((b"grpc-status", b"0"),))
    return outcomes
