"""The outcomes of the calls of requests: from the gate to responses.

::

    Gate ──► HttpOutcomes: answer, fail, refuse ─► Answering ──► RequestState.conclude ──► Exchange.answer
        └──► HttpFlow: head, message ────────────► Answering ──► Exchange.send_part

The `Answering` of a request is chosen when its head arrives. It is used only while the request waits for its response,
for the call of the request and for calls that are parts of it; other calls have lost their client. HTTP/1.1 and HTTP/2
share these objects, which have no state. `HttpPages` passes them to a wire of HTTP/2.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t

from fastrpc._core.base.status cimport INVALID_ARGUMENT, RESOURCE_EXHAUSTED
from fastrpc._core.calls.call cimport STATE_ANSWERING, Call
from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.exchange.pages cimport Pages, peer_as
from fastrpc._core.http.gateway_requests cimport new_requests
from fastrpc._core.http.http_call cimport COMPRESSOR_GZIP, HttpTerms, terms_of
from fastrpc._core.http.mounted_request cimport MountedRequest, mounted_request_of
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.http.responses cimport http_status_of, refusal_of_call, status_of_load
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Dialect, Flow, Forms, Handling
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.rpcx.go_words cimport unknown_codec_in_go, unknown_method_in_go
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED, EngineServedConnection
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport PLAIN_GROUPS, ServedConnection, marshal_by_codec
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.wire.frame cimport ONE_WAY

from fastrpc._core.http.mounted_request import GRACE_SECONDS


@cython.final
cdef class HttpPages(Pages):
    """The requests of one connection, and the outcomes of their calls."""

    cdef:
        # The state that all connections share; the settings for pings to clients of mounted applications' WebSockets.
        HttpService service
        object keepalive

        # The served connection, borrowed, as it holds this object.
        PyObject* _connection

    def __init__(self, HttpService service not None, keepalive):
        self.service = service
        self.keepalive = keepalive
        self.takes_values = service.takes_values()
        self.takes_tunnels = service.offers_sockets or service.mounts is not None
        self.limits = service.limits
        self.outcomes = OUTCOMES

    cdef int join(self, EngineServedConnection connection) except -1:
        self._connection = <PyObject*>connection
        return 0

    cdef HttpApplication begin(self, Exchange exchange):
        return new_requests(
            exchange, <EngineServedConnection>self._connection, PAGE_GROUPS, self.service, self.keepalive
        )


@cython.final
cdef class HttpOutcomes(Outcomes):
    """The outcomes of the calls of requests."""

    cdef int answer(self, Call call, bytes payload) except -1:
        cdef HttpTerms terms = terms_of(call)
        cdef Exchange exchange = terms.request.exchange_of(call)
        if exchange is None and not is_part(terms):
            return 0
        return terms.answering.answer(exchange, <ServerCall>call, payload)

    cdef int fail(self, Call call, Failure failure) except -1:
        cdef int told = http_status_of(failure.status)
        if failure.status == RESOURCE_EXHAUSTED and not failure.has_run:
            # The handler ended because memory is full: answer as for a call that was refused before its start.
            told = status_of_load(terms_of(call).request.service.gate, failure.pushback_ms)
        return self._fail_as(<ServerCall>call, failure, told, b"")

    cdef int refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef ServerCall served = <ServerCall>call
        cdef HttpTerms terms = terms_of(call)
        cdef Exchange exchange
        if served.charge and served.waiting_payload is None and not served.is_held:
            (<Gate>served.connection.gate).memory.charge(served, 0)
        exchange = terms.request.open_exchange()
        if call.flags & ONE_WAY or exchange is None and not is_part(terms):
            return 0
        if exchange is not None:
            exchange.note_refused(is_faulty)
        failure = Failure(status, text, pushback_ms=served.pushback_ms, has_run=False)
        # `refusal_of_call` finds the most specific HTTP status.
        told, failure, lines = refusal_of_call(served, terms, failure, is_faulty)
        return self._fail_as(served, failure, told, lines)

    cdef int _fail_as(self, ServerCall call, Failure failure, int status, bytes lines) except -1:
        """Send a failure with an HTTP status and further fields."""
        cdef HttpTerms terms = terms_of(call)
        cdef Exchange exchange = terms.request.exchange_of(call)
        if exchange is None and not is_part(terms):
            return 0
        # The handler set these fields for a result, not for a failure.
        terms.answer_fields = None
        return terms.answering.fail(exchange, call, failure, status, lines)

    cdef int hold(self, Call call) except -1:
        return PAGE_GROUPS.handling.hold(call)

    cdef int release(self, Call call) except -1:
        return 0

    cdef bint is_unanswered(self, Call call) except -1:
        return call.state != STATE_ANSWERING

    cdef int judged(self, Call call, int verdict) except -1:
        cdef RequestState request = terms_of(call).request
        cdef Exchange exchange = request.open_exchange()
        if verdict != SENDER_ADMITTED or exchange is None:
            return 0
        exchange.admit_body()
        # A call without a body starts here, outside a read, at whose end this would be done otherwise.
        return request.service.gate.runner.leave_task()


cdef bint is_part(HttpTerms terms) noexcept:
    """Return whether a call is a part of a document on an open connection, whose handler gets every outcome."""
    cdef PyObject* engine = terms.request.connection._engine
    return terms.done is not None and engine is not NULL and not (<Engine>engine).is_closed


@cython.final
cdef class HttpFlow(Flow):
    """Messages of streams, each in the form that was chosen when the head of the request arrived."""

    cdef int head(self, Call call, bytes metadata) except -1:
        cdef Exchange exchange = terms_of(call).request.exchange_of(call)
        return 0 if exchange is None else terms_of(call).answering.head(exchange, <ServerCall>call, metadata)

    cdef int message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef Exchange exchange = terms_of(call).request.exchange_of(call)
        if exchange is None:
            return 0
        return terms_of(call).answering.message(exchange, <ServerCall>call, payload, compressor)

    cdef bint is_full(self, Call call) noexcept:
        # This runs for each message, also on a connection that closes, so `exchange_of` would be wrong here.
        cdef RequestState request = terms_of(call).request
        return request.is_waiting(call) and request.exchange().is_full()

    cdef int await_turn(self, Call call) except -1:
        cdef Exchange exchange = terms_of(call).request.exchange_of(call)
        return 0 if exchange is None else exchange.await_room()

    cdef int room(self) except -1:
        # Each exchange has its own room, and notifies its application itself.
        return 0

    cdef int taken(self, Call call, Py_ssize_t cost) except -1:
        return self.reader(call, True)

    cdef int reader(self, Call call, bint waits) except -1:
        # Read on once at most half a window of messages is held. A longer message is held until its reader wants the next.
        cdef RequestState request = terms_of(call).request
        cdef Exchange exchange = request.exchange_of(call)
        if waits and exchange is not None and exchange.is_body_held and call.stream is not None:
            if (<ServedStream>call.stream).held <= request.service.window_bytes // 2:
                exchange.hold_body(False)
        return 0

    cdef int end_early(self, Call call) except -1:
        # Nothing to do: an answer does not wait for the rest of the body.
        return 0


@cython.final
cdef class HttpDialect(Dialect):
    """The gateway's error texts and statuses; gRPC-Web, Connect, rpcx and Phobos have other ones."""

    cdef str unknown_method(self, Call call, str method, object services):
        cdef HttpTerms terms = terms_of(call)
        if terms.rpcx is not None:
            return unknown_method_in_go("phobos" if terms.rpcx.is_phobos else "rpcx", method, services)
        if not method.startswith("/"):
            return None
        return terms.request.service.unknown_path(f"/ws{method}" if terms.is_socket else method)

    cdef str unknown_codec(self, Call call):
        return None if terms_of(call).rpcx is None else unknown_codec_in_go(call.codec)

    cdef str unknown_compressor(self, Call call):
        return None if terms_of(call).web is None else terms_of(call).web.unknown_compressor()

    cdef int corrupt_status(self, Call call) except -1:
        return INVALID_ARGUMENT if terms_of(call).web is None else terms_of(call).web.corrupt_status

    cdef int unfit_status(self, Call call) except -1:
        cdef object web = terms_of(call).web
        return INVALID_ARGUMENT if web is None or web.fault is None else web.fault.status

    cdef bint has_status_details(self, Call call) except -1:
        return terms_of(call).web is not None

    cdef int compressor(self, Call call, int number) except -1:
        cdef HttpTerms terms = terms_of(call)
        if terms.web is None:
            return number if number == COMPRESSOR_GZIP and terms.takes_gzip else 0
        return number if terms.web.takes(number) else 0


@cython.final
cdef class HttpForms(Forms):
    """Calls by JSON, gRPC-Web and others, and requests to mounted applications."""

    cdef str protocol(self, Call call):
        return terms_of(call).protocol

    cdef object peer(self, Call call):
        cdef ServedConnection connection = (<ServerCall>call).connection
        return peer_as(connection.peer_info, terms_of(call).protocol, connection)

    cdef Marshal marshal(self, Call call):
        cdef Marshal marshal = terms_of(call).answering.marshal(<ServerCall>call)
        if marshal is not None:
            return marshal
        return marshal_by_codec(call.route, call.codec, terms_of(call).request.service.gate)

    cdef uint32_t most_metadata(self) noexcept:
        # HTTP/1.1 has no way to state a limit for the fields of answers.
        return 0xFFFFFFFF

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        return terms_of(call).answering.check_sent(<ServerCall>call, metadata)

    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1:
        cdef HttpTerms terms = terms_of(call)
        return terms.answering.note(terms.request.exchange_of(call), <ServerCall>call, status, fields, compress)


@cython.final
cdef class HttpHandling(Handling):
    """Forms with files, silent streams, mounted applications."""

    cdef object form_of(self, Call call):
        return terms_of(call).file_form

    cdef int note_mistakes(self, Call call, bytes payload, str first) except -1:
        cdef HttpTerms terms = terms_of(call)
        if terms.target is not None and terms.web is None:
            terms.details = terms.target.mistakes(call.codec, payload, first)
        return 0

    cdef int hold(self, Call call) except -1:
        """Schedule the first sign of life of a stream whose handler suspends before its first message."""
        cdef Exchange exchange = terms_of(call).request.exchange_of(call)
        return 0 if exchange is None else terms_of(call).answering.hold(exchange, <ServerCall>call)

    cdef int leave_handler(self, Call call) except -1:
        """Notify an application that its request is over. After a timeout, cancel it GRACE_SECONDS later."""
        cdef ServerCall served = <ServerCall>call
        cdef MountedRequest request = mounted_request_of(served)
        if served.is_expired:
            served.answer_late(True)
        if request is None:
            return 0
        if served.is_expired:
            (<Gate>served.connection.gate).loop_state.loop.call_later(GRACE_SECONDS, request.cancel)
        return request.leave()


OUTCOMES = HttpOutcomes.__new__(HttpOutcomes)
PAGE_GROUPS = PLAIN_GROUPS.with_own(
    HttpDialect.__new__(HttpDialect), HttpForms.__new__(HttpForms), HttpFlow.__new__(HttpFlow),
    HttpHandling.__new__(HttpHandling),
)
