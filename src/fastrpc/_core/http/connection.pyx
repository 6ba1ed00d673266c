"""The HTTP gateway's side of one connection: from requests to calls.

::

    head ──► Host, origin ──► fixed path ────────────────────────────► what is there answers
                        └──► method, verb, type ──► body ──► Gate.pass_in ──► handler

HttpServedConnection goes from there to responses. A request for a WebSocket is judged by its head alone; SocketTalk goes on.

RequestSender reads a long body once its sender is known. A request to a mounted application is a call without a method: the
gate counts and bounds it, and MountedRequest has its body and its response.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, MethodRoute
from fastrpc._core.http.http_call cimport new_call, terms_of
from fastrpc._core.http.messages cimport LINE_ARGUMENTS, LINE_END, LINE_VALUE, MESSAGE_COST, open_line
from fastrpc._core.http.mounted_request cimport MountedRequest, mounted_request_of
from fastrpc._core.http.mounted_socket cimport MountedSocket
from fastrpc._core.http.request_fields cimport is_long
from fastrpc._core.http.request_sender cimport RequestSender
from fastrpc._core.http.responses cimport NOSNIFF, PROBLEM_LINES, call_lines, fault_answer
from fastrpc._core.http.responses cimport problem_document, refusal_lines, retry_line, status_of_refusal
from fastrpc._core.http.responses cimport web_lines
from fastrpc._core.http.socket_talk cimport SocketTalk
from fastrpc._core.http1.response_head cimport field_lines
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.loop.turns cimport outlasts_turn
from fastrpc._core.server.connection_life cimport REST_NS
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.websocket.frames cimport CLOSE_RESTART
from fastrpc._core.wire.frame cimport ONE_WAY, REASON_DRAIN, Frame

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.http1.head import RequestRefusedError
from fastrpc.errors import CallError
from fastrpc.status import Status

# When to look again whether its last answer was taken.
cdef uint64_t UNSENT_NS = 50_000_000


@cython.final
cdef class GatewayConnection(HttpConnection):
    """One connection of a server's HTTP gateway."""

    def __init__(self, HttpService service not None, parts):
        cdef HttpServedConnection connection = HttpServedConnection(service.gate, "http")
        connection.join(self)
        HttpConnection.__init__(self, service.limits)
        self.life.set_age(parts.config.timeouts, parts.config.keepalive)
        self.service = service
        self.gate = service.gate
        self.watch = None if self.gate.watch is None else self.gate.watch.connection()
        connection.has_marshals = True
        connection.reveals_services = parts.reveals_services
        connection.service = service
        connection.keepalive = parts.config.keepalive
        connection.takes_values = service.serves_rpcx or service.serves_phobos
        self.connection = connection
        self.life.connection = <PyObject*>connection
        self.line = bytearray()
        self.sender = RequestSender()

    # From the head of a request to its call

    cdef int64_t head_came(self, RequestHead head) except? -2:
        cdef ServerCall call
        cdef HttpTerms terms
        self._forget()
        self.connection.now = self.connection.received_ns = self.now
        call = self.connection.call = new_call(self.connection, self.date())
        terms = terms_of(call)
        if self.service.proxies is not None:
            self.connection.follow_proxy(call, head)
        if terms.fault_status == 0:
            terms.understand(call, head, self.service)
        self.takes_parts = terms.takes_lines or terms.mount is not None and is_long(head)
        # An application may refuse a body that it has not seen.
        self.asks_later = terms.mount is not None and head.expects_continue and head.has_body
        if terms.mount is not None:
            self.connection.speak("asgi")
        elif self.service.web is not None or self.service.mounts is not None:
            self.connection.speak("http" if terms.web is None else terms.web.protocol)
        if terms.needs_identity and self.gate.asks_access():
            self.sender.identify(self, self.connection, call)
        return self.sender.admit(self, self.connection, call, terms, head)

    cdef int _forget(self) except -1:
        """Forget the request before."""
        if self.connection.talk is not None:
            self.connection.talk.drop(self)
        self.sender.drop()
        self.connection.forget()
        self.has_started = False
        if PyByteArray_GET_SIZE(self.line):
            self.tail_changed(-PyByteArray_GET_SIZE(self.line))
            self.line.clear()
        return 0

    # From the body to the gate

    cdef int request_came(self, RequestHead head, bytes body) except -1:
        cdef bytes payload
        cdef ServerCall call = self.connection.call
        cdef HttpTerms terms = terms_of(call)
        if terms.fault_status and not terms.is_fault_hidden:
            return self._answer_fault(call, terms)
        if terms.mount is not None:
            return self._enter_application(call, terms, head, body)
        if terms.is_socket and not terms.fault_status and (terms.path is not None or call.route is not None):
            return self._upgrade(call, terms)
        if terms.path is not None:
            if call.charge:
                # The calls that it makes are counted by themselves.
                self.gate.memory.charge(call, 0)
            terms.path.serve(self, head, body, call.identity)
            if outlasts_turn(PyBytes_GET_SIZE(body), self.turn_ends_ns):
                self.messages_left = 0
            return 0
        if self.takes_parts:
            # Its arguments come in its first line, or are the messages of its body.
            return 0 if terms.web is None or not call.route.takes_stream else self._pass_in(b"")
        if terms.web is not None and terms.web.payload is not None:
            payload = terms.web.payload
            return self._pass_in(payload)
        return self._pass_in(terms.payload_of(call, head, body))

    cdef int _enter_application(self, ServerCall call, HttpTerms terms, RequestHead head, bytes body) except -1:
        """Hand a request to the application at its path; a long body follows."""
        cdef MountedRequest request
        if terms.needs_identity and call.identity is None:
            terms.set_fault(401, "the caller is not authenticated", b"")
            return self._answer_fault(call, terms)
        terms.exchange = request = MountedRequest(self.connection, call, head)
        if terms.is_socket:
            MountedSocket(request, self.connection)
        elif not self.takes_parts:
            request.put(body, True)
        return self._pass_in(body)

    cdef int _pass_in(self, bytes payload) except -1:
        cdef ServerCall call = self.connection.call
        cdef bytes name = terms_of(call).name
        self.has_started = True
        self.connection.now = max(self.connection.now, self.now)
        self.connection.is_reading = self.is_reading
        self.connection.dated_ns = max(self.connection.dated_ns, self.rested_ns)
        if call.charge and call.route is None:
            self.gate.memory.charge(call, 0)
        if terms_of(call).rpcx is not None and self.connection.answers_at_once(call, payload):
            return 0
        if terms_of(call).mount is not None:
            self.gate.pass_unjudged(call, payload)
        else:
            self.gate.pass_in(call, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), 0, payload)
        if call.charge and not call.is_held and call.waiting_payload is None:
            # The call ended in its first step: the count of its body is taken back here.
            self.gate.memory.charge(call, 0)
        if self.connection.ended_ns > self.turn_ends_ns or outlasts_turn(PyBytes_GET_SIZE(payload), self.turn_ends_ns):
            self.messages_left = 0
        if self.connection.call is not None:
            # Its handler may go on in the next turn of the loop.
            self.woke = True
        return 0

    # A WebSocket

    cdef int _upgrade(self, ServerCall call, HttpTerms terms) except -1:
        """End the handshake of a WebSocket: what follows is no HTTP."""
        cdef SocketTalk talk = SocketTalk(self.service, call)
        self.connection.become(talk)
        talk.begin(self, terms.subprotocol, b"")
        terms.is_open = True
        if self.is_draining:
            self.begin_drain()

    cdef Py_ssize_t upgraded_came(self, const char* data, Py_ssize_t size) except -1:
        return self.connection.talk.take_bytes(self, data, size)

    cdef uint64_t upgraded_due(self, uint64_t now) except? 0:
        return 0 if self.connection.talk is None else self.connection.talk.check(self, now)

    def answer_message(self, bytes content not None):
        """Answer a message of a WebSocket at a fixed path, unless the connection is gone."""
        if self.connection.talk is not None and not self.is_closed:
            self.connection.talk.answer_message(self, content)

    def close(self, int reason=0, str text=""):
        """Close once all output is sent."""
        if self.connection.talk is not None and not self.is_closed:
            self.connection.talk.close(self, CLOSE_RESTART, text)
        else:
            HttpConnection.close(self, reason, text)

    # Faults

    cdef int _answer_fault(self, ServerCall call, HttpTerms terms) except -1:
        """Answer a request that the gate does not see."""
        cdef bint leaves_body = self.connection.leaves_body
        if terms.mount is not None and terms.fault_status in (401, 403):
            self.gate.count_refused(call, status_of_refusal(terms.fault_status), terms.fault_text)
        status, lines, content = fault_answer(call, terms, self.head)
        return self.answer(status, lines, content, leaves_body)

    cdef bytes refusal_of(self, object error):
        cdef ServerCall call = self.connection.call
        failure = Failure(status_of_refusal(error.status), error.text, has_run=False)
        if call is not None and self.head is not None and terms_of(call).web is not None:
            found = terms_of(call).web.refusal(failure, error.status)
            if found is not None:
                lines, document = web_lines(call, terms_of(call), self.head, found[1]), <bytes>found[2]
                return lines + retry_line(error.status, failure) + b"Content-Length: %d\r\n\r\n" % len(document) + document
        document = problem_document(error.status, failure, CODEC_JSON)
        lines = PROBLEM_LINES + retry_line(error.status, failure)
        if call is not None and self.head is not None:
            lines += refusal_lines(call, terms_of(call), self.head)
        return lines + b"Content-Length: %d\r\n\r\n" % len(document) + document

    cdef int body_awaited(self) except -1:
        cdef ServerCall call = self.connection.call
        if call is None:
            return 0
        if terms_of(call).mount is not None and not (self.is_deciding or terms_of(call).fault_status):
            # An application begins without the rest of a short body.
            self.takes_parts = True
        return 0 if self.has_started else self.gate.await_rest(call)

    cdef uint64_t _check_rest(self, uint64_t now) except? 0:
        """Answer a request whose deadline passes before the rest of it came, and close; return that deadline, 0 = none."""
        cdef ServerCall call = self.connection.call
        if self.body is None or self.has_started or self.is_deciding or call is None or call.deadline_ns == NO_DEADLINE:
            return 0
        if now < call.deadline_ns:
            return call.deadline_ns
        self.connection.now = now
        self.connection.leave_rest(call)
        self.gate.refuse_rest(call)
        return 0

    cdef int body_grew(self, Py_ssize_t size) except -1:
        """Count the received part of a body; a body over a budget is refused before its rest."""
        cdef ServerCall call = self.connection.call
        if call is None or terms_of(call).fault_status:
            return 0
        problem = self.gate.over_budget(call, size - call.charge, call.charge == 0)
        if problem is not None:
            count_refusal("memory")
            self.gate.count_refused(call, RESOURCE_EXHAUSTED, problem)
            raise RequestRefusedError(503, problem)
        return self.gate.memory.charge(call, size)

    cdef int request_dropped(self) except -1:
        cdef ServerCall call = self.connection.call
        self._forget()
        if call is not None:
            if self.connection.held and call in self.connection.held:
                self.gate.cancel(call, False)
            elif call.charge and call.waiting_payload is None:
                self.gate.memory.charge(call, 0)
        return 0

    # A body of messages

    cdef int _take_messages(self, ServerCall call, object web, bytes part, bint is_last) except -1:
        """Take a part of the body of a call by gRPC-Web or Connect."""
        cdef MethodRoute route = call.route
        cdef Py_ssize_t before = web.held
        cdef bytes message
        cdef int compressor
        try:
            found = web.cut(part, is_last)
        except CallError as error:
            found, fault = (), error
        else:
            fault = None
        if route.takes_stream:
            self.tail_changed(web.held - before)
        elif fault is None:
            self.body_grew(web.held)
        for message, compressor in found:
            if route.takes_stream:
                self._put(call, message, compressor)
            else:
                call.compressor = <uint8_t>compressor
                self._pass_in(message)
        if fault is not None or is_last and route.takes_stream:
            self._end_input(fault)
        return 0

    cdef int _put(self, ServerCall call, bytes message, int compressor) except -1:
        """Give a message to the stream of its call."""
        cdef ServedStream stream = <ServedStream>call.stream
        cdef Frame frame
        if stream is None:
            return 0
        memset(&frame, 0, sizeof(Frame))
        frame.codec = call.codec
        frame.compressor = <uint8_t>compressor
        stream.put(&frame, message, len(message) + MESSAGE_COST)
        if stream.held > self.service.window_bytes:
            self.hold_body(True)
        return 0

    # A body in lines

    cdef int part_came(self, bytes part, bint is_last) except -1:
        cdef ServerCall call = self.connection.call
        if call is not None and terms_of(call).upload is not None:
            return self._take_form(call, terms_of(call), part, is_last)
        if call is not None and terms_of(call).exchange is not None:
            return mounted_request_of(call).put(part, is_last)
        if call is not None and terms_of(call).web is not None:
            return self._take_messages(call, terms_of(call).web, part, is_last)
        cdef Py_ssize_t end = part.rfind(b"\n"), before = PyByteArray_GET_SIZE(self.line)
        cdef list lines = []
        if end >= 0:
            lines = (bytes(self.line) + part[:end]).split(b"\n")
            self.line = bytearray()
        self.line += part[end + 1:]
        if is_last:
            lines.append(bytes(self.line))
            self.line = bytearray()
        # Counted like bytes that wait for their turn, before a line is taken, which may end the connection.
        self.tail_changed(PyByteArray_GET_SIZE(self.line) - before)
        try:
            for line in lines:
                self._take_line(line.strip())
            if PyByteArray_GET_SIZE(self.line) > self.service.body_bytes:
                text = f"a line of the body has more than {self.service.body_bytes} bytes (Limits.message_bytes)"
                raise CallError(Status.RESOURCE_EXHAUSTED, text)
        except CallError as error:
            self._end_input(error)
        else:
            if is_last:
                self._end_input(None)
        return 0

    cdef int _take_form(self, ServerCall call, HttpTerms terms, bytes part, bint is_last) except -1:
        """Take a part of a form: behind its fields the call begins, with the file as its stream."""
        cdef list pieces
        cdef bytes piece
        if self.has_started and (call.stream is None or (<StreamChannel>call.stream).input_ended):
            # The call was refused, or its handler is over.
            return 0
        try:
            pieces = terms.upload.take(part)
            if not self.has_started:
                self._begin_upload(terms)
            for piece in pieces:
                self._put(call, piece, 0)
            if is_last:
                terms.upload.end()
        except CallError as error:
            self._end_input(error)
        else:
            if is_last:
                self._end_input(None)
        return 0

    cdef int _begin_upload(self, HttpTerms terms) except -1:
        """Count the fields of a form; begin its call once the file has come."""
        cdef bytes arguments
        if terms.upload.held > self.service.body_bytes:
            text = f"the fields of the form have more than {self.service.body_bytes} bytes (Limits.message_bytes)"
            raise CallError(Status.RESOURCE_EXHAUSTED, text)
        self.body_grew(terms.upload.held)
        if terms.upload.filename is None:
            return 0
        arguments = terms.upload.arguments()
        return self._pass_in(arguments if terms.routed is None else terms.routed.payload("", arguments, "json"))

    cdef int _take_line(self, bytes line) except -1:
        """Take a line of the body: arguments, a message, or the end of both."""
        cdef list content = []
        cdef int kind
        cdef ServerCall call = self.connection.call
        cdef ServedStream stream
        if not line or call is None:
            return 0
        kind = open_line(line, content)
        if kind == LINE_ARGUMENTS and self.has_started:
            raise CallError(Status.INVALID_ARGUMENT, "the arguments come in the first line of the body, and once")
        if not self.has_started:
            self._pass_in(content[0] if kind == LINE_ARGUMENTS else b"")
        stream = <ServedStream>call.stream
        if stream is None:
            return 0
        if stream.input_ended and kind == LINE_VALUE:
            raise CallError(Status.INVALID_ARGUMENT, "a message comes behind the end of the stream")
        if kind == LINE_END:
            stream.end_input(None)
        elif kind == LINE_VALUE:
            self._put(call, content[0], 0)
        return 0

    def _end_input(self, error):
        """No further message comes; what is wrong with the lines is told to a call that has not begun by its refusal."""
        cdef ServerCall call = self.connection.call
        if call is None:
            return
        if not self.has_started:
            if error is not None:
                if terms_of(call).web is not None:
                    terms_of(call).web.refuse(error.status, error.message)
                terms_of(call).refuse_later(call, 400, f"{call.method}: {error.message}")
            self._pass_in(b"")
        if call.stream is not None:
            (<StreamChannel>call.stream).end_input(error)

    # For what is at fixed paths

    def is_asked(self, RequestHead head not None):
        """Return whether this request still waits for its answer."""
        return self.head is head and self.is_answering and not self.is_closed

    def answer_path(self, int status, fields, bytes content not None):
        """Answer a request to a fixed path."""
        lines = field_lines(fields) + NOSNIFF + call_lines(self.connection.call, terms_of(self.connection.call), self.head)
        self.answer(status, lines, content, self.connection.leaves_body)

    def may_call(self, identity, MethodRoute route):
        """Return whether a caller may call a method, or None."""
        return self.gate.may_call(identity, route)

    def begin_call(self, str method not None, bytes arguments not None, done not None, str codec not None="json",
                   bint one_way=False):
        """Call a unary method in the name of the request being answered; `done` gets its `Outcome`."""
        cdef ServerCall asked = self.connection.call
        cdef ServerCall call = new_call(self.connection, self.date() if self.is_reading else now_ns())
        cdef bytes name = method.encode("utf-8", "surrogatepass")
        cdef HttpTerms terms = terms_of(call)
        cdef MethodRoute route
        self.connection.now = self.connection.received_ns = now_ns()
        terms.done = done
        if self.watch is not None:
            terms.part_of = self.head.target
        call.codec = CODEC_MSGPACK if codec == "msgpack" else CODEC_JSON
        call.flags = ONE_WAY if one_way else 0
        if one_way:
            self.note_unanswered()
        call.received_metadata = asked.received_metadata
        call.stated_timeout_us = asked.stated_timeout_us
        call.deadline_ns = asked.deadline_ns
        call.request_entry = asked.request_entry
        call.client = asked.client
        if terms_of(asked).origin is not None or call.client is not None:
            call.identity = None
        if not self.gate.refuses_early(call, name, PyBytes_GET_SIZE(arguments)):
            route = call.route
            if route is not None:
                terms.target = self.service.method_of(route)
                self._check_kind(terms, route)
            self.gate.pass_in_alone(call, name, arguments)
        return call

    def _check_kind(self, HttpTerms terms, MethodRoute route):
        if route.takes_stream or route.gives_stream:
            terms.set_fault(400, f"{route.method} is called as a stream, which has no place here", b"")

    # Calls of the server

    def begin_drain(self, int reason=0, str text=""):
        """Close with the next answer; once the server drains, a connection that rests has a second for its last request."""
        self.is_draining = True
        self.connection.is_draining = True
        if self.connection.drain_signal is not None:
            self.connection.drain_signal.set()
        if self.is_closed or reason and self.connection.talk is None:
            return
        if not self.life.drains:
            self.life.begin_drain(now_ns() + REST_NS)
            self.schedule_check(self.life.left_due())
        # Where the peer takes no output its time stays as it is; all is looked at once it does.
        if self.connection.talk is not None and not self.is_stuck:
            self._wait_until(earlier(self._due_ns, self.life.left_due()))

    @property
    def has_drained(self):
        """Whether no call is under way, all output is sent, and no last request is about to come."""
        if self.connection.talk is not None and not self.is_closed:
            if self.connection.talk.has_calls() or self.unsent_output():
                return False
            return now_ns() >= self.life.kept_until_ns
        # Otherwise the connection closes by itself: after its last answer, or once it has rested.
        return self.is_closed and not (self.connection.held or self.connection.queue or self.unsent_output())

    cdef bint _is_between(self) except -1:
        """Return whether no request is received or answered."""
        if self.is_answering or self.head is not None or self._seen:
            return False
        return not (self.connection.held or self.connection.queue)

    cdef uint64_t _check_leaving(self, uint64_t now) except? 0:
        """Close a connection that rests while the server drains; return when that is."""
        if not self.life.drains or self.connection.talk is not None or not self._is_between():
            return 0
        if self.is_stuck:
            # The last answer is still being taken; whatever lies behind it has its turn then.
            return max(now + UNSENT_NS, self.life.left_due())
        if not self.life.has_left(now, True):
            return self.life.next_ns
        self._end()
        self.gate.runner.tell_watcher()
        return self._due_ns

    def end_calls(self, str text not None):
        """Answer every call that is still under way, and stop its handler."""
        self.gate.end_calls(self.connection, text)

    def stats(self):
        """Return the calls under way on this connection, as plain data."""
        return self.connection.stats(self.unsent_output())

    # For the verdict about a certificate

    def describe_peer(self):
        """Return the other side of the connection."""
        return self.connection.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Note who the certificate names, and until when."""
        self.connection.certify(identity, valid_seconds, generation)
        return True

    def go_on(self):
        """Take the requests that waited for a verdict."""
        if self._stream is not NULL:
            (<ByteStream>self._stream).release_input()

    # The engine

    cdef int connected(self) except -1:
        if self.life.count_in():
            self.close(REASON_DRAIN, self.life.surplus_text())
            return 0
        HttpConnection.connected(self)
        if self.life.aged_at_ns:
            self.schedule_check(self.life.aged_at_ns)
        return 0

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        if not (self.life.has_heard or self.is_closed) and not self.life.hear_first(data, size):
            return 0
        return HttpConnection.receive(self, data, size)

    cdef int lost(self, object error) except -1:
        self.request_dropped()
        self.life.count_out(error)
        return HttpConnection.lost(self, error)

    cdef int read_done(self) except -1:
        self.connection.received_ns = self.received_ns
        self.connection.read_ended()
        return self.gate.runner.leave_task()

    cdef int flushed(self) except -1:
        cdef ServerCall call = self.connection.call
        if self.connection.output_held or self.is_stuck or self.output.size():
            self.life.weigh(self.connection.unsent_bytes(), self.now)
        if call is not None and terms_of(call).exchange is not None:
            mounted_request_of(call).wake_sender()
        elif self.has_begun and call is not None and call.stream is not None and not self.connection.output_is_full(call):
            # A stream that waits for memory is woken when there is memory.
            if not (<ServedStream>call.stream).awaits_memory:
                (<StreamChannel>call.stream).wake_sender()
        return self.gate.runner.tell_watcher()

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.date())

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.connection, change)

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due
        if self.connection.talk is not None and self.connection.talk.has_expired(now):
            self._due_ns = now
        due = self._check_rest(now)
        due = earlier(HttpConnection.check(self, now), due)
        if self.is_closed:
            return self._due_ns
        due = earlier(due, self.life.check_calls(now, self.connection.unsent_bytes()))
        due = earlier(due, self.sender.check(self, self.connection, now))
        due = earlier(due, self.life.check_age(now, self._is_between()))
        due = earlier(due, self._check_leaving(now))
        return self._due_ns if self.is_closed else earlier(due, self.connection.send_sign(now))
