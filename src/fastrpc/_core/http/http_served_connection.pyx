"""The served calls of one HTTP connection: from their outcomes to responses.

::

    Gate ──► do_answer, do_fail, do_refuse ──► Answering ──► conclude ──► Exchange.answer
        └──► send_head, send_message ────────► Answering ──► Exchange.send_part

The `Answering` of a request is chosen at its head. It is used only for the call of the present request, and for calls
that are parts of it; other calls have lost their client.
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED
from fastrpc._core.calls.call cimport Call
from fastrpc._core.http.http_call cimport HttpTerms, terms_of
from fastrpc._core.http.mounted_request cimport MountedRequest, mounted_request_of
from fastrpc._core.http.responses cimport http_status_of, refusal_of_call, status_of_load
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport take_client
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport ONE_WAY

from fastrpc._core.http.mounted_request import GRACE_SECONDS

cdef enum:
    # Bytes of output that wait, above which streams wait as well.
    STREAM_ROOM = 65_536


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

    cdef Exchange open_exchange(self):
        # The engine holds the exchange, which borrows the engine.
        return None if self._engine is NULL or (<Engine>self._engine).is_closed else self.exchange

    cdef Exchange exchange_of(self, Call call):
        return self.open_exchange() if self.call is call else None

    # The end of a call

    cdef int do_answer(self, Call call, bytes payload) except -1:
        cdef Exchange exchange = self.open_exchange()
        cdef HttpTerms terms = terms_of(call)
        if exchange is None or not (self.call is call or terms.done is not None):
            return 0
        return terms.answering.answer(exchange, <ServerCall>call, payload)

    cdef int do_fail(self, Call call, Failure failure) except -1:
        cdef int told = http_status_of(failure.status)
        if failure.status == RESOURCE_EXHAUSTED and not failure.has_run:
            # A handler that finds memory full is refused as if it had not started.
            told = status_of_load(<Gate>self.gate, failure.pushback_ms)
        return self.fail_as(<ServerCall>call, failure, told, b"")

    cdef bint is_unanswered(self, Call call) except -1:
        return self.call is call or terms_of(call).done is not None

    cdef int fail_as(self, ServerCall call, Failure failure, int status, bytes lines) except -1:
        """Answer with a failure, under a status of HTTP and with further fields."""
        cdef Exchange exchange = self.open_exchange()
        cdef HttpTerms terms = terms_of(call)
        if exchange is None or not self.is_unanswered(call):
            return 0
        # The handler set these fields for a result.
        terms.answer_fields = None
        return terms.answering.fail(exchange, call, failure, status, lines)

    def note_answer(self, ServerCall call not None, int status, dict fields, compress):
        """Keep what the handler says of its answer, unless its protocol has other answers."""
        terms_of(call).answering.note(self.exchange_of(call), call, status, fields, compress)

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

    cdef int do_refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        """Answer for a call that was not started, with the status of HTTP that says most."""
        cdef ServerCall served = <ServerCall>call
        cdef Exchange exchange = self.open_exchange()
        if exchange is None:
            return 0
        if served.charge and served.waiting_payload is None and not served.is_held:
            (<Gate>self.gate).memory.charge(served, 0)
        if call.flags & ONE_WAY:
            return 0
        if status == DEADLINE_EXCEEDED:
            exchange.engine().note_unanswered()
        told, failure, lines = refusal_of_call(served, terms_of(call), status, text, is_faulty)
        return self.fail_as(served, failure, told, lines)

    cdef int do_hold(self, Call call) except -1:
        """Let a stream whose handler suspends before its first message give a sign of life in time."""
        cdef Exchange exchange = self.exchange_of(call)
        if exchange is None:
            return 0
        return terms_of(call).answering.hold(exchange, <ServerCall>call)

    cdef int do_release(self, Call call) except -1:
        return 0

    cdef int leave_handler(self, Call call) except -1:
        """Notify an application that its request is over; after a timeout it has a while before it is cancelled."""
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

    cdef int send_head(self, Call call, bytes metadata) except -1:
        cdef Exchange exchange = self.exchange_of(call)
        if exchange is None:
            return 0
        return terms_of(call).answering.head(exchange, <ServerCall>call, metadata)

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        cdef Exchange exchange = self.exchange_of(call)
        if exchange is None:
            return 0
        return terms_of(call).answering.message(exchange, <ServerCall>call, payload, compressor)

    cdef int wake_stream(self, Exchange exchange, ServerCall call) except -1:
        if not exchange.has_begun or call.stream is None or self.output_is_full(call):
            return 0
        # A stream that waits for memory is woken when there is memory.
        return 0 if (<ServedStream>call.stream).awaits_memory else (<StreamChannel>call.stream).wake_sender()

    cdef int await_sign(self, uint64_t now) except -1:
        """Let the next sign of life be due one interval from now."""
        self.sign_due_ns = now + self.service.sign_ns
        return self.look_by(self.sign_due_ns)

    cdef uint64_t send_sign(self, uint64_t now) except? 0:
        """Send a sign of life in a stream where one is due: its head, and in events a comment; return when the next is."""
        cdef Exchange exchange = self.open_exchange()
        cdef ServerCall call = self.call
        if self.sign_due_ns == 0 or now < self.sign_due_ns or exchange is None:
            return self.sign_due_ns
        self.sign_due_ns = 0
        # A call that was answered needs no sign, nor does a call that waits for its start and may still be refused.
        if call is None or call.was_ended or not (exchange.has_begun or call.is_held and call.given is not None):
            return 0
        terms_of(call).answering.sign(exchange, call, now)
        return self.sign_due_ns

    cdef object form_of(self, Call call):
        return terms_of(call).upload

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        return self.reader_waits(call)

    cdef int reader_waits(self, Call call) except -1:
        # A message of more than half a window is held until its reader asks for the next one.
        cdef Exchange exchange = self.exchange_of(call)
        if exchange is not None and exchange.is_body_held and call.stream is not None:
            if (<ServedStream>call.stream).held <= self.service.window_bytes // 2:
                exchange.hold_body(False)
        return 0

    cdef bint output_is_full(self, Call call) noexcept:
        if self._engine is NULL:
            return False
        return self.exchange.is_stuck or (<Engine>self._engine).output.size() > STREAM_ROOM

    cdef int await_turn(self, Call call) except -1:
        # The flush that makes room wakes it.
        return 0

    # The sender of a long request

    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1:
        self.exchange.is_deciding = True
        return self.look_by(due_ns) if due_ns else 0

    cdef int leave_rest(self, ServerCall call) except -1:
        self.leaves_body = self.exchange.is_answering = True
        self.exchange.takes_parts = False
        return 0

    cdef int sender_known(self, ServerCall call, int verdict) except -1:
        cdef Exchange exchange = self.open_exchange()
        if verdict != SENDER_ADMITTED or exchange is None:
            return 0
        exchange.admit_body()
        # A call without a body has begun, and no read ends behind it.
        return (<Gate>self.gate).runner.leave_task()

    # Words and forms

    cdef int taken_compressor(self, Call call, int number, object compressor) except -1:
        return terms_of(call).answering.dialect.compressor(call, number)

    def unknown_method(self, ServerCall call not None, str method not None, services):
        """Return the error text for a path without a method; for rpcx the text of servers in Go."""
        return terms_of(call).answering.dialect.unknown_method(call, method, services)

    def unknown_codec(self, ServerCall call not None):
        """Return the error text of servers in Go, for calls by the header gateway."""
        return terms_of(call).answering.dialect.unknown_codec(call)

    def unknown_compressor(self, ServerCall call not None):
        """Return the error text for an unknown compressor."""
        return terms_of(call).answering.dialect.unknown_compressor(call)

    def corrupt_status(self, ServerCall call not None):
        """Return the status for a request, or a message of its stream, that cannot be decompressed."""
        return terms_of(call).answering.dialect.corrupt_status(call)

    def encode_details(self, ServerCall call not None, int status, str text, details):
        """Return the details of an error in the form of gRPC, for the protocols that descend from it."""
        return terms_of(call).answering.dialect.details(call, status, text, details)

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        return terms_of(call).answering.check_sent(<ServerCall>call, metadata)

    cdef Marshal marshal_of(self, Call call):
        cdef Marshal marshal = terms_of(call).answering.marshal(<ServerCall>call)
        return EngineServedConnection.marshal_of(self, call) if marshal is None else marshal

    cdef list streams_under_way(self):
        return [] if self.call is None or self.call.stream is None else [self.call]
