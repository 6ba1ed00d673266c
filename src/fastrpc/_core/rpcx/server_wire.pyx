"""The server's side of rpcx: requests are passed to the gate, results become frames.

::

    frame ──► RpcxWire ──► Link.request ──► handler        heartbeat ──► the same frame, as an answer
                                                │ answer, fail
    frame ◄── RpcxWire ◄────────────────────────┘

A request names its method in two fields, path and method: `Arith` and `Mul` for `Arith.Mul`. Its payload is one value;
`by_value` of `payload/marshal` describes how it contains the arguments. Each call has a token, which the gate verifies
as the credential of the call. A call with a refused token is answered; the connection closes when the calls in progress
have ended.

The protocol has neither a cancel nor a goodbye. Only the end of a connection cancels its calls. During a drain, the
metadata of each answer tells fastrpc clients to call another server.
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcpy

from fastrpc._core.base.codec_numbers cimport codec_of, serialize_of
from fastrpc._core.base.status cimport INVALID_ARGUMENT, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_ANSWERING, Call
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Pushing
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.metadata cimport is_too_large, note_dropped
from fastrpc._core.rpcx.frames cimport (
    COMPRESSION_BITS,
    FLAGS_AT,
    HEADER_BYTES,
    IS_GZIP,
    IS_HEARTBEAT,
    IS_ONE_WAY,
    IS_RESPONSE,
    LENGTH_BYTES,
    STATUS_BITS,
    STATUS_ERROR,
    Profile,
    RpcxFrame,
    parse_frame,
    put_head,
    put_header,
)
from fastrpc._core.rpcx.framing cimport LONG_DROPPED, LONG_TAKEN, LONG_WAITS, SHORT_FRAME, RpcxFraming
from fastrpc._core.rpcx.go_words cimport new_dialect
from fastrpc._core.rpcx.native_forms cimport Reserved, block_of, entry, find_reserved, native_entries
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED, SENDER_REFUSED, SENDER_WAITS
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.intake cimport SENDER_UNJUDGED
from fastrpc._core.server.link cimport Link
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport process_held
from fastrpc._core.wire.frame cimport ONE_WAY, PUSHBACK_NEVER, TIMEOUT_NONE

from fastrpc.errors import EncodeError, RemoteProtocolError
from fastrpc.status import Status

logger = logging.getLogger("fastrpc.server")

cdef enum:
    GZIP = 1
    # The longest possible name of a method.
    LONGEST_NAME = 512

# The longest timeout. A longer one counts as no timeout, as in the native protocol.
cdef uint64_t MOST_MILLISECONDS = 1_000_000_000_000

# An entry in answers of a draining connection that tells fastrpc clients to call another server.
cdef bytes GO_AWAY = entry(b"frpc-goaway", b"1")


@cython.final
cdef class RpcxWire(RpcxFraming):
    """The server's side of one connection."""

    cdef:
        # `name`: the full name of the method of the frame whose call was made last; `name_size`: its size, 0: no method
        # has this name.
        char[LONGEST_NAME] name
        Py_ssize_t name_size

        # A derived protocol that is also served here: a connection may switch to it by its magic. Otherwise None.
        Profile derived

        # The call of an incomplete frame if the frame has a timeout, else None.
        ServerCall cut
        # The last frame that was searched for a timeout: the instant of its first bytes, and its size.
        uint64_t cut_ns
        Py_ssize_t cut_bytes

    def __init__(self, Profile profile not None, limits, Profile derived=None):
        # The metadata limit includes path and method.
        RpcxFraming.__init__(
            self, profile, limits.message_bytes + 2 * limits.metadata_bytes + HEADER_BYTES + 4 * LENGTH_BYTES
        )
        self.derived = derived
        self.dialect = new_dialect(profile)
        self.pushing = new_pushes(profile)

    # Frames to the gate

    cdef int on_frame(self, RpcxFrame* frame) except -1:
        cdef Link link = self.link()
        cdef int compressor = (frame.flags & COMPRESSION_BITS) >> 2
        if compressor > GZIP:
            raise RemoteProtocolError(f"a frame has the compressor {compressor}, only {<int>GZIP} (gzip) is known")
        if not link.gate.guards.asks_access():
            link.life.leave_opening()
        if frame.flags & IS_HEARTBEAT:
            return self._echo(frame)
        return self._take_call(frame, compressor)

    cdef int _take_call(self, RpcxFrame* frame, int compressor) except -1:
        """Pass a request to the gate."""
        cdef Link link = self.link()
        cdef ServerCall call = self._call_of(frame, compressor)
        if call.flags & ONE_WAY:
            link.note_unanswered()
        if link.intake.is_crowded():
            return self._refuse_early(call, RESOURCE_EXHAUSTED, link.intake.crowd_text())
        if frame.metadata_size and not self._takes_metadata(call, frame, True):
            return 0
        if <uint64_t>frame.payload_size > link.gate.message_bytes:
            text = f"the request has {frame.payload_size} bytes, the limit is {link.gate.message_bytes}"
            return self._refuse_early(call, RESOURCE_EXHAUSTED, f"{text} (Limits.message_bytes)")
        return link.request(call, self.name, self.name_size, PyBytes_FromStringAndSize(frame.payload, frame.payload_size))

    cdef int _echo(self, RpcxFrame* frame) except -1:
        """Answer a heartbeat with the same frame, regardless of its content."""
        cdef Link link = self.link()
        cdef Reserved found
        cdef char* at
        link.note_unanswered()
        if link.gate.guards.asks_access():
            check_heartbeat(frame.size)
        # Called to check the lengths, because an answer has to be a valid frame.
        find_reserved(frame.metadata, frame.metadata_size, False, &found)
        at = link.output.out.reserve(frame.size)
        memcpy(at, frame.data, frame.size)
        at[FLAGS_AT] = <char>(frame.flags | IS_RESPONSE)
        return link.written()

    # Frames to calls

    cdef ServerCall _call_of(self, RpcxFrame* frame, int compressor):
        """Return the call of a request, still without its metadata."""
        cdef ServerCall call = ServerCall.__new__(ServerCall)
        self._find_name(frame)
        self.link().stamp(call)
        call.id = frame.sequence
        call.flags = ONE_WAY if frame.flags & IS_ONE_WAY else 0
        call.codec = codec_of(frame.kinds >> 4)
        call.compressor = <uint8_t>compressor
        call.head = PyBytes_FromStringAndSize(
            frame.data, HEADER_BYTES + (2 * LENGTH_BYTES + frame.path_size + frame.method_size if self.name_size else 0)
        )
        if self.name_size == 0:
            call.head += bytes(2 * LENGTH_BYTES)
        # A peer that sends no timeout has no deadline. The server's default is only for protocols in which every caller can
        # send a timeout.
        call.stated_timeout_us = TIMEOUT_NONE
        return call

    cdef int _find_name(self, RpcxFrame* frame) noexcept:
        """Join path and method."""
        self.name_size = frame.path_size + 1 + frame.method_size
        if self.name_size > LONGEST_NAME or memchr(frame.method, c".", frame.method_size) is not NULL:
            # The service's name ends at the last dot, so a method's name has no dot.
            self.name_size = 0
            return 0
        memcpy(self.name, frame.path, frame.path_size)
        self.name[frame.path_size] = c"."
        memcpy(self.name + frame.path_size + 1, frame.method, frame.method_size)
        return 0

    cdef bint _takes_metadata(self, ServerCall call, RpcxFrame* frame, bint is_whole) except -1:
        """Read the metadata of a request, a second time when the request is complete; return False if it was refused."""
        cdef Gate gate = self.link().gate
        cdef Reserved found
        cdef bytes entries
        cdef list dropped = []
        text = f"the metadata of the call is over the limit of {gate.metadata_bytes} bytes (Limits.metadata_bytes)"
        if <uint64_t>frame.metadata_size > gate.metadata_bytes:
            self._refuse_early(call, RESOURCE_EXHAUSTED, text)
            return False
        find_reserved(frame.metadata, frame.metadata_size, self.profile.states_deadlines, &found)
        self._take_timeout(call, &found)
        if found.others == 0 and found.token is NULL:
            return True
        try:
            entries = native_entries(frame.metadata, frame.metadata_size, self.profile.states_deadlines, dropped)
        except ValueError as error:
            self._refuse_early(call, INVALID_ARGUMENT, str(error))
            return False
        if dropped and is_whole:
            note_dropped(dropped, self.profile.name, logger, gate.dispatcher.has_told_dropped)
            gate.dispatcher.has_told_dropped = True
        if is_too_large(entries, gate.metadata_bytes):
            self._refuse_early(call, RESOURCE_EXHAUSTED, text)
            return False
        call.received_metadata = entries
        return True

    cdef int _take_timeout(self, ServerCall call, Reserved* found) except -1:
        """Set the timeout of a call if its caller sent one."""
        if found.has_timeout:
            if found.timeout_ms <= 0:
                call.deadline_ns = call.started_ns
            call.stated_timeout_us = max(found.timeout_ms, 1) * 1000
            if <uint64_t>call.stated_timeout_us > MOST_MILLISECONDS * 1000:
                call.stated_timeout_us = TIMEOUT_NONE
        return 0

    cdef int _refuse_early(self, ServerCall call, int status, str text) except -1:
        """Refuse a call for a limit of its connection, before it is passed to the gate."""
        cdef Gate gate = self.link().gate
        call.route = gate.routes.find(self.name, self.name_size)
        return gate.refusals.refuse(call, status, text, True)

    # Frames that are incomplete

    cdef int takes_long_frame(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Refuse a frame before its bytes are stored: over a limit by its header, unauthenticated by its metadata."""
        cdef Link link = self.link()
        cdef ServerCall call = self._nameless_call(data)
        cdef int verdict
        if whole > self.most_frame:
            text = f"a frame announces {whole} bytes, the limit is {self.most_frame} (Limits.message_bytes)"
            link.gate.refusals.refuse(call, RESOURCE_EXHAUSTED, text, True)
            raise RemoteProtocolError(text)
        if link.gate.guards.asks_access():
            verdict = self._sender_of(call, data, size, whole)
            if verdict != SENDER_ADMITTED:
                return LONG_DROPPED if verdict == SENDER_REFUSED else LONG_WAITS
        # Receiving the frame may take longer than an opening may.
        link.life.leave_opening()
        return LONG_TAKEN if link.intake.has_room(call, whole, True) else LONG_DROPPED

    cdef int on_cut(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        cdef RpcxFrame frame
        cdef Reserved found
        cdef ServerCall call
        cdef Gate gate
        if self.cut_ns == self.frame_began_ns or not self.profile.states_deadlines:
            return 0
        if <uint8_t>data[FLAGS_AT] & (IS_HEARTBEAT | IS_ONE_WAY) or not parse_frame(data, size, whole, &frame):
            return 0
        self.cut_ns = self.frame_began_ns
        self.cut = None
        find_reserved(frame.metadata, frame.metadata_size, True, &found)
        if found.has_timeout:
            gate = self.link().gate
            self.cut = call = self._call_of(&frame, 0)
            call.started_ns = self.frame_began_ns
            call.route = gate.routes.find(self.name, self.name_size)
            self.cut_bytes = whole
            self._take_timeout(call, &found)
            gate.await_rest(call)
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Answer an incomplete request whose deadline has passed; return a deadline that is still to come, 0 = none."""
        cdef Link link = self.link()
        cdef ServerCall call = self.cut
        if call is None or not self.is_partial or self.cut_ns != self.frame_began_ns or link.leaving.ignores_input:
            self.cut = None
            return 0
        if now < call.deadline_ns:
            return 0 if call.deadline_ns == NO_DEADLINE else call.deadline_ns
        self.cut = None
        if self.body.frame is not None:
            self.body.skip()
        else:
            # The received bytes are passed once more with the rest, so all bytes of the frame are skipped.
            self.skip_left = self.cut_bytes
        link.connection.now = now
        link.gate.refuse_rest(call)
        return 0

    cdef int _sender_of(self, ServerCall nameless, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Judge the sender of an incomplete long frame; SENDER_WAITS means to pass the same beginning again.

        `nameless` is the call to refuse before its names are known.
        """
        cdef Link link = self.link()
        cdef RpcxFrame frame
        cdef ServerCall call
        cdef Py_ssize_t longest
        cdef int verdict = link.intake.sender_verdict_now()
        if verdict != SENDER_UNJUDGED:
            return verdict
        if <uint8_t>data[FLAGS_AT] & IS_HEARTBEAT:
            check_heartbeat(whole)
        if not parse_frame(data, size, whole, &frame):
            longest = HEADER_BYTES + 3 * LENGTH_BYTES + LONGEST_NAME + <Py_ssize_t>link.gate.metadata_bytes
            if size < longest:
                return SENDER_WAITS
            # The request would be passed again with each read, and a call that long is never accepted.
            text = f"path, method and metadata have more than {longest} bytes (Limits.metadata_bytes)"
            link.gate.refusals.refuse(nameless, RESOURCE_EXHAUSTED, text, True)
            return SENDER_REFUSED
        call = self._call_of(&frame, 0)
        if frame.metadata_size and not self._takes_metadata(call, &frame, False):
            return SENDER_REFUSED
        call.route = link.gate.routes.find(self.name, self.name_size)
        return link.intake.judge_sender(call, self.name[:self.name_size].decode("utf-8", "replace"))

    cdef bint refuses_rest(self) except -1:
        cdef Link link = self.link()
        if process_held <= link.gate.memory.process_bytes:
            return False
        # The received bytes are already counted, hence 0.
        return not link.intake.has_room(self._nameless_call(self.body.beginning()), 0, False)

    cdef ServerCall _nameless_call(self, const char* data):
        """Return a call for a frame whose header has arrived, to refuse it."""
        cdef Link link = self.link()
        cdef ServerCall call = ServerCall.__new__(ServerCall)
        call.connection = link.connection
        call.groups = link.connection.groups
        call.head = data[:HEADER_BYTES] + bytes(2 * LENGTH_BYTES)
        call.flags = ONE_WAY if <uint8_t>data[FLAGS_AT] & IS_ONE_WAY else 0
        call.started_ns = link.connection.now = link.now
        return call

    # Results to frames

    cdef int answer(self, Call call, bytes payload) except -1:
        cdef Link link = self.link()
        cdef bytes head = <bytes>(<ServerCall>call).head
        cdef bytes entries = b"" if call.sent_metadata is None else block_of(call.sent_metadata)
        cdef uint8_t flags = <uint8_t>PyBytes_AS_STRING(head)[FLAGS_AT] & ~COMPRESSION_BITS | IS_RESPONSE
        if link.connection.is_draining:
            entries += GO_AWAY
        if call.compressor:
            flags |= IS_GZIP
        put_head(link.output.out, head, flags, entries, PyBytes_GET_SIZE(payload))
        # From now on only the payload is missing.
        call.state = STATE_ANSWERING
        link.output.put(payload, 0, PyBytes_GET_SIZE(payload))
        return link.written()

    cdef int fail(self, Call call, Failure failure) except -1:
        """Answer a failed call. Every peer reads the text; only fastrpc clients read the status and details."""
        cdef Link link = self.link()
        cdef bytes head = <bytes>(<ServerCall>call).head
        cdef uint8_t flags = <uint8_t>PyBytes_AS_STRING(head)[FLAGS_AT] & ~(COMPRESSION_BITS | STATUS_BITS)
        cdef bytes text = failure.text.encode("utf-8", "replace")
        cdef list parts = [
            entry(self.profile.error_key, text),
            entry(b"frpc-code", Status(failure.status).name.encode()),
        ]
        if self.derived is not None:
            parts.append(entry(self.derived.error_key, text))
        if not failure.has_run:
            # rpcx has no budget for refusals.
            link.note_unanswered()
            parts.append(entry(b"frpc-processed", b"no"))
        if failure.pushback_ms:
            seconds = "never" if failure.pushback_ms == PUSHBACK_NEVER else f"{failure.pushback_ms}"
            parts.append(entry(b"frpc-retry-after-ms", seconds.encode()))
        if failure.details:
            parts.append(entry(b"frpc-details-bin", failure.details))
        if link.connection.is_draining:
            parts.append(GO_AWAY)
        if call.sent_metadata is not None:
            parts.append(block_of(call.sent_metadata))
        put_head(link.output.out, head, flags | IS_RESPONSE | STATUS_ERROR, b"".join(parts), 0)
        call.state = STATE_ANSWERING
        return link.written()

    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1:
        return self.fail(call, failure)

    cdef int forgive(self, uint64_t late) except -1:
        # rpcx has no pings from the server.
        return 0


@cython.final
cdef class RpcxPushes(Pushing):
    """Sends pushes to a client: one-way frames that its rpcx library hands to the program as server messages."""

    cdef:
        Profile profile

        # The number of pushes so far. Each push has it as its sequence.
        uint64_t count

    cdef int push(self, Engine link, Call call) except -1:
        cdef ClientCall pushed = <ClientCall?>call
        cdef uint64_t _names
        cdef bytes payload = <bytes>pushed.route.marshal.encode_call(pushed.args, pushed.kwargs, &_names)
        cdef bytes entries = b"" if pushed.sent_metadata is None else block_of(pushed.sent_metadata)
        cdef bytes head = bytes(HEADER_BYTES)
        cdef int serialize = serialize_of(pushed.route.marshal.codec_id)
        if serialize < 0:
            codec = pushed.route.marshal.coders.codec
            raise EncodeError(f"{pushed.route.method}: {self.profile.name} has no codec {codec!r}")
        service, _, name = pushed.route.name.rpartition(b".")
        self.count += 1
        # `head` may be written because no other code has a reference to it yet. `put_head` adds the flags and the length.
        put_header(PyBytes_AS_STRING(head), self.profile, 0, serialize, self.count, 0)
        head += len(service).to_bytes(4, "big") + service + len(name).to_bytes(4, "big") + name
        pushed.count_start(payload)
        put_head(link.output.out, head, IS_ONE_WAY, entries, PyBytes_GET_SIZE(payload))
        link.output.put(payload, 0, PyBytes_GET_SIZE(payload))
        link.written()
        pushed.is_settled = True
        pushed._count(0, now_ns())
        return 0


cdef RpcxPushes new_pushes(Profile profile):
    cdef RpcxPushes pushes = RpcxPushes.__new__(RpcxPushes)
    pushes.profile = profile
    return pushes


cdef int check_heartbeat(Py_ssize_t size) except -1:
    """Raise for a heartbeat that is too long, complete or not: its sender cannot be authenticated before it is stored."""
    if size > SHORT_FRAME:
        text = f"a heartbeat has {size} bytes, at most {<int>SHORT_FRAME} are taken where tokens are asked for"
        raise RemoteProtocolError(text)
    return 0
