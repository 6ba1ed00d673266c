"""The client's side: translates the frames of a native connection to rpcx, and back.

::

    ClientConnection ──► preface, SETTINGS, AUTH, REQUEST, PING, CANCEL ──► send ────► down ──► requests, heartbeats
    ClientConnection ◄── SETTINGS, CREDIT, RESPONSE, PING with ACK ◄── up ◄── receive ◄──── answers
    ClientConnection ◄── one-way REQUEST ◄──────────────────────────── up ◄── receive ◄──── pushes

An rpcx client is a native client above this translation: calls, deadlines, retries, batches, pings and limits are as in
every client. The connection above sees this translation as its peer: it opens at once, returns credit, holds answers
without credit, and ends a cancelled call. rpcx has no cancellation: a late answer is dropped.

The translation is sans-IO: bytes in, bytes out. Each call has the token of the connection, as rpcx requires.
"""

import logging

cimport cython
from cpython.bytearray cimport PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy, memset

from fastrpc._core.base.codec_numbers cimport (
    CODEC_JSON,
    CODEC_MSGPACK,
    CODEC_PROTOBUF,
    CODEC_RAW,
    SERIALIZE_MSGPACK,
    SERIALIZE_RAW,
    codec_of,
    serialize_of,
)
from fastrpc._core.base.status cimport CANCELLED, INTERNAL, UNAUTHENTICATED, UNIMPLEMENTED, UNKNOWN
from fastrpc._core.base.wire cimport MINUTE, load16, load32, load64, now_ns, store16, store64
from fastrpc._core.payload.metadata cimport note_dropped
from fastrpc._core.rpcx.frames cimport (
    COMPRESSION_BITS,
    FLAGS_AT,
    HEADER_BYTES,
    IS_GZIP,
    IS_HEARTBEAT,
    IS_ONE_WAY,
    IS_RESPONSE,
    LENGTH_BYTES,
    REST_AT,
    STATUS_BITS,
    STATUS_ERROR,
    announced_size,
    parse_frame,
    put_text,
    store32_big,
    store64_big,
)
from fastrpc._core.rpcx.native_forms cimport (
    Reserved,
    answer_head,
    block_of,
    entry,
    find_reserved,
    native_answer,
    native_entries,
    new_upward,
    pause_of,
    without_token,
)
from fastrpc._core.wire.frame cimport (
    ACK,
    AUTH,
    CANCEL,
    CREDIT,
    DATA,
    GOAWAY,
    HEADER_SIZE,
    MORE,
    ONE_WAY,
    PING,
    PREFACE_SIZE,
    REQUEST,
    SETTINGS,
    STREAM_IN,
    STREAM_OUT,
    TIMEOUT_NONE,
)

from fastrpc.errors import RemoteProtocolError
from fastrpc.status import Status

logger = logging.getLogger("fastrpc.client")

cdef enum:
    # More than any number of milliseconds has.
    DIGITS = 20
    REQUEST_HEAD = 16
    LONGEST_NAME = 255
    # More digits than any number of milliseconds has.
    CREDIT_PART = 1_048_576
    GZIP = 1

# Credit is returned in parts of this size.
cdef int[4] CODEC = [CODEC_RAW, CODEC_JSON, CODEC_PROTOBUF, CODEC_MSGPACK]

# The codecs of native frames, by serialize type.
cdef bytes NO_MORE_CALLS = (2**63 - 1).to_bytes(8, "little") + bytes(8)

cdef bytes AUTHORIZATION = b"authorization"
cdef bytes AUTH_KEY = b"__AUTH"
cdef bytes TIMEOUT_KEY = b"__ServerTimeout"
# The head of up to 4 GiB of bytes in msgpack.
cdef bytes BIN32 = b"\xc6"
# The statuses that an error may have.
cdef dict STATUSES = {status.name.encode(): int(status) for status in Status if status is not Status.OK}


@cython.final
cdef class OpenRequest:
    """A REQUEST that comes in pieces."""


@cython.final
cdef class RpcxTranslation:
    """The translation between a native connection of a client and a stream that speaks rpcx."""

    def __init__(self, Profile profile not None, *, bytes settings not None, Py_ssize_t message_bytes,
                 Py_ssize_t metadata_bytes, Py_ssize_t frame_bytes, bint takes_pushes=False):
        self.profile = profile
        self.takes_pushes = takes_pushes
        self.next_push = 2
        self.settings = settings
        self.most_frame = message_bytes + 4 * metadata_bytes + 65_536
        self.down = WriteBuffer.__new__(WriteBuffer)
        self.above = new_upward(frame_bytes)
        self.cut_above = bytearray()
        self.cut_below = bytearray()
        self.waiting = {}
        self.sequences = {}
        self.pings = []
        self.requests = {}
        self.token_entry = b""

    def take_down(self):
        """Return what is to be sent."""
        return self.down.take()

    def take_up(self):
        """Return what the connection above is to receive."""
        return self.above.out.take()

    # From the connection above

    def send(self, data):
        """Translate what the connection above sends."""
        cdef bytes rest
        cdef const char* at
        cdef Py_ssize_t left, whole
        if PyByteArray_GET_SIZE(self.cut_above):
            self.cut_above += data
            data = self.cut_above
            self.cut_above = bytearray()
        rest = data if type(data) is bytes else bytes(data)
        at, left = PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest)
        if not self.is_open and left >= PREFACE_SIZE:
            self.is_open = True
            # A server may push before it hears anything.
            self.above.open(self.settings)
            at += PREFACE_SIZE
            left -= PREFACE_SIZE
        while self.is_open and left >= HEADER_SIZE:
            whole = HEADER_SIZE + <Py_ssize_t>load32(at)
            if whole > left:
                break
            self._take_frame(at, whole)
            at += whole
            left -= whole
        if left:
            self.cut_above += at[:left]

    cdef int _take_frame(self, const char* data, Py_ssize_t size) except -1:
        cdef uint8_t kind = <uint8_t>data[4], flags = <uint8_t>data[5]
        cdef const char* body = data + HEADER_SIZE
        if kind == REQUEST or kind == DATA:
            self.taken += size
            if self.taken >= CREDIT_PART:
                self.above.put_control(CREDIT, 0, (<int>self.taken).to_bytes(4, "little"))
                self.taken = 0
            return self._take_request(data, size) if kind == REQUEST else self._take_piece(data, size)
        if kind == SETTINGS and not flags & ACK:
            return self.above.put_control(SETTINGS, ACK, b"")
        if kind == AUTH and not flags & ACK:
            return self._take_token(body, size - HEADER_SIZE)
        if kind == PING and not flags & ACK:
            # After a refused token a server takes nothing more, and still ends the calls under way.
            return self.above.put_control(PING, ACK, body[:8]) if self.is_leaving else self._ping(body[:size - HEADER_SIZE])
        if kind == CANCEL:
            return self._cancel(load64(data + 8))
        if kind == CREDIT and load64(data + 8) == 0:
            return self.above.raise_credit(load32(body))
        return 0

    cdef int _take_request(self, const char* data, Py_ssize_t size) except -1:
        cdef uint8_t flags = <uint8_t>data[5]
        cdef uint64_t id = load64(data + 8)
        cdef const char* body = data + HEADER_SIZE
        cdef const char* payload
        cdef RpcxCall call
        cdef OpenRequest request
        call.method = body + 8 * <int><uint8_t>body[0]
        call.method_size = load16(body + 4)
        call.metadata_size = load16(body + 6)
        call.timeout_us = load64(body + 8)
        payload = call.method + call.method_size + call.metadata_size
        if flags & (STREAM_IN | STREAM_OUT):
            return self.above.fail(id, UNIMPLEMENTED, f"{self.profile.name} has no streams", False)
        call.flags = IS_ONE_WAY if flags & ONE_WAY else 0
        if data[7]:
            call.flags |= IS_GZIP
        call.kinds = <uint8_t>(serialize_of(<uint8_t>data[6] & 3) << 4)
        if not flags & MORE:
            return self._write_call(
                self._sequence_of(None if flags & ONE_WAY else id), &call, payload, data + size - payload
            )
        request = OpenRequest.__new__(OpenRequest)
        request.texts = call.method[:call.method_size + call.metadata_size]
        request.call = call
        request.payload = bytearray((payload + 8)[:data + size - payload - 8])
        self.requests[id] = request
        return 0

    cdef int _take_piece(self, const char* data, Py_ssize_t size) except -1:
        """Take a further piece of a REQUEST; pieces of an abandoned REQUEST are dropped."""
        cdef uint64_t id = load64(data + 8)
        cdef OpenRequest request = self.requests.get(id)
        cdef bytes payload
        if request is None:
            return 0
        request.payload += data[HEADER_SIZE:size]
        if <uint8_t>data[5] & MORE:
            return 0
        del self.requests[id]
        payload = bytes(request.payload)
        request.call.method = PyBytes_AS_STRING(request.texts)
        return self._write_call(
            self._sequence_of(None if request.call.flags & IS_ONE_WAY else id), &request.call,
            PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload),
        )

    cdef bytes _entries_of(self, const char* metadata, Py_ssize_t size):
        """Return the metadata of a request, with the token."""
        cdef bytes token = self.token, block
        if size == 0:
            return self.token_entry
        block = block_of(metadata[:size])
        if AUTHORIZATION not in block:
            return block + self.token_entry
        token, block = without_token(block, token)
        return block if token is None else block + entry(AUTH_KEY, token)

    cdef int _take_token(self, const char* body, Py_ssize_t size) except -1:
        """Keep the credential of the connection: each call returns the server's verdict."""
        cdef Py_ssize_t scheme_size = <uint8_t>body[1]
        self.token = body[4 + scheme_size:size]
        self.token_entry = entry(AUTH_KEY, self.token)
        return self.above.put_control(AUTH, ACK, bytes(8))

    cdef uint64_t _sequence_of(self, object id) except? 0xFFFFFFFFFFFFFFFF:
        """Return the next sequence, and note the call that waits for its answer, if any."""
        cdef uint64_t sequence = self.next_sequence
        self.next_sequence += 1
        if id is not None:
            self.waiting[sequence] = id
            self.sequences[id] = sequence
        return sequence

    cdef int _write_call(
        self, uint64_t sequence, RpcxCall* call, const char* payload, Py_ssize_t payload_size
    ) except -1:
        cdef char[DIGITS] digits
        cdef bytes entries = self._entries_of(call.method + call.method_size, call.metadata_size)
        cdef Py_ssize_t dot = call.method_size, name = 0, count = 0, entries_size = PyBytes_GET_SIZE(entries), rest
        cdef uint64_t left_ms = call.timeout_us // 1000
        cdef char* at
        # The last dot is where the service ends.
        while dot and call.method[dot - 1] != c".":
            dot -= 1
        if dot:
            name = dot
            dot -= 1
        if call.timeout_us and call.timeout_us != TIMEOUT_NONE and self.profile.states_deadlines:
            while count == 0 or left_ms:
                count += 1
                digits[DIGITS - count] = <char>(48 + left_ms % 10)
                left_ms //= 10
            entries_size += 2 * LENGTH_BYTES + PyBytes_GET_SIZE(TIMEOUT_KEY) + count
        rest = 4 * LENGTH_BYTES + dot + call.method_size - name + entries_size + payload_size
        at = self.down.reserve(HEADER_BYTES + rest)
        at[0] = <char>self.profile.magic
        at[1] = 0
        at[FLAGS_AT] = <char>call.flags
        at[3] = <char>call.kinds
        store64_big(at + 4, sequence)
        store32_big(at + REST_AT, <uint32_t>rest)
        at = put_text(at + HEADER_BYTES, call.method, dot)
        at = put_text(at, call.method + name, call.method_size - name)
        store32_big(at, <uint32_t>entries_size)
        at += LENGTH_BYTES
        if count:
            at = put_text(at, PyBytes_AS_STRING(TIMEOUT_KEY), PyBytes_GET_SIZE(TIMEOUT_KEY))
            at = put_text(at, digits + DIGITS - count, count)
        memcpy(at, PyBytes_AS_STRING(entries), PyBytes_GET_SIZE(entries))
        put_text(at + PyBytes_GET_SIZE(entries), payload, payload_size)
        return 0

    cdef int _ping(self, bytes body) except -1:
        """Send a heartbeat: for rpcx the clock in nanoseconds, an int64 of msgpack; for Phobos the token."""
        cdef bint proves = self.profile.proves_heartbeats
        cdef bytes payload = b"" if proves else b"\xd3" + (<object>now_ns()).to_bytes(8, "big")
        cdef bytes entries = self.token_entry if proves else b""
        cdef uint64_t sequence = self._sequence_of(None)
        cdef Py_ssize_t rest = 4 * LENGTH_BYTES + PyBytes_GET_SIZE(entries) + PyBytes_GET_SIZE(payload)
        cdef char* at
        # Noted before the room is reserved, as noting may fail.
        self.pings.append(body)
        at = self.down.reserve(HEADER_BYTES + rest)
        at[0] = <char>self.profile.magic
        at[1] = 0
        at[FLAGS_AT] = IS_HEARTBEAT
        at[3] = (SERIALIZE_RAW if proves else SERIALIZE_MSGPACK) << 4
        store64_big(at + 4, sequence)
        store32_big(at + REST_AT, <uint32_t>rest)
        # The path and the method are empty.
        memset(at + HEADER_BYTES, 0, 2 * LENGTH_BYTES)
        at = put_text(at + HEADER_BYTES + 2 * LENGTH_BYTES, PyBytes_AS_STRING(entries), PyBytes_GET_SIZE(entries))
        put_text(at, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        return 0

    cdef int _answer_pings(self) except -1:
        """Let the connection above know that the server is alive: a long frame would otherwise mean silence."""
        cdef list pings = self.pings
        self.pings = []
        for body in pings:
            self.above.put_control(PING, ACK, body)
        return 0

    cdef int _cancel(self, uint64_t id) except -1:
        """End a cancelled call here; the server continues it."""
        cdef object sequence = self.sequences.pop(id, None)
        if self.requests.pop(id, None) is None:
            if sequence is None:
                return 0
            del self.waiting[sequence]
        return self.above.fail(id, CANCELLED, "cancelled", True)

    # From the stream below

    cdef str silence(self):
        """Return the error text for a server that ends the connection without any output; None if it sent some."""
        if self.has_received:
            return None
        return f"the server closed it without an answer: does it speak {self.profile.name}?"

    def receive(self, data):
        """Translate what the server sends.

        Raises:
            RemoteProtocolError: it is not rpcx.
        """
        cdef RpcxFrame frame
        cdef bytes rest
        cdef const char* at
        cdef Py_ssize_t left, whole
        self.has_received = True
        if self.pings:
            self._answer_pings()
        if PyByteArray_GET_SIZE(self.cut_below):
            self.cut_below += data
            rest = bytes(self.cut_below[:HEADER_BYTES])
            whole = self._whole_size(PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest))
            if whole == 0 or whole > PyByteArray_GET_SIZE(self.cut_below):
                # A long frame is handled when it is complete.
                return
            data = self.cut_below
            self.cut_below = bytearray()
        rest = data if type(data) is bytes else bytes(data)
        at, left = PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest)
        while left:
            whole = self._whole_size(at, left)
            if whole == 0 or whole > left:
                break
            parse_frame(at, whole, &frame)
            self._take_answer(&frame)
            at += whole
            left -= whole
        if left:
            self.cut_below += at[:left]

    cdef Py_ssize_t _whole_size(self, const char* data, Py_ssize_t size) except -1:
        """Return the size of the frame that begins here, 0 while its header is incomplete; refuse a too large one."""
        cdef Py_ssize_t whole = announced_size(data, size, self.profile.checked_magic)
        if whole > self.most_frame:
            raise RemoteProtocolError(
                f"a frame announces {whole} bytes, the limit is {self.most_frame} (Limits.message_bytes)"
            )
        return whole

    cdef int _take_answer(self, RpcxFrame* frame) except -1:
        cdef object waits
        cdef uint64_t id
        cdef int serialize = frame.kinds >> 4, compressor = (frame.flags & COMPRESSION_BITS) >> 2
        # An answer of rpcx without any metadata counts as a success.
        cdef bint is_error = frame.flags & STATUS_BITS == STATUS_ERROR and (frame.metadata_size or self.profile.is_loose)
        if not frame.flags & IS_RESPONSE and frame.flags & IS_ONE_WAY:
            return self._take_push(frame) if self.takes_pushes else 0
        waits = self.waiting.pop(frame.sequence, None)
        if waits is None:
            # This also handles a heartbeat, whose bytes alone are a sign of life.
            return 0
        id = waits
        del self.sequences[waits]
        if compressor and self.profile.is_loose:
            # A server of Phobos copies the bits of the request, and compresses nothing.
            compressor = GZIP if compressor == GZIP and is_gzip(frame.payload, frame.payload_size) else 0
        if (
            frame.metadata_size == 0 and not is_error and serialize <= SERIALIZE_MSGPACK and compressor <= GZIP
            and self.above.takes_whole(frame.payload_size)
        ):
            return self.above.put_answer(id, frame.payload, frame.payload_size, CODEC[serialize], compressor)
        return self._take_whole_answer(id, frame, is_error, serialize, compressor)

    cdef int _take_whole_answer(
        self, uint64_t id, RpcxFrame* frame, bint is_error, int serialize, int compressor
    ) except -1:
        """Take an answer that has metadata, fails, is long, or has to wait."""
        cdef dict told = {}
        cdef list dropped = []
        cdef bytes metadata = b"", head
        if frame.metadata_size:
            try:
                metadata = native_answer(frame.metadata, frame.metadata_size, self.profile.error_key, told, dropped)
            except ValueError as error:
                return self.above.fail(id, INTERNAL, f"the answer cannot be taken: {error}", True)
        if dropped:
            self._note_dropped(dropped)
        if b"frpc-goaway" in told:
            self._leave()
        if PyBytes_GET_SIZE(metadata) > self.above.most_metadata:
            text = f"has {len(metadata)} bytes, at most {self.above.most_metadata} fit (Limits.frame_bytes)"
            return self.above.fail(id, INTERNAL, f"the metadata of the answer {text}", True)
        if is_error:
            return self._take_error(id, metadata, told)
        if serialize > SERIALIZE_MSGPACK or compressor > GZIP:
            what = f"serialize type {serialize}" if serialize > SERIALIZE_MSGPACK else f"compressor {compressor}"
            return self.above.fail(id, INTERNAL, f"the answer has the {what}, which is not known", True)
        head = answer_head(0, "", metadata, True, 0)
        return self.above.answer(id, head, frame.payload, frame.payload_size, CODEC[serialize] | compressor << 8)

    cdef int _take_push(self, RpcxFrame* frame) except -1:
        """Let the connection above serve what the server pushed: a call without an answer."""
        cdef Py_ssize_t name_size = frame.path_size + 1 + frame.method_size
        cdef bytes name, metadata = b"", head, payload
        cdef list dropped = []
        cdef int serialize = frame.kinds >> 4, compressor = (frame.flags & COMPRESSION_BITS) >> 2
        cdef uint64_t id
        cdef Reserved found
        cdef char* at
        if frame.metadata_size:
            try:
                # Checks the lengths.
                find_reserved(frame.metadata, frame.metadata_size, False, &found)
                metadata = native_entries(frame.metadata, frame.metadata_size, self.profile.states_deadlines, dropped)
            except ValueError as error:
                return self._drop_push(str(error))
        if dropped:
            self._note_dropped(dropped)
        if not 1 < name_size <= LONGEST_NAME or PyBytes_GET_SIZE(metadata) > self.above.most_metadata or compressor > 1:
            return self._drop_push(
                f"its name has {name_size} bytes, its metadata {len(metadata)}, its compressor is {compressor}"
            )
        name = frame.path[:frame.path_size] + b"." + frame.method[:frame.method_size]
        head = PyBytes_FromStringAndSize(NULL, REQUEST_HEAD)
        at = PyBytes_AS_STRING(head)
        store64(at, 2)
        store16(at + 4, <uint16_t>name_size)
        store16(at + 6, <uint16_t>PyBytes_GET_SIZE(metadata))
        store64(at + 8, 0)
        id, self.next_push = self.next_push, self.next_push + 2
        head += name + metadata
        if serialize == SERIALIZE_RAW and not compressor:
            # The result of everything that Go pushes. As a value it fits methods that return nothing, for which raw
            # bytes have no form.
            payload = BIN32 + (<object>frame.payload_size).to_bytes(4, "big") + frame.payload[:frame.payload_size]
            return self.above.put_message(
                REQUEST, ONE_WAY, id, head, payload, PyBytes_GET_SIZE(payload), codec_of(SERIALIZE_MSGPACK)
            )
        return self.above.put_message(
            REQUEST, ONE_WAY, id, head, frame.payload, frame.payload_size, codec_of(serialize) | compressor << 8
        )

    cdef int _drop_push(self, str why) except -1:
        """Log a push that cannot be served: the first one, then at most one a minute, with the number of the others."""
        cdef uint64_t now = now_ns()
        self.untold_pushes += 1
        if self.told_push_ns == 0 or now >= self.told_push_ns + <uint64_t>MINUTE:
            logger.warning("dropped a push: %s (pushes dropped since this was last told: %d)", why, self.untold_pushes)
            self.told_push_ns, self.untold_pushes = now, 0
        return 0

    cdef int _note_dropped(self, list dropped) except -1:
        """Count entries of metadata without a native form; the first one of a connection is logged."""
        note_dropped(dropped, self.profile.name, logger, self.has_told_dropped)
        self.has_told_dropped = True
        return 0

    cdef int _leave(self) except -1:
        """Let further calls use another connection."""
        if not self.is_leaving:
            self.is_leaving = True
            self.above.put_control(GOAWAY, 0, NO_MORE_CALLS)
        return 0

    cdef int _take_error(self, uint64_t id, bytes metadata, dict told) except -1:
        """Fail a call with the error in the entries of its answer; an answer by Go has only the text."""
        cdef bytes head, details = told.get(b"frpc-details-bin", b"")
        cdef bytes text = told.get(self.profile.error_key, b"")
        cdef tuple names = self.profile.unknown_names
        cdef int status = STATUSES.get(told.get(b"frpc-code"), UNIMPLEMENTED if text.startswith(names) else UNKNOWN)
        if status == UNAUTHENTICATED and self.profile.closes_on_refusal:
            # The server accepts no more calls here.
            self._leave()
        head = answer_head(
            status, text.decode("utf-8", "replace"), metadata,
            told.get(b"frpc-processed") != b"no", pause_of(told.get(b"frpc-retry-after-ms")),
        )
        return self.above.answer(id, head, PyBytes_AS_STRING(details), PyBytes_GET_SIZE(details), CODEC_MSGPACK)


cdef inline bint is_gzip(const char* data, Py_ssize_t size) noexcept:
    """Return whether bytes begin with the header of gzip (RFC 1952)."""
    return size > 2 and <uint8_t>data[0] == 0x1F and <uint8_t>data[1] == 0x8B
