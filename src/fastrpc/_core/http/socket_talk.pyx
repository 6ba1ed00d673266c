"""One WebSocket: a call, or the messages of JSON-RPC.

::

    frames ──► WebSocketReader ──► envelope ──► first: Gate.pass_in     value, end: the stream of the call
                    │     └──► of a fixed path: what is there answers, in any order
                    └──► ping: pong     close: the call is cancelled
    HttpServedConnection ──► value, end, error ──► frames ──► close frame

A connection at `/ws/service/method` is one call: it closes behind the answer. Messages that its handler has not taken
stay within the window of a stream, and nothing more is read. Output that the peer has not taken holds the handler, as in
any stream.

The times are those of requests (HTTPLimits): the first envelope and each message have `body_idle_seconds`, as a body has.
While a call is under way, a peer that was silent for `idle_seconds` is sent a ping, and is gone if nothing comes of it.
"""

import base64
import binascii
import math

import msgspec

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memset

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.messages cimport MESSAGE_COST, before_value, behind_value, end_envelope, error_envelope
from fastrpc._core.http.messages cimport metadata_envelope, opened_envelope, value_envelope
from fastrpc._core.http.request_fields cimport metadata_texts, switching_lines
from fastrpc._core.payload.metadata cimport METADATA_OK, check_metadata, encode_metadata
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.websocket.frames cimport (
    CLOSE_NO_CODE,
    CLOSE_NORMAL,
    CLOSE_POLICY,
    CLOSE_RESTART,
    CLOSE_TRY_LATER,
    OPCODE_BINARY,
    OPCODE_CLOSE,
    OPCODE_PING,
    OPCODE_PONG,
    OPCODE_TEXT,
    TAKEN_CLOSE,
    TAKEN_MESSAGE,
    TAKEN_NOTHING,
    TAKEN_PING,
    close_content,
    frame_of,
    head_of,
)
from fastrpc._core.wire.frame cimport TIMEOUT_NONE, Frame

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.http.responses import problem
from fastrpc._core.websocket.frames import SocketViolationError
from fastrpc.errors import CallError
from fastrpc.status import Status

cdef enum:
    # Bytes kept of a message before it is compared with the budgets, and bytes copied of one that is sent.
    SMALL_MESSAGE = 65_536

cdef double LONGEST_MS = 1e12
cdef uint64_t SECOND = 1_000_000_000


@cython.final
cdef class SocketTalk:

    def __init__(self, HttpService service not None, ServerCall call not None):
        cdef bint is_packed = call.codec == CODEC_MSGPACK
        self.service = service
        self.call = call
        self.terms = terms_of(call)
        self.codec = CODEC_MSGPACK if is_packed else CODEC_JSON
        self.reader = WebSocketReader(service.body_bytes, takes_text=not is_packed, takes_binary=is_packed)

    cdef int begin(self, HttpConnection engine, str protocol) except -1:
        """End the handshake."""
        cdef uint64_t first
        self.began_ns = self.used_ns = now_ns()
        self.expires_ns = earlier(self.call.own_expires_ns, self.call.connection.expires_ns)
        engine.has_begun = engine.is_upgraded = True
        engine.write(switching_lines(engine.head, protocol))
        first = min(engine.life.patience_ns, engine.life.idle_ns)
        return engine._wait_until(earlier(self.began_ns + first, self.expires_ns))

    # Bytes in

    cdef Py_ssize_t receive(self, HttpConnection engine, const char* data, Py_ssize_t size) except -1:
        """Take what is whole of these bytes; return how many those are."""
        cdef Py_ssize_t at = 0, part
        cdef int taken = TAKEN_NOTHING
        if self.pinged_ns:
            # The peer is there.
            self.pinged_ns = 0
            # The check finds the next end: it may be a message, a credential or the time to leave.
            engine._wait_until(engine.now)
        try:
            while at < size and engine._may_parse():
                part = self.reader.take(data + at, size - at, &taken)
                if part == 0:
                    break
                at += part
                engine.messages_left -= 1
                if taken == TAKEN_NOTHING:
                    self.message_bytes += part
                else:
                    self._take(engine, taken)
                if taken != TAKEN_MESSAGE:
                    # Any number of control frames and of pieces may come.
                    engine.note_unanswered()
                if at < size and engine.messages_left < 0 and engine.has_to_wait():
                    break
        except SocketViolationError as error:
            self.close(engine, error.code, error.text)
        if engine.is_closed:
            return size
        self._count(engine)
        self._watch_message(engine)
        return at

    cdef int _take(self, HttpConnection engine, int taken) except -1:
        """Take a message, or a control frame."""
        cdef bytes payload = self.reader.payload
        self.reader.payload = b""
        if taken == TAKEN_PING:
            return self._send_frame(engine, OPCODE_PONG, payload)
        if taken == TAKEN_CLOSE:
            return self.close(engine, self.reader.close_code, "")
        if taken != TAKEN_MESSAGE:
            return 0
        self.used_ns = engine.now
        self.message_bytes = 0
        self.message_due_ns = 0
        self.weighed = 0
        if self.terms.path is not None:
            self.terms.path.take_message(engine, engine.head, payload, self.call.identity)
            return 0
        try:
            return self._take_envelope(engine, payload)
        except CallError as error:
            return self._refuse_misuse(engine, error)

    cdef int _count(self, HttpConnection engine) except -1:
        """Count what is kept of a message, like bytes that wait for their turn; one over a budget ends the connection."""
        cdef Py_ssize_t held = self.reader.held_bytes(), whole
        cdef Gate gate = self.service.gate
        if held != self.counted:
            engine.tail_changed(held - self.counted)
            self.counted = held
        # A frame tells its length, and not how many more follow. The bytes held of it are counted already.
        whole = held + <Py_ssize_t>self.reader.left
        if held > SMALL_MESSAGE and self.call is not None:
            refusal = gate.over_budget(self.call, whole if whole > self.weighed else 0, self.weighed == 0)
            self.weighed = max(self.weighed, whole)
            if refusal is not None:
                count_refusal("memory")
                self.close(engine, CLOSE_TRY_LATER, refusal)
        return 0

    cdef int _watch_message(self, HttpConnection engine) except -1:
        """Have a message that is not whole go on in time, and come at a lowest rate."""
        if self.reader.opcode == 0 or engine.is_closed:
            return 0
        if self.message_due_ns == 0:
            self.message_began_ns = engine.now
        self.message_due_ns = engine.life.message_due(self.message_began_ns, engine.now, self.message_bytes)
        if engine._due_ns == 0 or engine._due_ns > self.message_due_ns:
            engine._wait_until(self.message_due_ns)
        return 0

    # Envelopes

    cdef int _take_envelope(self, HttpConnection engine, bytes message) except -1:
        cdef dict parts
        cdef ServedStream stream
        if self.call is None:
            return 0
        parts = opened_envelope(self.codec, message)
        if not self.has_started:
            self._start(engine, parts)
        elif not ("value" in parts or "end" in parts):
            raise CallError(Status.INVALID_ARGUMENT, "the arguments come in the first envelope, and once")
        if "value" in parts:
            return self._take_value(engine, parts["value"])
        if "end" in parts and self.call is not None and self.call.stream is not None:
            stream = <ServedStream>self.call.stream
            stream.end_input(None)
        return 0

    cdef int _take_value(self, HttpConnection engine, bytes value) except -1:
        """Take a message of the stream; a full one holds the peer."""
        cdef ServerCall call = self.call
        cdef ServedStream stream
        cdef Frame frame
        if call is None:
            return 0
        if not call.route.takes_stream:
            raise CallError(Status.INVALID_ARGUMENT, "the method takes no stream of messages")
        stream = <ServedStream>call.stream
        if stream is None:
            return 0
        if stream.input_ended:
            raise CallError(Status.INVALID_ARGUMENT, "a message comes behind the end of the stream")
        memset(&frame, 0, sizeof(Frame))
        frame.codec = <unsigned char>self.codec
        stream.put(&frame, value, PyBytes_GET_SIZE(value) + MESSAGE_COST)
        if stream.held > self.service.window_bytes:
            engine.hold_body(True)
        return 0

    cdef int _start(self, HttpConnection engine, dict parts) except -1:
        """Hand the call to the gate, with what its first envelope says."""
        self._take_opening(engine, parts)
        return self._pass_in(engine, parts.get("arguments", b"\x80" if self.codec == CODEC_MSGPACK else b"{}"))

    cdef int _take_opening(self, HttpConnection engine, dict parts) except -1:
        """Note the timeout and the metadata of an envelope."""
        cdef ServerCall call = self.call
        cdef bytes metadata
        # The call begins now: who connected before may have waited.
        call.started_ns = max(engine.date(), self.began_ns)
        if "timeout_ms" in parts:
            timeout = decoded(self.codec, parts["timeout_ms"])
            if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 <= timeout < math.inf:
                raise CallError(Status.INVALID_ARGUMENT, f"timeout_ms is {timeout!r:.100}, it must be a number from 0")
            if timeout == 0:
                call.deadline_ns = call.started_ns
            elif timeout < LONGEST_MS:
                stated = max(1, int(timeout * 1000))
                if call.stated_timeout_us in (0, TIMEOUT_NONE) or stated < call.stated_timeout_us:
                    call.stated_timeout_us = stated
        if "metadata" in parts:
            entries = metadata_entries(decoded(self.codec, parts["metadata"]), call.metadata)
            metadata = (call.received_metadata or b"") + encode_metadata(entries)
            if check_metadata(
                PyBytes_AS_STRING(metadata), PyBytes_GET_SIZE(metadata), self.service.gate.metadata_bytes
            ) != METADATA_OK:
                text = f"the metadata is over the limit of {self.service.gate.metadata_bytes} bytes (Limits.metadata_bytes)"
                raise CallError(Status.INVALID_ARGUMENT, text)
            call.received_metadata = metadata or None
            # It was decoded for the handshake.
            call._metadata = None
        return 0

    cdef int _pass_in(self, HttpConnection engine, bytes payload) except -1:
        cdef ServerCall call = self.call
        cdef ServedConnection connection = call.connection
        cdef bytes name = self.terms.name
        self.has_started = True
        connection.now = connection.received_ns = max(connection.now, engine.now)
        connection.is_reading = engine.is_reading
        self.service.gate.pass_in(call, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), 0, payload)
        if connection.ended_ns > engine.turn_ends_ns:
            engine.messages_left = 0
        # Its handler may go on in the next turn of the loop.
        engine.woke = True
        return 0

    cdef int _refuse_misuse(self, HttpConnection engine, object error) except -1:
        """Tell the caller what is wrong with an envelope: behind the guards, as of any request."""
        cdef ServerCall call = self.call
        if call is None:
            return 0
        text = f"{call.route.method}: {error.message}"
        if not self.has_started:
            self.terms.refuse_later(call, 400, text)
            return self._pass_in(engine, b"")
        if call.route.takes_stream and call.stream is not None:
            (<ServedStream>call.stream).end_input(CallError(error.status, text))
            return 0
        self.service.gate.note_answered(call, INVALID_ARGUMENT, text)
        return call.connection.do_fail(call, Failure(INVALID_ARGUMENT, text))

    # Messages out

    cdef int _send_frame(self, HttpConnection engine, int opcode, bytes content) except -1:
        engine.write(frame_of(opcode, content))
        return 0

    cdef int _send(self, HttpConnection engine, bytes content) except -1:
        self.used_ns = engine.now
        engine.write(frame_of(OPCODE_BINARY if self.codec == CODEC_MSGPACK else OPCODE_TEXT, content))
        return 0

    cdef int send_message(self, HttpConnection engine, bytes payload) except -1:
        """Send a message of a stream, or an answer; a large one is put together where it leaves, not here."""
        cdef bytes before, behind
        cdef Py_ssize_t size
        if PyBytes_GET_SIZE(payload) <= SMALL_MESSAGE:
            return self._send(engine, value_envelope(self.codec, payload))
        before, behind = before_value(self.codec), behind_value(self.codec)
        size = PyBytes_GET_SIZE(before) + PyBytes_GET_SIZE(payload) + PyBytes_GET_SIZE(behind)
        self.used_ns = engine.now
        engine.write(head_of(OPCODE_BINARY if self.codec == CODEC_MSGPACK else OPCODE_TEXT, <uint64_t>size) + before)
        engine.write(payload)
        engine.write(behind)
        return 0

    cdef int send_head(self, HttpConnection engine, bytes metadata) except -1:
        """Send the metadata that comes before the first message."""
        texts = metadata_texts(metadata)
        return self._send(engine, metadata_envelope(self.codec, texts)) if texts else 0

    cdef int answer(self, HttpConnection engine, ServerCall call, bytes payload) except -1:
        """Answer the call, and close."""
        if not call.route.gives_stream:
            self.send_message(engine, payload)
        texts = {} if call.sent_metadata is None else metadata_texts(call.sent_metadata)
        self._send(engine, end_envelope(self.codec, texts))
        return self._finish(engine, CLOSE_NORMAL, "")

    cdef int fail(self, HttpConnection engine, ServerCall call, Failure failure, int status) except -1:
        """Answer the call with a failure, and close."""
        cdef int code = CLOSE_NORMAL
        if failure.status == UNAUTHENTICATED or failure.status == PERMISSION_DENIED:
            code = CLOSE_POLICY
        elif failure.status == UNAVAILABLE and engine.is_draining:
            code = CLOSE_RESTART
        self._send(engine, error_envelope(self.codec, problem(failure, call.codec, status)))
        return self._finish(engine, code, "")

    cdef int answer_message(self, HttpConnection engine, bytes content) except -1:
        """Answer a message at a fixed path."""
        self._send(engine, content)
        if (engine.is_draining or self.expires_ns) and not engine.is_stuck:
            # It may have been the last one. A peer that takes no output keeps its time; then it is looked at anyhow.
            engine._wait_until(now_ns())
        return 0

    cdef int close(self, HttpConnection engine, int code, str reason) except -1:
        """Close, also before the answer: what is under way is cancelled."""
        cdef ServedConnection connection
        if self.has_closed or engine.is_closed:
            return 0
        connection = (<ServerCall>self.call).connection if self.call is not None else None
        self._finish(engine, code, reason)
        return 0 if connection is None else self.service.gate.leave(connection)

    cdef int _finish(self, HttpConnection engine, int code, str reason) except -1:
        self.call = None
        if self.has_closed:
            return 0
        self.has_closed = True
        self._send_frame(engine, OPCODE_CLOSE, b"" if code == CLOSE_NO_CODE else close_content(code, reason))
        return engine._end()

    cdef int drop(self, HttpConnection engine) except -1:
        """The connection is gone, or about to be: forget what is kept."""
        self.call = None
        if self.counted:
            engine.tail_changed(-self.counted)
            self.counted = 0
        return 0

    # Time

    cdef bint has_calls(self) except -1:
        """Return whether a call is under way. An incomplete message does not count: a peer could never finish it."""
        cdef ServedConnection connection
        if self.call is None:
            return False
        connection = self.call.connection
        return bool(connection.held) or bool(connection.queue)

    cdef uint64_t check(self, HttpConnection engine, uint64_t now) except? 0:
        """Close what is silent, late, expired or drained; return when to look again."""
        cdef uint64_t due
        if self.has_closed or self.call is None:
            return 0
        if not self.has_calls():
            if self.expires_ns and now >= self.expires_ns and (self.terms.path is not None or not self.has_started):
                self.close(engine, CLOSE_POLICY, "the credential has expired")
                return engine._due_ns
            if engine.life.drains and engine.life.has_left(now, True):
                self.close(engine, CLOSE_RESTART, "the server drains")
                return engine._due_ns
        if self.message_due_ns and now >= self.message_due_ns and not engine.is_body_held:
            self.close(engine, CLOSE_POLICY, "the message did not come in time")
            return engine._due_ns
        if self.has_calls() or self.reader.opcode:
            due = self._check_peer(engine, now)
        else:
            due = self._check_rest(engine, now)
        if engine.is_closed:
            return engine._due_ns
        leaves = (engine.life.left_due(), engine.life.next_ns) if engine.life.drains else ()
        for other in (self.message_due_ns, self.expires_ns, *leaves):
            if other > now:
                due = earlier(due, other)
        return due

    cdef uint64_t _check_peer(self, HttpConnection engine, uint64_t now) except? 0:
        """Ask a peer that is silent during a call whether it is there."""
        cdef uint64_t idle_ns = engine.life.idle_ns, wait_ns = engine.life.patience_ns
        if engine.is_body_held:
            # Nothing is read, so silence proves nothing.
            self.pinged_ns = 0
            return now + idle_ns
        if self.pinged_ns == 0 and now >= engine.received_ns + idle_ns:
            self.pinged_ns = now
            self._send_frame(engine, OPCODE_PING, b"")
        if self.pinged_ns == 0:
            return engine.received_ns + idle_ns
        if now >= self.pinged_ns + wait_ns:
            engine.abort()
            return 0
        return self.pinged_ns + wait_ns

    cdef uint64_t _check_rest(self, HttpConnection engine, uint64_t now) except? 0:
        """Close a connection that makes no use of itself."""
        cdef uint64_t due
        if self.terms.path is None:
            due = engine.life.message_due(self.began_ns, self.began_ns, 0)
            if now >= due and not self.has_started:
                self.close(engine, CLOSE_POLICY, "the arguments did not come in time")
            return due if now < due else now + SECOND
        due = engine.life.rest_due(self.used_ns)
        if due and now >= due:
            self.close(engine, CLOSE_NORMAL, "no message came for long")
        return due


cdef object decoded(int codec, bytes part):
    try:
        return msgspec.msgpack.decode(part) if codec == CODEC_MSGPACK else msgspec.json.decode(part)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CallError(Status.INVALID_ARGUMENT, f"an envelope cannot be decoded: {error}") from None


cdef dict metadata_entries(object given, object known):
    """Return the metadata of an envelope; CallError: it has none of that form."""
    cdef dict entries = {}
    if not isinstance(given, dict):
        raise CallError(Status.INVALID_ARGUMENT, "metadata is an object of texts")
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise CallError(Status.INVALID_ARGUMENT, "metadata is an object of texts")
        if key == "authorization" or key.startswith("frpc-"):
            raise CallError(Status.INVALID_ARGUMENT, f"the metadata {key!a:.100} is reserved")
        if key in known:
            raise CallError(Status.INVALID_ARGUMENT, f"the metadata {key!a:.100} came with the handshake already")
        try:
            entries[key] = base64.b64decode(value, validate=True) if key.endswith("-bin") else value
            encode_metadata({key: entries[key]})
        except (ValueError, TypeError, binascii.Error) as error:
            raise CallError(Status.INVALID_ARGUMENT, f"the metadata {key!a:.100} is wrong: {error}") from None
    return entries
