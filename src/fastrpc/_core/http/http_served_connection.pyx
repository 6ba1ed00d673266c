"""The served calls of one HTTP connection: from their outcomes to responses.

::

    Gate ──► do_answer ──► fields, payload ──────────────► HttpConnection.answer
        └──► do_fail, do_refuse ──► status, document ──────┘
        └──► send_head, send_message ──► lines, events ──► HttpConnection.send_part

Once the connection is a WebSocket all of that goes to its SocketTalk.

A call that is a part of a request, as one of JSON-RPC is, has no response: its request gets the `Outcome`.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, INTERNAL, INVALID_ARGUMENT, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport Call
from fastrpc._core.http.conditions cimport is_unchanged, note_fields, note_stored
from fastrpc._core.http.http_call cimport COMPRESSOR_GZIP, Outcome, breaking_key, terms_of
from fastrpc._core.http.messages cimport FORM_EVENTS, FORM_NONE, end_part, error_part, value_part
from fastrpc._core.http.mounted_request cimport MountedRequest, mounted_request_of
from fastrpc._core.http.request_fields cimport metadata_texts, takes_gzip
from fastrpc._core.http.responses cimport (
    BEARER,
    JSON_LINES,
    MSGPACK_LINES,
    NOSNIFF,
    call_lines,
    has_lines,
    http_status_of,
    problem_answer,
    problem_document,
    refusal_of_call,
    retry_line,
    status_of_load,
    stream_lines,
    unchanged_answer,
    web_answer,
    web_lines,
)
from fastrpc._core.http.rpcx_headers cimport rpcx_status
from fastrpc._core.http.service cimport HttpMethod
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.rpcx.requests cimport unknown_codec_in_go, unknown_method_in_go
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport take_client
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.wire.frame cimport ONE_WAY

from fastrpc._core.http.mounted_request import GRACE_SECONDS
from fastrpc.errors import CallError
from fastrpc.status import Status

cdef enum:
    # Whether a handler wants its answer compressed, 0: as the setting says.
    PACKED = 1
    NOT_PACKED = 2
    # Bytes of output that wait, above which streams wait as well.
    STREAM_ROOM = 65_536

cdef bytes PACKED_LINE = b"Content-Encoding: gzip\r\n"
cdef bytes VARIES = b"Vary: Accept-Encoding\r\n"


@cython.final
cdef class HttpServedConnection(EngineServedConnection):
    """The served calls of one HTTP connection."""

    cdef int forget(self) except -1:
        """Forget the request before."""
        self.call = None
        self.leaves_body = False
        self.sign_due_ns = 0
        self.talk = None
        return 0

    cdef int become(self, SocketEnd talk) except -1:
        """Count further calls as calls of a WebSocket."""
        self.talk = talk
        return self.speak("websocket")

    cdef int speak(self, str protocol) except -1:
        """Count further calls as calls of this protocol."""
        if protocol == self.protocol:
            return 0
        self.protocol = protocol
        # Head and trailers are apart in the protocols that descend from gRPC.
        self.has_trailers = protocol == "grpc_web" or protocol == "connect"
        self.counters = (<Gate>self.gate).counters_by_method(self.protocol)
        if self.peer_info is not None:
            self.peer_info.protocol = self.protocol
        return 0

    cdef HttpConnection owner(self):
        """Return the connection, or None once it is gone, or closed."""
        if self._engine is NULL or (<HttpConnection>self._engine).is_closed:
            return None
        return <HttpConnection>self._engine

    # The end of a call

    cdef int do_answer(self, Call call, bytes payload) except -1:
        cdef HttpConnection connection = self.owner()
        cdef HttpTerms terms = terms_of(call)
        cdef bytes lines
        if connection is None:
            return 0
        if terms.done is not None:
            terms.done(Outcome(payload, None))
            return 0
        if self.call is not call or terms.exchange is not None:
            return 0
        if self.talk is not None:
            return self.talk.answer(connection, <ServerCall>call, payload)
        if terms.web is not None:
            return self._end_web(connection, <ServerCall>call, None if call.route.gives_stream else payload, None, 0)
        if terms.rpcx is not None:
            return self._answer_rpcx(connection, <ServerCall>call, terms.rpcx, payload)
        if terms.form != FORM_NONE:
            texts = {} if call.sent_metadata is None or not connection.has_begun else metadata_texts(call.sent_metadata)
            return self._end_messages(connection, <ServerCall>call, terms, end_part(terms.form, texts))
        if terms.answer_fields is not None:
            return self._answer_as(connection, <ServerCall>call, terms, payload)
        lines = MSGPACK_LINES if call.codec == CODEC_MSGPACK else JSON_LINES
        if has_lines(<ServerCall>call, terms, connection.head):
            lines += call_lines(<ServerCall>call, terms, connection.head)
        if terms.may_pack:
            lines += PACKED_LINE + VARIES if call.compressor else VARIES
        self.call = None
        return connection.answer(200, lines, payload, False)

    cdef int _answer_as(self, HttpConnection connection, ServerCall call, HttpTerms terms, bytes payload) except -1:
        """Answer with the handler's status and fields, or with 304 if the client has this answer already."""
        cdef int status = terms.answer_status or 200
        cdef bytes lines
        if status == 200 and is_unchanged(connection.head, terms.answer_fields):
            status, lines, payload = unchanged_answer(terms, call, connection.head)
            self.call = None
            return connection.answer(status, lines, payload, False)
        lines = call_lines(call, terms, connection.head)
        if terms.answer_status == 204 or terms.answer_status == 205:
            if payload not in (b"null", b"\xc0"):
                told = terms.answer_status
                text = f"{call.method} has set the status {told}, which has no body, and its result is not None"
                return self.fail_as(call, Failure(INTERNAL, text), 500, b"")
            # A response without a body has no type.
            payload = b""
        else:
            lines = (MSGPACK_LINES if call.codec == CODEC_MSGPACK else JSON_LINES) + lines
            if terms.may_pack and call.compressor:
                lines += PACKED_LINE
        self.call = None
        return connection.answer(status, lines, payload, False)

    cdef int do_fail(self, Call call, Failure failure) except -1:
        cdef int told = http_status_of(failure.status)
        if failure.status == RESOURCE_EXHAUSTED and not failure.has_run:
            # The handler came to find no room: it is refused as before its start.
            told = status_of_load(<Gate>self.gate, failure.pushback_ms)
        return self.fail_as(<ServerCall>call, failure, told, b"")

    cdef bint is_unanswered(self, Call call) except -1:
        return self.call is call or terms_of(call).done is not None

    cdef int fail_as(self, ServerCall call, Failure failure, int status, bytes lines) except -1:
        """Answer with a failure, under a status of HTTP and with further fields."""
        cdef HttpConnection connection = self.owner()
        cdef HttpTerms terms = terms_of(call)
        if connection is None:
            return 0
        if terms.done is not None:
            terms.done(Outcome(None, failure))
            return 0
        if self.call is not call:
            return 0
        # The handler set these fields for a result.
        terms.answer_fields = None
        if self.talk is not None:
            return self.talk.fail(connection, call, failure, status)
        if terms.web is not None:
            # An unknown path is one by Connect, too.
            return self._end_web(connection, call, None, failure, 404 if status == 404 and call.route is None else 0)
        if terms.exchange is not None:
            mounted_request_of(call).leave()
            if connection.has_begun:
                # The client sees that the rest is missing.
                self.call = None
                return connection._end()
        if terms.rpcx is not None:
            return self._fail_rpcx(connection, call, terms.rpcx, failure, status)
        if connection.has_begun:
            part = error_part(terms.form, problem_document(status, failure, call.codec))
            return self._end_messages(connection, call, terms, part)
        status, lines, document = problem_answer(call, terms, connection.head, status, failure, lines)
        self.call = None
        return connection.answer(status, lines, document, self.leaves_body)

    cdef int _answer_rpcx(
        self, HttpConnection connection, ServerCall call, RpcxHeaders headers, bytes payload
    ) except -1:
        cdef bytes lines = headers.answer_lines(call.sent_metadata) + NOSNIFF
        # The metadata is in a field of rpcx.
        call.sent_metadata = None
        lines += call_lines(call, terms_of(call), connection.head)
        self.call = None
        return connection.answer(200, lines, b"" if headers.is_one_way else payload, False)

    # Calls by gRPC-Web and Connect

    cdef int _end_web(
        self, HttpConnection connection, ServerCall call, bytes payload, Failure failure, int status
    ) except -1:
        """End a call with its answer, which the rest of a stream may be, or with a failure."""
        cdef HttpTerms terms = terms_of(call)
        cdef bytes trailers = call.sent_metadata, part
        if connection.has_begun:
            call.sent_metadata = None
            part = terms.web.end(failure, trailers)
            if payload is not None:
                part = terms.web.message(payload, call.compressor) + part
            connection.send_part(part)
            self.call = None
            return connection.end_parts()
        told, lines, content = web_answer(call, terms, connection.head, payload, failure, status)
        self.call = None
        return connection.answer(told, lines, content, self.leaves_body)

    cdef int _begin_web(self, HttpConnection connection, ServerCall call, bytes metadata, int compressor) except -1:
        """Send the head of an answer, unless it has left."""
        if connection.has_begun:
            return 0
        fields = terms_of(call).web.head(metadata, compressor)
        if fields is None:
            return 0
        return connection.begin_parts(200, web_lines(call, terms_of(call), connection.head, fields))

    cdef int taken_compressor(self, Call call, int number, object compressor) except -1:
        cdef object web = terms_of(call).web
        if web is not None:
            return number if web.takes(number) else 0
        return number if number == COMPRESSOR_GZIP and terms_of(call).takes_gzip else 0

    def unknown_compressor(self, ServerCall call not None):
        """Return the error text for an unknown compressor."""
        web = terms_of(call).web
        return None if web is None else web.unknown_compressor()

    def corrupt_status(self, ServerCall call not None):
        """Return the status for a request, or a message of its stream, that cannot be decompressed."""
        web = terms_of(call).web
        return INVALID_ARGUMENT if web is None else web.corrupt_status

    def encode_details(self, ServerCall call not None, int status, str text, details):
        """Return the details of an error in the form of gRPC, for the protocols that descend from it."""
        web = terms_of(call).web
        return None if web is None else web.encode_details(status, text, details)

    def note_answer(self, ServerCall call not None, int status, dict fields, compress):
        """Keep what the handler says of its answer, unless its protocol has other answers."""
        cdef HttpTerms terms = terms_of(call)
        if terms.done is not None or terms.rpcx is not None or self.talk is not None:
            return
        if terms.web is not None:
            note_stored(terms, self.service, fields)
            return
        if self.call is call and self.owner() is not None and self.owner().has_begun:
            raise RuntimeError("the head of the answer was sent: call http() before the first message")
        terms.answer_status = status or terms.answer_status
        note_fields(terms, self.service, fields)
        if compress is not None:
            terms.packing = PACKED if compress else NOT_PACKED

    cdef int follow_proxy(self, ServerCall call, RequestHead head) except -1:
        """Take the client of a trusted proxy as the peer of this request."""
        cdef tuple refusal
        if self.own_peer is None:
            self.own_peer = self.peer_info
        refusal = take_client(
            call,
            self.service.proxies.client_of(
                self.own_peer, head.values("x-forwarded-for"), head.values("x-forwarded-proto")
            ),
            self.protocol,
        )
        if call.client is not None:
            self.peer_info = call.client
            self.peer_key = 0
        return 0 if refusal is None else terms_of(call).set_fault(refusal[0], refusal[1], b"")

    def note_mistakes(self, ServerCall call not None, bytes payload, str first):
        """Keep all mistakes in arguments by name."""
        cdef HttpTerms terms = terms_of(call)
        if terms.target is not None and terms.web is None:
            terms.details = terms.target.mistakes(call.codec, payload, first)

    cdef bint answers_at_once(self, ServerCall call, bytes payload) except -1:
        """Answer a heartbeat of Phobos, or a one-way call before it is made; return whether that is all."""
        cdef HttpConnection connection = self.owner()
        cdef RpcxHeaders headers = terms_of(call).rpcx
        cdef bint is_heartbeat = headers.is_heartbeat
        if connection is None or not headers.is_phobos or not (is_heartbeat or headers.is_one_way):
            return False
        lines = headers.answer_lines(None) + NOSNIFF + call_lines(call, terms_of(call), connection.head)
        call.flags |= ONE_WAY
        self.call = None
        if is_heartbeat and call.charge:
            (<Gate>self.gate).memory.charge(call, 0)
        connection.answer(200, lines, payload if is_heartbeat else b"", False)
        return is_heartbeat

    cdef int _fail_rpcx(
        self, HttpConnection connection, ServerCall call, RpcxHeaders headers, Failure failure, int told
    ) except -1:
        cdef int status = rpcx_status(headers, failure, told)
        cdef bytes lines = headers.failure_lines(failure.text, call.sent_metadata) + NOSNIFF + retry_line(status, failure)
        call.sent_metadata = None
        lines += (BEARER if status == 401 else b"") + call_lines(call, terms_of(call), connection.head)
        self.call = None
        return connection.answer(status, lines, b"", self.leaves_body)

    cdef int do_refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        """Answer for a call that was not started, with the status of HTTP that says most."""
        cdef ServerCall served = <ServerCall>call
        if self.owner() is None:
            return 0
        if served.charge and served.waiting_payload is None and not served.is_held:
            (<Gate>self.gate).memory.charge(served, 0)
        if call.flags & ONE_WAY:
            return 0
        if status == DEADLINE_EXCEEDED:
            self.owner().note_unanswered()
        told, failure, lines = refusal_of_call(served, terms_of(call), status, text, is_faulty)
        return self.fail_as(served, failure, told, lines)

    cdef int do_hold(self, Call call) except -1:
        """Let a stream whose handler suspends before its first message give a sign of life in time."""
        cdef HttpConnection connection = self.owner()
        if connection is None or self.call is not call or terms_of(call).form == FORM_NONE or connection.has_begun:
            return 0
        return self._await_sign(connection, now_ns())

    cdef int do_release(self, Call call) except -1:
        return 0

    cdef int leave_handler(self, Call call) except -1:
        """Tell an application that its request is over; where the time of it is, it has a while before it is cancelled."""
        cdef ServerCall served = <ServerCall>call
        cdef MountedRequest request = mounted_request_of(served)
        if served.is_expired:
            served.answer_late(True)
        if request is None:
            return 0
        if served.is_expired:
            (<Gate>self.gate).loop_state.loop.call_later(GRACE_SECONDS, request.cancel)
        return request.leave()

    # Messages

    cdef int _begin_messages(self, HttpConnection connection, ServerCall call, HttpTerms terms) except -1:
        cdef bytes lines
        if not connection.has_begun:
            lines = stream_lines(terms, connection.head)
            # A status without a body cannot hold a stream.
            status = 200 if terms.answer_status in (0, 204, 205) else terms.answer_status
            connection.begin_parts(status, lines + call_lines(call, terms, connection.head))
            call.sent_metadata = None
            if terms.form == FORM_EVENTS:
                self._await_sign(connection, now_ns())
        return 0

    cdef int _await_sign(self, HttpConnection connection, uint64_t now) except -1:
        """Let the next sign of life be due one interval from now."""
        self.sign_due_ns = now + self.service.sign_ns
        connection.schedule_check(self.sign_due_ns)
        return 0

    cdef int _end_messages(self, HttpConnection connection, ServerCall call, HttpTerms terms, bytes part) except -1:
        self._begin_messages(connection, call, terms)
        connection.send_part(part)
        self.call = None
        self.sign_due_ns = 0
        return connection.end_parts()

    cdef int send_head(self, Call call, bytes metadata) except -1:
        cdef HttpConnection connection = self.owner()
        if connection is None or self.call is not call:
            return 0
        if self.talk is not None:
            return self.talk.send_head(connection, metadata)
        if terms_of(call).web is not None:
            return self._begin_web(connection, <ServerCall>call, metadata, 0)
        call.sent_metadata = metadata
        return self._begin_messages(connection, <ServerCall>call, terms_of(call))

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef HttpConnection connection = self.owner()
        cdef HttpTerms terms = terms_of(call)
        if connection is None or self.call is not call:
            return 0
        if self.talk is not None:
            return self.talk.send_message(connection, payload)
        if terms.web is not None:
            self._begin_web(connection, <ServerCall>call, None, compressor)
            return connection.send_part(terms.web.message(payload, compressor))
        self._begin_messages(connection, <ServerCall>call, terms)
        return connection.send_part(value_part(terms.form, payload))

    cdef uint64_t send_sign(self, uint64_t now) except? 0:
        """Send a sign of life in a stream where one is due: its head, and in events a comment; return when the next is."""
        cdef HttpConnection connection = self.owner()
        cdef ServerCall call = self.call
        cdef HttpTerms terms
        if self.sign_due_ns == 0 or now < self.sign_due_ns or connection is None:
            return self.sign_due_ns
        self.sign_due_ns = 0
        # A call that was answered needs no sign, nor does a call that waits for its start and may still be refused.
        if call is None or call.was_ended or not (connection.has_begun or call.is_held and call.given is not None):
            return 0
        terms = terms_of(call)
        self._begin_messages(connection, call, terms)
        if terms.form == FORM_EVENTS:
            connection.send_part(b":\n\n")
            self._await_sign(connection, now)
        return self.sign_due_ns

    cdef object form_of(self, Call call):
        return terms_of(call).upload

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        return self.reader_waits(call)

    cdef int reader_waits(self, Call call) except -1:
        # A message of more than half a window is held until its reader asks for the next one.
        cdef HttpConnection connection = self.owner()
        if connection is not None and connection.is_body_held and self.call is call and call.stream is not None:
            if (<ServedStream>call.stream).held <= self.service.window_bytes // 2:
                connection.hold_body(False)
        return 0

    cdef bint output_is_full(self, Call call) noexcept:
        if self._engine is NULL:
            return False
        return (<HttpConnection>self._engine).is_stuck or (<HttpConnection>self._engine).output.size() > STREAM_ROOM

    cdef int await_turn(self, Call call) except -1:
        # The flush that makes room wakes it.
        return 0

    # The sender of a long request

    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1:
        cdef HttpConnection connection = <HttpConnection>self._engine
        connection.is_deciding = True
        if due_ns:
            connection.schedule_check(due_ns)
        return 0

    cdef int leave_rest(self, ServerCall call) except -1:
        cdef HttpConnection connection = <HttpConnection>self._engine
        self.leaves_body = connection.is_answering = True
        connection.takes_parts = False
        return 0

    cdef int sender_known(self, ServerCall call, int verdict) except -1:
        cdef HttpConnection connection = self.owner()
        if verdict != SENDER_ADMITTED or connection is None:
            return 0
        connection.admit_body()
        # A call without a body has begun, and no read ends behind it.
        return (<Gate>self.gate).runner.leave_task()

    # Of the connection

    def unknown_method(self, ServerCall call not None, str method not None, services):
        """Return the error text for a path without a method; for rpcx the text of servers in Go."""
        cdef RpcxHeaders headers = terms_of(call).rpcx
        if headers is not None:
            return unknown_method_in_go("phobos" if headers.is_phobos else "rpcx", method, services)
        if not method.startswith("/"):
            return None
        return self.service.unknown_path(f"/ws{method}" if terms_of(call).is_socket else method)

    def unknown_codec(self, ServerCall call not None):
        """Return the error text of servers in Go, for calls by the header gateway."""
        return None if terms_of(call).rpcx is None else unknown_codec_in_go(call.codec)

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        cdef object web = terms_of(call).web
        cdef bint is_field = self.talk is None and terms_of(call).rpcx is None and web is None
        cdef str key = breaking_key(metadata) if is_field else None
        if key is not None:
            text = f"{call.route.method}: the metadata {key!r} of its answer holds CR, LF or NUL, which no HTTP field can"
            raise CallError(Status.INTERNAL, text)
        if web is not None:
            web.check_sent(call.route.method, metadata)
        return 0

    cdef Marshal marshal_of(self, Call call):
        cdef HttpMethod target = terms_of(call).target
        if terms_of(call).web is not None:
            return <Marshal?>self.gate.dispatcher.message_marshal_of(call.route, call.codec == CODEC_JSON)
        if target is None:
            return EngineServedConnection.marshal_of(self, call)
        if terms_of(call).packing or self.service.compresses:
            self._choose_packing(<ServerCall>call, terms_of(call))
        return target.marshal(call.codec)

    cdef int _choose_packing(self, ServerCall call, HttpTerms terms) except -1:
        """Have the answer compressed that is about to be encoded, if the setting or the handler asks for it."""
        cdef HttpConnection connection = self.owner()
        cdef bint is_wanted = terms.packing == PACKED or terms.packing == 0 and self.service.compresses
        if terms.rpcx is not None or terms.done is not None or self.talk is not None or call.route.gives_stream:
            return 0
        terms.may_pack = is_wanted or self.service.compresses
        terms.takes_gzip = (
            is_wanted and connection is not None and self.call is call
            and COMPRESSOR_GZIP in self.gate.compressors and takes_gzip(connection.head)
        )
        if terms.takes_gzip:
            call.compressor = COMPRESSOR_GZIP
        return 0

    cdef list streams_under_way(self):
        return [] if self.call is None or self.call.stream is None else [self.call]
