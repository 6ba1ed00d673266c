"""A WebSocket that carries one call, or the messages of a fixed path such as JSON-RPC.

::

    frames ──► WebSocketReader ──► envelope ──► first: Gate.pass_in     value, end: the stream of the call
                    │     └──► of a fixed path: its handler answers, in any order
                    └──► ping: pong     close: the call is cancelled
    HttpOutcomes ──► value, end, error ──► frames ──► close frame

A WebSocket at `/ws/service/method` is one call, and closes after the answer. When messages that the handler has not read
fill the window of a stream, nothing more is read. Output that the peer does not read blocks the handler, as in any
stream.

The first envelope must arrive within the time limit of a message (SocketEnd).
"""

import base64
import binascii
import math

import msgspec

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK
from fastrpc._core.base.status cimport INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.messages cimport before_value, behind_value, envelope_of, opened_envelope
from fastrpc._core.http.path_exchange cimport new_path_exchange
from fastrpc._core.http.request_fields cimport SMALL_BODY, metadata_texts, too_much_metadata
from fastrpc._core.http.request_intake cimport pass_in, put_message
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http.socket_end cimport SocketEnd
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.loop.turns cimport outlasts_turn
from fastrpc._core.payload.metadata cimport METADATA_OK, check_metadata, encode_metadata
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.websocket.frames cimport (
    CLOSE_NORMAL,
    CLOSE_POLICY,
    CLOSE_RESTART,
    OPCODE_BINARY,
    OPCODE_TEXT,
    WebSocketReader,
    frame_of,
    head_of,
)
from fastrpc._core.wire.frame cimport TIMEOUT_NONE

from fastrpc._core.http.responses import problem
from fastrpc.errors import CallError
from fastrpc.status import Status

cdef enum:
    # The most bytes of a message that are copied to be sent in one part.
    SMALL_MESSAGE = 65_536
    # The metadata of an envelope is decoded if its size is at most this multiple of the limit, as JSON may write one byte
    # as an escape of six.
    PART_FACTOR = 8

# Decoders by codec for the parts that are decoded before the guards. They are typed, so a wrong type fails early.
cdef dict decode_number = {
    CODEC_JSON: msgspec.json.Decoder(int | float).decode, CODEC_MSGPACK: msgspec.msgpack.Decoder(int | float).decode
}
cdef dict decode_texts = {
    CODEC_JSON: msgspec.json.Decoder(dict[str, str]).decode, CODEC_MSGPACK: msgspec.msgpack.Decoder(dict[str, str]).decode
}
cdef str NO_STREAM = "the method takes no stream of messages"
cdef double LONGEST_MS = 1e12
cdef uint64_t SECOND = 1_000_000_000


@cython.final
cdef class SocketTalk(SocketEnd):

    cdef:
        # How envelopes are encoded.
        int codec

    def __init__(self, ServerCall call not None):
        cdef HttpService service = terms_of(call).request.service
        cdef bint is_packed = call.codec == CODEC_MSGPACK
        # For an unknown sender of messages to a fixed path, the limit is SMALL_BODY, as for bodies.
        cdef bint is_small = terms_of(call).path is not None and call.identity is None and service.gate.guards.asks_access()
        self.service = service
        self.call = call
        self.terms = terms_of(call)
        self.codec = CODEC_MSGPACK if is_packed else CODEC_JSON
        most = min(service.body_bytes, <int64_t>SMALL_BODY) if is_small else service.body_bytes
        self.reader = WebSocketReader(most, takes_text=not is_packed, takes_binary=is_packed)

    # Hooks

    cdef int message_came(self, Exchange exchange, int kind, bytes message) except -1:
        cdef Engine engine
        if self.terms.path is not None:
            engine = exchange.engine()
            self.terms.path.take_message(new_path_exchange(exchange, self.call, True), message, self.call.identity)
            if outlasts_turn(PyBytes_GET_SIZE(message), engine.turn_ends_ns):
                engine.messages_left = 0
            return 0
        try:
            return self._take_envelope(exchange, message)
        except CallError as error:
            return self._refuse_misuse(exchange, error)

    # Envelopes

    cdef int _take_envelope(self, Exchange exchange, bytes message) except -1:
        cdef dict parts
        cdef ServedStream stream
        if self.call is None:
            return 0
        parts = opened_envelope(self.codec, message)
        if not self.terms.request.has_started:
            if "value" in parts and not self.call.route.takes_stream:
                # Refused before the handler starts: it could not receive the message.
                raise CallError(Status.INVALID_ARGUMENT, NO_STREAM)
            self._start(exchange, parts)
        elif not ("value" in parts or "end" in parts):
            raise CallError(Status.INVALID_ARGUMENT, "the arguments come in the first envelope only")
        if "value" in parts:
            return self._take_value(parts["value"])
        if "end" in parts and self.call is not None and self.call.stream is not None:
            stream = <ServedStream>self.call.stream
            stream.end_input(None)
        return 0

    cdef int _take_value(self, bytes value) except -1:
        """Put a message into the stream; if the stream is full, stop reading from the peer."""
        cdef ServerCall call = self.call
        if call is None:
            return 0
        if not call.route.takes_stream:
            raise CallError(Status.INVALID_ARGUMENT, NO_STREAM)
        if call.stream is not None and (<ServedStream>call.stream).input_ended:
            raise CallError(Status.INVALID_ARGUMENT, "a message follows the end of the stream")
        return put_message(self.terms.request, call, value, 0)

    cdef int _start(self, Exchange exchange, dict parts) except -1:
        """Pass the call to the gate, with the parts of its first envelope."""
        self._take_opening(exchange, parts)
        return self._pass_in(exchange, parts.get("arguments", b"\x80" if self.codec == CODEC_MSGPACK else b"{}"))

    cdef int _take_opening(self, Exchange exchange, dict parts) except -1:
        """Set the timeout and the metadata that the first envelope states."""
        cdef ServerCall call = self.call
        cdef bytes metadata
        # The call begins now, not at the handshake.
        call.started_ns = max(exchange.date(), self.began_ns)
        if "timeout_ms" in parts:
            timeout = stated_milliseconds(self.codec, parts["timeout_ms"])
            if timeout == 0:
                call.deadline_ns = call.started_ns
            elif timeout < LONGEST_MS:
                stated = max(1, int(timeout * 1000))
                if call.stated_timeout_us in (0, TIMEOUT_NONE) or stated < call.stated_timeout_us:
                    call.stated_timeout_us = stated
        if "metadata" in parts:
            if len(parts["metadata"]) > PART_FACTOR * self.service.gate.metadata_bytes:
                raise self._too_much_metadata()
            entries = metadata_entries(stated_texts(self.codec, parts["metadata"]), call.metadata)
            metadata = (call.received_metadata or b"") + encode_metadata(entries)
            if check_metadata(metadata, len(metadata), self.service.gate.metadata_bytes) != METADATA_OK:
                raise self._too_much_metadata()
            call.received_metadata = metadata or None
            # Clear the decoded metadata, which is the handshake's alone.
            call._metadata = None
        return 0

    cdef object _too_much_metadata(self):
        return CallError(Status.INVALID_ARGUMENT, too_much_metadata(self.service.gate.metadata_bytes))

    cdef int _pass_in(self, Exchange exchange, bytes payload) except -1:
        cdef ServedConnection connection = self.call.connection
        # The handshake arrived in an earlier read than the envelope.
        connection.received_ns = max(connection.now, exchange.engine().now)
        return pass_in(self.terms.request, payload)

    cdef int _refuse_misuse(self, Exchange exchange, object error) except -1:
        """Refuse a faulty envelope with its reason, after the guards of the gate, like any faulty request."""
        cdef ServerCall call = self.call
        if call is None:
            return 0
        text = f"{call.route.method}: {error.message}"
        if not self.terms.request.has_started:
            self.terms.refuse_later(call, 400, text)
            return self._pass_in(exchange, b"")
        if call.route.takes_stream and call.stream is not None:
            (<ServedStream>call.stream).end_input(CallError(error.status, text))
            return 0
        self.service.gate.note_answered(call, INVALID_ARGUMENT, text)
        return call.connection.tell_failure(call, Failure(INVALID_ARGUMENT, text))

    # Messages out

    cdef int _send(self, Exchange exchange, bytes content) except -1:
        self.used_ns = exchange.engine().now
        return exchange.send(frame_of(OPCODE_BINARY if self.codec == CODEC_MSGPACK else OPCODE_TEXT, content))

    cdef int message(self, Exchange exchange, ServerCall call, bytes payload, int compressor) except -1:
        """Send a message of a stream, or an answer. A large one is sent as three parts, to avoid a copy."""
        cdef bytes before = before_value(self.codec), behind = behind_value(self.codec)
        cdef Py_ssize_t size
        if PyBytes_GET_SIZE(payload) <= SMALL_MESSAGE:
            return self._send(exchange, before + payload + behind)
        size = PyBytes_GET_SIZE(before) + PyBytes_GET_SIZE(payload) + PyBytes_GET_SIZE(behind)
        self.used_ns = exchange.engine().now
        exchange.send(head_of(OPCODE_BINARY if self.codec == CODEC_MSGPACK else OPCODE_TEXT, <uint64_t>size) + before)
        exchange.send(payload)
        exchange.send(behind)
        return 0

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        return terms_of(call).request.wake_stream(exchange, call)

    cdef int head(self, Exchange exchange, ServerCall call, bytes metadata) except -1:
        """Send the metadata that precedes the first message."""
        texts = metadata_texts(metadata)
        return self._send(exchange, envelope_of(self.codec, {"metadata": texts})) if texts else 0

    cdef int answer(self, Exchange exchange, ServerCall call, bytes payload) except -1:
        """Answer the call, and close."""
        if not call.route.gives_stream:
            self.message(exchange, call, payload, 0)
        texts = {} if call.sent_metadata is None else metadata_texts(call.sent_metadata)
        self._send(exchange, envelope_of(self.codec, {"end": {"metadata": texts}}))
        return self.finish(exchange, CLOSE_NORMAL, "")

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        """Answer the call with a failure, and close."""
        cdef int code = CLOSE_NORMAL
        if failure.status == UNAUTHENTICATED or failure.status == PERMISSION_DENIED:
            code = CLOSE_POLICY
        elif failure.status == UNAVAILABLE and self.life.drains:
            code = CLOSE_RESTART
        self._send(exchange, envelope_of(self.codec, {"error": problem(failure, call.codec, status)}))
        return self.finish(exchange, code, "")

    cdef int answer_message(self, Exchange exchange, bytes content) except -1:
        """Answer a message at a fixed path."""
        self._send(exchange, content)
        if (self.life.drains or self.expires_ns) and not exchange.is_stuck:
            # Check whether this was the last answer. Not for a peer that reads no output: its time limit must stay, and
            # it is checked anyhow.
            exchange.wait_by(now_ns())
        return 0

    # Time

    cdef bint has_calls(self) except -1:
        """Return whether a call is in progress. An incomplete message is not counted, as it may never be completed."""
        return self.call is not None and self.terms.request.has_calls()

    cdef int check_end(self, Exchange exchange, uint64_t now) except -1:
        if self.has_calls():
            return 0
        if self.expires_ns and now >= self.expires_ns and not (self.terms.path is None and self.terms.request.has_started):
            return self.close(exchange, CLOSE_POLICY, "the credential has expired")
        if self.life.drains and self.life.has_left(now, True):
            return self.close(exchange, CLOSE_RESTART, "the server drains")
        return 0

    cdef uint64_t check_rest(self, Exchange exchange, uint64_t now) except? 0:
        """Close an unused WebSocket; return the instant of the next check."""
        cdef uint64_t due
        if self.terms.path is None:
            due = self.began_ns + self.patience_ns
            if now >= due and not self.terms.request.has_started:
                self.close(exchange, CLOSE_POLICY, "the arguments did not come in time")
            return due if now < due else now + SECOND
        due = self.used_ns + self.idle_ns
        if now >= due:
            self.close(exchange, CLOSE_NORMAL, "no message arrived for too long")
        return due


cdef object stated_milliseconds(int codec, bytes part):
    """Return the timeout of an envelope. CallError: it is not a number from 0."""
    try:
        timeout = decode_number[codec](part)
    except (msgspec.MsgspecError, ValueError) as error:
        raise CallError(Status.INVALID_ARGUMENT, f"timeout_ms must be a number from 0: {error}") from None
    if not 0 <= timeout < math.inf:
        raise CallError(Status.INVALID_ARGUMENT, f"timeout_ms is {timeout!r:.100}, it must be a number from 0")
    return timeout


cdef dict stated_texts(int codec, bytes part):
    """Return the metadata of an envelope as texts. The typed decoder refuses other values before it decodes them."""
    try:
        return decode_texts[codec](part)
    except msgspec.ValidationError:
        raise CallError(Status.INVALID_ARGUMENT, "metadata is an object of texts") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise CallError(Status.INVALID_ARGUMENT, f"an envelope cannot be decoded: {error}") from None


cdef dict metadata_entries(dict given, object known):
    """Return the entries of an envelope's metadata. CallError: one is reserved, malformed or was in the handshake."""
    cdef dict entries = {}
    for key, value in given.items():
        if key == "authorization" or key.startswith("frpc-"):
            raise CallError(Status.INVALID_ARGUMENT, f"the metadata {key!a:.100} is reserved")
        if key in known:
            raise CallError(Status.INVALID_ARGUMENT, f"the metadata {key!a:.100} was in the handshake already")
        try:
            entries[key] = base64.b64decode(value, validate=True) if key.endswith("-bin") else value
            encode_metadata({key: entries[key]})
        except (ValueError, TypeError, binascii.Error) as error:
            raise CallError(Status.INVALID_ARGUMENT, f"the metadata {key!a:.100} is malformed: {error}") from None
    return entries
