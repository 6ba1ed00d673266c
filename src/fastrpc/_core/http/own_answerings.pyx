"""The answers of the gateway's own forms: values, streams, parts of documents.

::

    result ──► fields of the handler, 304 ──► Exchange.answer                failure ──► a document (RFC 9457)
    messages ──► head, once ──► lines, events ──► Exchange.send_part   silence ──► a comment in events

A call that is a part of a document, such as a batch of JSON-RPC, has no response: the handler of the document gets its
`Outcome`.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.codec_numbers cimport CODEC_MSGPACK
from fastrpc._core.base.status cimport INTERNAL
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.exchange cimport UNKNOWN_SIZE, Exchange
from fastrpc._core.http.conditions cimport is_unchanged, note_fields
from fastrpc._core.http.http_call cimport COMPRESSOR_GZIP, HttpTerms, Outcome, terms_of
from fastrpc._core.http.messages cimport FORM_EVENTS, FORM_NONE, end_part, error_part, value_part
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.http.request_fields cimport breaking_key, metadata_texts, takes_gzip
from fastrpc._core.http.responses cimport (
    JSON_LINES,
    MSGPACK_LINES,
    call_lines,
    problem_answer,
    problem_document,
    stream_lines,
    unchanged_answer,
)
from fastrpc._core.http.service cimport HttpMethod
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.served_call cimport ServerCall

from fastrpc.errors import CallError
from fastrpc.status import Status

cdef enum:
    # A handler's choice of compression for its answer; 0: the setting decides.
    PACKED = 1
    NOT_PACKED = 2

cdef bytes PACKED_LINE = b"Content-Encoding: gzip\r\n"
cdef bytes VARIES = b"Vary: Accept-Encoding\r\n"


cdef class ValueAnswering(BareAnswering):
    """A result as JSON or msgpack."""

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        cdef HttpTerms terms = terms_of(call)
        cdef bytes lines
        if terms.answer_fields is not None:
            return answer_as(exchange, call, payload)
        lines = MSGPACK_LINES if call.codec == CODEC_MSGPACK else JSON_LINES
        lines += call_lines(call, terms, exchange.head)
        if terms.may_pack:
            lines += PACKED_LINE + VARIES if call.compressor else VARIES
        return terms.request.conclude(exchange, call, 200, lines, payload)

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        cdef bytes document
        status, lines, document = problem_answer(call, terms_of(call), exchange.head, status, failure, lines)
        return terms_of(call).request.conclude(exchange, call, status, lines, document)

    cdef int note(self, Exchange exchange, ServerCall call, int status, dict fields, object compress) except -1:
        cdef HttpTerms terms = terms_of(call)
        if exchange is not None and exchange.has_begun:
            raise RuntimeError("the head of the answer was sent: call http() before the first message")
        terms.answer_status = status or terms.answer_status
        note_fields(terms, terms.request.service, fields)
        if compress is not None:
            terms.packing = PACKED if compress else NOT_PACKED
        return 0

    cdef int check_sent(self, ServerCall call, bytes metadata) except -1:
        cdef str key = breaking_key(metadata)
        if key is not None:
            text = f"{call.route.method}: the metadata {key!r} of its answer holds CR, LF or NUL, which no HTTP field can"
            raise CallError(Status.INTERNAL, text)
        return 0

    cdef Marshal marshal(self, ServerCall call):
        cdef HttpTerms terms = terms_of(call)
        if terms.target is None:
            return None
        if terms.packing or terms.request.service.compresses:
            choose_packing(terms, call)
        return terms.target.marshal(call.codec)


@cython.final
cdef class StreamAnswering(ValueAnswering):
    """A stream of values as lines, or as events."""

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        texts = {} if call.sent_metadata is None or not exchange.has_begun else metadata_texts(call.sent_metadata)
        return self._end(exchange, call, end_part(terms_of(call).form, texts))

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        if not exchange.has_begun:
            return ValueAnswering.fail(self, exchange, call, failure, status, lines)
        return self._end(exchange, call, error_part(terms_of(call).form, problem_document(status, failure, call.codec)))

    cdef int head(self, Exchange exchange, ServerCall call, bytes metadata) except -1:
        call.sent_metadata = metadata
        return self._begin(exchange, call)

    cdef int message(self, Exchange exchange, ServerCall call, bytes payload, int compressor) except -1:
        self._begin(exchange, call)
        return exchange.send_part(value_part(terms_of(call).form, payload))

    cdef int _begin(self, Exchange exchange, ServerCall call) except -1:
        """Send the head, unless it was sent already."""
        cdef HttpTerms terms = terms_of(call)
        cdef bytes lines
        if exchange.has_begun:
            return 0
        lines = stream_lines(terms, exchange.head)
        # 200 instead of a status whose response has no body.
        status = 200 if terms.answer_status in (0, 204, 205) else terms.answer_status
        exchange.begin_parts(status, lines + call_lines(call, terms, exchange.head), UNKNOWN_SIZE)
        call.sent_metadata = None
        return terms.request.await_sign(now_ns()) if terms.form == FORM_EVENTS else 0

    cdef int _end(self, Exchange exchange, ServerCall call, bytes part) except -1:
        self._begin(exchange, call)
        exchange.send_part(part)
        terms_of(call).request.end_call(call)
        return exchange.end_parts()

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        return terms_of(call).request.wake_stream(exchange, call)

    cdef int hold(self, Exchange exchange, ServerCall call) except -1:
        if exchange.has_begun or terms_of(call).form == FORM_NONE:
            return 0
        return terms_of(call).request.await_sign(now_ns())

    cdef int sign(self, Exchange exchange, ServerCall call, uint64_t now) except -1:
        self._begin(exchange, call)
        if terms_of(call).form != FORM_EVENTS:
            return 0
        exchange.send_part(b":\n\n")
        return terms_of(call).request.await_sign(now)


@cython.final
cdef class PartAnswering(ValueAnswering):
    """The outcome of a call that is a part of a document, passed to the handler of the document."""

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        terms_of(call).done(Outcome(payload, None))
        return 0

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        terms_of(call).done(Outcome(None, failure))
        return 0

    cdef int note(self, Exchange exchange, ServerCall call, int status, dict fields, object compress) except -1:
        # Ignored, as all parts share one response.
        return 0

    cdef int check_sent(self, ServerCall call, bytes metadata) except -1:
        # A WebSocket does not send the metadata as fields.
        if terms_of(call).request.talk is not None:
            return 0
        return ValueAnswering.check_sent(self, call, metadata)

    cdef Marshal marshal(self, ServerCall call):
        cdef HttpMethod target = terms_of(call).target
        return None if target is None else target.marshal(call.codec)


cdef int answer_as(Exchange exchange, ServerCall call, bytes payload) except -1:
    """Send the answer with the handler's status and fields, or 304 if the client has the answer already."""
    cdef HttpTerms terms = terms_of(call)
    cdef int status = terms.answer_status or 200
    cdef bytes lines
    if status == 200 and is_unchanged(exchange.head, terms.answer_fields):
        status, lines, payload = unchanged_answer(terms, call, exchange.head)
        return terms.request.conclude(exchange, call, status, lines, payload)
    lines = call_lines(call, terms, exchange.head)
    if status == 204 or status == 205:
        if payload not in (b"null", b"\xc0"):
            text = f"{call.method} has set the status {status}, which has no body, and its result is not None"
            # The handler set these fields for a result, not for a failure.
            terms.answer_fields = None
            return BY_VALUE.fail(exchange, call, Failure(INTERNAL, text), 500, b"")
        # A response without a body has no Content-Type.
        payload = b""
    else:
        lines = (MSGPACK_LINES if call.codec == CODEC_MSGPACK else JSON_LINES) + lines
        if terms.may_pack and call.compressor:
            lines += PACKED_LINE
    return terms.request.conclude(exchange, call, status, lines, payload)


cdef int choose_packing(HttpTerms terms, ServerCall call) except -1:
    """Choose gzip for the answer that is encoded next, if the setting or the handler and the client want it."""
    cdef RequestState request = terms.request
    cdef Exchange exchange = request.exchange_of(call)
    cdef bint is_wanted = terms.packing == PACKED or terms.packing == 0 and request.service.compresses
    if call.route.gives_stream:
        return 0
    terms.may_pack = is_wanted or request.service.compresses
    terms.takes_gzip = (
        is_wanted and exchange is not None and COMPRESSOR_GZIP in request.service.gate.compressors
        and takes_gzip(exchange.head)
    )
    if terms.takes_gzip:
        call.compressor = COMPRESSOR_GZIP
    return 0


BY_VALUE = ValueAnswering.__new__(ValueAnswering)
BY_STREAM = StreamAnswering.__new__(StreamAnswering)
AS_PART = PartAnswering.__new__(PartAnswering)
