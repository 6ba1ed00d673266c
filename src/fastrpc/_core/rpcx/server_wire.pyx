"""The server's side of rpcx: requests into the gate, outcomes into frames.

::

    frame ──► RpcxWire ──► Link.request ──► handler        heartbeat ──► the same frame, as an answer
                                                │ answer, fail
    frame ◄── RpcxWire ◄────────────────────────┘

A request names its method by path and method, `Arith` and `Mul` for `Arith.Mul`. Its payload is one value: `by_value`
of `payload/marshal` says how arguments are laid out in it. Each call has a token, so the gate verifies it as the
credential of the call; a call with a refused token is answered, then the connection closes once the calls under way
have ended.

The protocol has neither a cancel nor a goodbye. Only the end of a connection cancels its calls. In a drain, the
metadata of each answer tells our clients to call another server.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from fastrpc._core.base.codec_numbers cimport serialize_of
from fastrpc._core.base.status cimport RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport NO_DEADLINE, STATE_ANSWERING, Call
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.failure cimport Failure
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
    parse_frame,
    put_head,
    put_header,
)
from fastrpc._core.rpcx.framing cimport LONG_DROPPED, LONG_TAKEN, LONG_WAITS, SHORT_FRAME
from fastrpc._core.rpcx.native_forms cimport Reserved, block_of, entry, find_reserved
from fastrpc._core.rpcx.requests cimport LONGEST_NAME, new_dialect
from fastrpc._core.server.engine_served_connection cimport SENDER_ADMITTED, SENDER_REFUSED, SENDER_WAITS
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.intake cimport SENDER_UNJUDGED
from fastrpc._core.server.link cimport Link
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport process_held
from fastrpc._core.wire.frame cimport ONE_WAY, PUSHBACK_NEVER

from fastrpc.errors import EncodeError, RemoteProtocolError
from fastrpc.status import Status

cdef enum:
    GZIP = 1

# Tells our clients, in answers of a draining connection, to call another server.
cdef bytes GO_AWAY = entry(b"frpc-goaway", b"1")


@cython.final
cdef class RpcxWire(RpcxRequests):
    """The server's side of one connection."""

    def __init__(self, Profile profile not None, limits, Profile derived=None):
        # The limit of metadata applies to path and method as well.
        RpcxRequests.__init__(
            self, profile, limits.message_bytes + 2 * limits.metadata_bytes + HEADER_BYTES + 4 * LENGTH_BYTES
        )
        self.derived = derived
        self.dialect = new_dialect(profile)
        self.pushing = new_pushes(profile)

    # From the frame to the gate

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
        """Hand a request to the gate."""
        cdef Link link = self.link()
        cdef ServerCall call = self.call_of(frame, compressor)
        cdef Py_ssize_t size = self.find_name(frame)
        if call.flags & ONE_WAY:
            link.note_unanswered()
        if link.intake.is_crowded():
            return self.refuse_early(call, size, RESOURCE_EXHAUSTED, link.intake.crowd_text())
        if frame.metadata_size and not self.takes_metadata(call, frame, True):
            return 0
        if <uint64_t>frame.payload_size > link.gate.message_bytes:
            text = f"the request has {frame.payload_size} bytes, the limit is {link.gate.message_bytes}"
            return self.refuse_early(call, size, RESOURCE_EXHAUSTED, f"{text} (Limits.message_bytes)")
        return link.request(call, self.name, size, PyBytes_FromStringAndSize(frame.payload, frame.payload_size))

    cdef int _echo(self, RpcxFrame* frame) except -1:
        """Answer a heartbeat by the same frame, whatever its content."""
        cdef Link link = self.link()
        cdef Reserved found
        cdef char* at
        link.note_unanswered()
        if link.gate.guards.asks_access():
            check_heartbeat(frame.size)
        # Checks the lengths: an answer has to be a frame.
        find_reserved(frame.metadata, frame.metadata_size, False, &found)
        at = link.output.out.reserve(frame.size)
        memcpy(at, frame.data, frame.size)
        at[FLAGS_AT] = <char>(frame.flags | IS_RESPONSE)
        return link.written()

    cdef int takes_long_frame(self, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Refuse a frame over a limit by its header, an unauthenticated one by its metadata, before a byte is kept."""
        cdef Link link = self.link()
        cdef ServerCall call = self._call_of(data)
        cdef int verdict
        if whole > self.most_frame:
            text = f"a frame announces {whole} bytes, the limit is {self.most_frame} (Limits.message_bytes)"
            link.gate.refusals.refuse(call, RESOURCE_EXHAUSTED, text, True)
            raise RemoteProtocolError(text)
        if link.gate.guards.asks_access():
            verdict = self._sender_of(call, data, size, whole)
            if verdict != SENDER_ADMITTED:
                return LONG_DROPPED if verdict == SENDER_REFUSED else LONG_WAITS
        # The whole frame may take longer than an opening.
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
            self.cut = call = self.call_of(&frame, 0)
            call.started_ns = self.frame_began_ns
            call.route = gate.routes.find(self.name, self.find_name(&frame))
            self.cut_bytes = whole
            self.take_timeout(call, &found)
            gate.await_rest(call)
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        """Answer a request whose deadline passes before its rest arrives; return that deadline, 0 = none."""
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
            # The beginning of the frame is presented once more, with the rest.
            self.skip_left = self.cut_bytes
        link.connection.now = now
        link.gate.refuse_rest(call)
        return 0

    cdef int _sender_of(self, ServerCall nameless, const char* data, Py_ssize_t size, Py_ssize_t whole) except -1:
        """Judge the sender of an incomplete long frame; SENDER_WAITS: present the same beginning again.

        A call that is refused before its names are known is `nameless`.
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
            # Each read would present the request again, and no call that long is taken.
            text = f"path, method and metadata have more than {longest} bytes (Limits.metadata_bytes)"
            link.gate.refusals.refuse(nameless, RESOURCE_EXHAUSTED, text, True)
            return SENDER_REFUSED
        call = self.call_of(&frame, 0)
        if frame.metadata_size and not self.takes_metadata(call, &frame, False):
            return SENDER_REFUSED
        size = self.find_name(&frame)
        call.route = link.gate.routes.find(self.name, size)
        return link.intake.judge_sender(call, self.name[:size].decode("utf-8", "replace"))

    cdef bint refuses_rest(self) except -1:
        cdef Link link = self.link()
        if process_held <= link.gate.memory.process_bytes:
            return False
        # The received bytes are counted already.
        return not link.intake.has_room(self._call_of(self.body.beginning()), 0, False)

    cdef ServerCall _call_of(self, const char* data):
        """Return a call for a frame whose header has arrived, to refuse it."""
        cdef Link link = self.link()
        cdef ServerCall call = ServerCall.__new__(ServerCall)
        call.connection = link.connection
        call.head = data[:HEADER_BYTES] + bytes(2 * LENGTH_BYTES)
        call.flags = ONE_WAY if <uint8_t>data[FLAGS_AT] & IS_ONE_WAY else 0
        call.started_ns = link.connection.now = link.now
        return call

    # From the outcome to the frame

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
        # Only its payload can follow.
        call.state = STATE_ANSWERING
        link.output.put(payload, 0, PyBytes_GET_SIZE(payload))
        return link.written()

    cdef int fail(self, Call call, Failure failure) except -1:
        """Answer a failed call: the text is for every peer; status and details are for our clients: Go ignores them."""
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
            # The protocol has no budget for refusals.
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
        # The protocol has no pings.
        return 0


@cython.final
cdef class RpcxPushes(Pushing):
    """One-way frames to the peer, which are messages of its server."""

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
        # No other code has a reference yet, so it may still be written; `put_head` adds its flags and its length.
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
    """End a connection by a long heartbeat, complete or not: it names no sender."""
    if size > SHORT_FRAME:
        text = f"a heartbeat has {size} bytes, at most {<int>SHORT_FRAME} are taken where tokens are asked for"
        raise RemoteProtocolError(text)
    return 0
