"""The answers to gRPC-Web, Connect and the header gateways of rpcx and Phobos, and failures of mounted applications.

::

    result, failure, messages ──► WebCall (`fastrpc.server.web`) ──► fields, content
    result, failure ──► RpcxHeaders ──► fields                    failure of an application ──► a document, or a cut response
"""

cimport cython

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.exchange.exchange cimport UNKNOWN_SIZE
from fastrpc._core.http.answering cimport BareAnswering
from fastrpc._core.http.conditions cimport note_stored
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.messages cimport FORM_NONE
from fastrpc._core.http.mounted_request cimport mounted_request_of
from fastrpc._core.http.own_answerings cimport BY_STREAM, BY_VALUE, ValueAnswering
from fastrpc._core.http.responses cimport BEARER, NOSNIFF, call_lines, retry_line, web_answer, web_lines
from fastrpc._core.http.rpcx_headers cimport RpcxHeaders, rpcx_status
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.wire.frame cimport ONE_WAY


@cython.final
cdef class WebAnswering(Answering):
    """The outcome of a call by gRPC-Web or Connect."""

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        return self._end(exchange, call, None if call.route.gives_stream else payload, None, 0)

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        if terms_of(call).web is None:
            # The request was refused before it became a call by gRPC-Web or Connect: use the gateway's own error format.
            return BY_VALUE.fail(exchange, call, failure, status, lines)
        # Connect, too, answers an unknown path with 404. Otherwise the protocol chooses the HTTP status.
        return self._end(exchange, call, None, failure, 404 if status == 404 and call.route is None else 0)

    cdef int _end(self, Exchange exchange, ServerCall call, bytes payload, Failure failure, int status) except -1:
        """End a call with its answer, with the end of its stream, or with a failure."""
        cdef HttpTerms terms = terms_of(call)
        cdef bytes trailers = call.sent_metadata, part
        if exchange.has_begun:
            call.sent_metadata = None
            part = terms.web.end(failure, trailers)
            if payload is not None:
                part = terms.web.message(payload, call.compressor) + part
            exchange.send_part(part)
            terms.request.end_call(call)
            return exchange.end_parts()
        told, lines, content = web_answer(call, terms, exchange.head, payload, failure, status)
        return terms.request.conclude(exchange, call, told, lines, content)

    cdef int head(self, Exchange exchange, ServerCall call, bytes metadata) except -1:
        return self._begin(exchange, call, metadata, 0)

    cdef int message(self, Exchange exchange, ServerCall call, bytes payload, int compressor) except -1:
        self._begin(exchange, call, None, compressor)
        return exchange.send_part(terms_of(call).web.message(payload, compressor))

    cdef int _begin(self, Exchange exchange, ServerCall call, bytes metadata, int compressor) except -1:
        """Send the head of an answer, unless it was sent or the protocol sends it with the whole answer."""
        if exchange.has_begun:
            return 0
        fields = terms_of(call).web.head(metadata, compressor)
        if fields is None:
            return 0
        return exchange.begin_parts(200, web_lines(call, terms_of(call), exchange.head, fields), UNKNOWN_SIZE)

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        return terms_of(call).request.wake_stream(exchange, call)

    cdef int hold(self, Exchange exchange, ServerCall call) except -1:
        # gRPC-Web and Connect have no signs of life.
        return 0

    cdef int note(self, Exchange exchange, ServerCall call, int status, dict fields, object compress) except -1:
        return note_stored(terms_of(call), terms_of(call).request.service, fields)

    cdef int check_sent(self, ServerCall call, bytes metadata) except -1:
        terms_of(call).web.check_sent(call.route.method, metadata)
        return 0

    cdef Marshal marshal(self, ServerCall call):
        return <Marshal?>call.connection.gate.dispatcher.message_marshal_of(call.route, call.codec == CODEC_JSON)


@cython.final
cdef class HeaderAnswering(BareAnswering):
    """The outcome of a call by the header gateway of rpcx, or of Phobos."""

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        cdef RpcxHeaders headers = terms_of(call).rpcx
        cdef bytes lines = headers.answer_lines(call.sent_metadata) + NOSNIFF
        # `lines` has the metadata already, in a field of rpcx.
        call.sent_metadata = None
        lines += call_lines(call, terms_of(call), exchange.head)
        return terms_of(call).request.conclude(exchange, call, 200, lines, b"" if headers.is_one_way else payload)

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        cdef RpcxHeaders headers = terms_of(call).rpcx
        status = rpcx_status(headers, failure, status)
        lines = headers.failure_lines(failure.text, call.sent_metadata) + NOSNIFF + retry_line(status, failure)
        call.sent_metadata = None
        lines += (BEARER if status == 401 else b"") + call_lines(call, terms_of(call), exchange.head)
        return terms_of(call).request.conclude(exchange, call, status, lines, b"")


@cython.final
cdef class MountAnswering(ValueAnswering):
    """The failure of an application, which sends its responses itself."""

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        return 0

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        if terms_of(call).mounted is not None:
            mounted_request_of(call).leave()
            if exchange.has_begun:
                # Cut the response, so that the client sees that the rest is missing.
                terms_of(call).request.end_call(call)
                return exchange.cut()
        return ValueAnswering.fail(self, exchange, call, failure, status, lines)

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        # There is no `MountedRequest` while the sender of the request is unknown.
        return 0 if terms_of(call).mounted is None else mounted_request_of(call).wake_sender()


cdef Answering BY_WEB = WebAnswering.__new__(WebAnswering)
cdef Answering BY_HEADERS = HeaderAnswering.__new__(HeaderAnswering)
cdef Answering BY_MOUNT = MountAnswering.__new__(MountAnswering)


cdef bint answers_at_once(Exchange exchange, ServerCall call, bytes payload) except -1:
    cdef RpcxHeaders headers = terms_of(call).rpcx
    cdef bint is_heartbeat = headers.is_heartbeat
    if not headers.is_phobos or not (is_heartbeat or headers.is_one_way):
        return False
    lines = headers.answer_lines(None) + NOSNIFF + call_lines(call, terms_of(call), exchange.head)
    call.flags |= ONE_WAY
    if is_heartbeat and call.charge:
        terms_of(call).request.service.gate.memory.charge(call, 0)
    terms_of(call).request.conclude(exchange, call, 200, lines, payload if is_heartbeat else b"")
    return is_heartbeat


cdef Answering answering_of(HttpTerms terms):
    if terms.mount is not None:
        return BY_MOUNT
    if terms.web is not None:
        return BY_WEB
    if terms.rpcx is not None:
        return BY_HEADERS
    return BY_VALUE if terms.form == FORM_NONE else BY_STREAM
