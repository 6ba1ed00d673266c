"""The client's side of rpcx: translates the frames of a native connection to rpcx, and back.

::

    ClientConnection ──► preface, SETTINGS, AUTH, REQUEST, PING, CANCEL ──► send ────► down ──► requests, heartbeats
    ClientConnection ◄── SETTINGS, CREDIT, RESPONSE, PING with ACK ◄── up ◄── receive ◄──── answers
    ClientConnection ◄── one-way REQUEST ◄──────────────────────────── up ◄── receive ◄──── pushes

An rpcx client is a native client above this translation, so calls, deadlines, retries, batches, pings and limits are
the same as in every client. For the connection above, this translation is the peer: it answers the opening immediately,
returns credit, holds answers that lack credit, and ends a cancelled call. rpcx has no cancellation, so the server's
answer to a cancelled call is dropped.

rpcx authenticates each call separately. So each request carries the token of the connection, unless the call has its
own token in its metadata. The translation is sans-IO: bytes in, bytes out.
"""

import logging

cimport cython
from cpython.bytearray cimport PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from fastrpc._core.base.big_endian cimport store32_big
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
from fastrpc._core.base.wire cimport MINUTE, load32, now_ns
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.metadata cimport entries_of, note_dropped
from fastrpc._core.rpcx.frames cimport (
    COMPRESSION_BITS,
    HEADER_BYTES,
    IS_GZIP,
    IS_HEARTBEAT,
    IS_ONE_WAY,
    IS_RESPONSE,
    LENGTH_BYTES,
    STATUS_BITS,
    STATUS_ERROR,
    RpcxFrame,
    announced_size,
    parse_frame,
    put_header,
    put_text,
)
from fastrpc._core.rpcx.native_forms cimport (
    Reserved,
    begin_message,
    entry,
    find_reserved,
    native_answer,
    native_entries,
    new_upward,
    pause_of,
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
    RESPONSE,
    SETTINGS,
    STREAM_IN,
    STREAM_OUT,
    TIMEOUT_NONE,
    Frame,
)

from fastrpc.errors import RemoteProtocolError
from fastrpc.status import Status

logger = logging.getLogger("fastrpc.client")

cdef enum:
    # Enough digits for any 64-bit number of milliseconds.
    DIGITS = 20
    LONGEST_NAME = 255
    # Credit is returned when at least this many bytes are owed.
    CREDIT_PART = 1_048_576
    GZIP = 1

# The codecs of native frames, by serialize type.
cdef int[4] CODEC = [CODEC_RAW, CODEC_JSON, CODEC_PROTOBUF, CODEC_MSGPACK]

cdef bytes NO_MORE_CALLS = (2**63 - 1).to_bytes(8, "little") + bytes(8)

cdef bytes AUTHORIZATION = b"authorization"
cdef bytes BEARER = b"bearer "
cdef bytes AUTH_KEY = b"__AUTH"
cdef bytes TIMEOUT_KEY = b"__ServerTimeout"
# The first byte of the msgpack type bin 32, which has up to 4 GiB of bytes.
cdef bytes BIN32 = b"\xc6"
# The statuses that an error may have, by name.
cdef dict STATUSES = {status.name.encode(): int(status) for status in Status if status is not Status.OK}


@cython.final
cdef class OpenRequest:
    """An incomplete REQUEST that arrives in pieces."""

    cdef:
        # The first frame, whose method and metadata point into `texts`, and the payload received so far.
        Frame frame
        bytes texts
        bytearray payload


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
        """Remove and return the bytes to be sent."""
        return self.down.take()

    def take_up(self):
        """Remove and return the bytes that the connection above is to receive."""
        return self.above.out.take()

    # From the connection above

    def send(self, data):
        """Translate bytes that the connection above sends."""
        cdef Frame frame
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
            # Open immediately, as a server may push before it receives anything.
            self.above.open(self.settings)
            at += PREFACE_SIZE
            left -= PREFACE_SIZE
        while self.is_open and left >= HEADER_SIZE:
            whole = HEADER_SIZE + <Py_ssize_t>load32(at)
            if whole > left:
                break
            self.above.wire.parse(at, whole, &frame)
            _take_frame(self, &frame, whole)
            at += whole
            left -= whole
        if left:
            self.cut_above += at[:left]

    # From the stream below

    cdef str silence(self):
        """Return the error text for a server that closed the connection and sent nothing; None if it sent bytes."""
        if self.has_received:
            return None
        return f"the server closed it without an answer: does it speak {self.profile.name}?"

    def receive(self, data):
        """Translate bytes from the server.

        Raises:
            RemoteProtocolError: the bytes are not rpcx.
        """
        cdef RpcxFrame frame
        cdef bytes rest
        cdef const char* at
        cdef Py_ssize_t left, whole
        self.has_received = True
        if self.pings:
            _answer_pings(self)
        if PyByteArray_GET_SIZE(self.cut_below):
            self.cut_below += data
            rest = bytes(self.cut_below[:HEADER_BYTES])
            whole = _whole_size(self, PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest))
            if whole == 0 or whole > PyByteArray_GET_SIZE(self.cut_below):
                # A long frame is handled when it is complete.
                return
            data = self.cut_below
            self.cut_below = bytearray()
        rest = data if type(data) is bytes else bytes(data)
        at, left = PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest)
        while left:
            whole = _whole_size(self, at, left)
            if whole == 0 or whole > left:
                break
            parse_frame(at, whole, whole, &frame)
            _take_answer(self, &frame)
            at += whole
            left -= whole
        if left:
            self.cut_below += at[:left]


# From the connection above

cdef int _take_frame(RpcxTranslation translation, Frame* frame, Py_ssize_t size) except -1:
    cdef bint is_answer = frame.flags & ACK
    if frame.kind == REQUEST or frame.kind == DATA:
        translation.taken += size
        if translation.taken >= CREDIT_PART:
            translation.above.put_control(CREDIT, 0, (<int>translation.taken).to_bytes(4, "little"))
            translation.taken = 0
        return _take_request(translation, frame) if frame.kind == REQUEST else _take_piece(translation, frame)
    if frame.kind == SETTINGS and not is_answer:
        return translation.above.put_control(SETTINGS, ACK, b"")
    if frame.kind == AUTH and not is_answer:
        return _take_token(translation, frame)
    if frame.kind == PING and not is_answer:
        # Answered here, as a server that has refused the token accepts nothing more, and only completes the calls in
        # progress.
        body = frame.payload[:frame.payload_size]
        return translation.above.put_control(PING, ACK, body) if translation.is_leaving else _ping(translation, body)
    if frame.kind == CANCEL:
        return _cancel(translation, frame.id)
    if frame.kind == CREDIT and frame.id == 0:
        return translation.above.raise_credit(load32(frame.payload))
    return 0


cdef int _take_request(RpcxTranslation translation, Frame* frame) except -1:
    cdef OpenRequest request
    if frame.flags & (STREAM_IN | STREAM_OUT):
        return _fail(translation, frame.id, UNIMPLEMENTED, f"{translation.profile.name} has no streams", False)
    if not frame.flags & MORE:
        return _write_call(translation, frame, frame.payload, frame.payload_size)
    request = OpenRequest.__new__(OpenRequest)
    request.frame = frame[0]
    # The metadata follows the method.
    request.texts = frame.method[:frame.method_size + frame.metadata_size]
    request.frame.method = PyBytes_AS_STRING(request.texts)
    request.frame.metadata = request.frame.method + frame.method_size
    request.payload = bytearray(frame.payload[:frame.payload_size])
    translation.requests[frame.id] = request
    return 0


cdef int _take_piece(RpcxTranslation translation, Frame* frame) except -1:
    """Take a further piece of a REQUEST; pieces of an abandoned REQUEST are dropped."""
    cdef OpenRequest request = translation.requests.get(frame.id)
    cdef bytes payload
    if request is None:
        return 0
    request.payload += frame.payload[:frame.payload_size]
    if frame.flags & MORE:
        return 0
    del translation.requests[frame.id]
    payload = bytes(request.payload)
    return _write_call(translation, &request.frame, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


cdef bytes _entries_of(RpcxTranslation translation, const char* metadata, Py_ssize_t size):
    """Return the metadata of a request, with the token."""
    cdef bytes key, value, last = translation.token_entry
    cdef list parts = []
    if size == 0:
        return last
    for key, value in entries_of(metadata[:size]):
        if key == AUTHORIZATION:
            # The call's own credential.
            last = entry(AUTH_KEY, value[len(BEARER):] if value[:len(BEARER)].lower() == BEARER else value)
        else:
            parts.append(entry(key, value))
    parts.append(last)
    return b"".join(parts)


cdef int _take_token(RpcxTranslation translation, Frame* frame) except -1:
    """Keep the credential of the connection: each call returns the server's verdict."""
    translation.token_entry = entry(AUTH_KEY, frame.payload[4 + <uint8_t>frame.payload[1]:frame.payload_size])
    return translation.above.put_control(AUTH, ACK, bytes(8))


cdef uint64_t _sequence_of(RpcxTranslation translation, object id) except? 0xFFFFFFFFFFFFFFFF:
    """Return the next sequence, and note the call that waits for its answer, if any."""
    cdef uint64_t sequence = translation.next_sequence
    translation.next_sequence += 1
    if id is not None:
        translation.waiting[sequence] = id
        translation.sequences[id] = sequence
    return sequence


cdef int _write_call(RpcxTranslation translation, Frame* call, const char* payload, Py_ssize_t payload_size) except -1:
    cdef char[DIGITS] digits
    cdef bytes entries = _entries_of(translation, call.metadata, call.metadata_size)
    cdef uint64_t sequence = _sequence_of(translation, None if call.flags & ONE_WAY else call.id)
    cdef int flags = (IS_ONE_WAY if call.flags & ONE_WAY else 0) | (IS_GZIP if call.compressor else 0)
    cdef Py_ssize_t dot = call.method_size, name = 0, count = 0, entries_size = PyBytes_GET_SIZE(entries), rest
    cdef uint64_t left_ms = call.timeout_us // 1000
    cdef char* at
    # The last dot is where the service ends.
    while dot and call.method[dot - 1] != c".":
        dot -= 1
    if dot:
        name = dot
        dot -= 1
    if call.timeout_us and call.timeout_us != TIMEOUT_NONE and translation.profile.states_deadlines:
        while count == 0 or left_ms:
            count += 1
            digits[DIGITS - count] = <char>(48 + left_ms % 10)
            left_ms //= 10
        entries_size += 2 * LENGTH_BYTES + PyBytes_GET_SIZE(TIMEOUT_KEY) + count
    rest = 4 * LENGTH_BYTES + dot + call.method_size - name + entries_size + payload_size
    at = translation.down.reserve(HEADER_BYTES + rest)
    at = put_header(at, translation.profile, <uint8_t>flags, serialize_of(call.codec & 3), sequence, rest)
    at = put_text(at, call.method, dot)
    at = put_text(at, call.method + name, call.method_size - name)
    store32_big(at, <uint32_t>entries_size)
    at += LENGTH_BYTES
    if count:
        at = put_text(at, PyBytes_AS_STRING(TIMEOUT_KEY), PyBytes_GET_SIZE(TIMEOUT_KEY))
        at = put_text(at, digits + DIGITS - count, count)
    memcpy(at, PyBytes_AS_STRING(entries), PyBytes_GET_SIZE(entries))
    put_text(at + PyBytes_GET_SIZE(entries), payload, payload_size)
    return 0


cdef int _ping(RpcxTranslation translation, bytes body) except -1:
    """Send a heartbeat: for rpcx the clock in nanoseconds, an int64 of msgpack; for Phobos the token."""
    cdef bint proves = translation.profile.proves_heartbeats
    cdef bytes payload = b"" if proves else b"\xd3" + (<object>now_ns()).to_bytes(8, "big")
    cdef bytes entries = translation.token_entry if proves else b""
    cdef uint64_t sequence = _sequence_of(translation, None)
    cdef Py_ssize_t rest = 4 * LENGTH_BYTES + PyBytes_GET_SIZE(entries) + PyBytes_GET_SIZE(payload)
    cdef char* at
    # Noted before the room is reserved, as noting may fail.
    translation.pings.append(body)
    at = translation.down.reserve(HEADER_BYTES + rest)
    at = put_header(at, translation.profile, IS_HEARTBEAT, SERIALIZE_RAW if proves else SERIALIZE_MSGPACK, sequence, rest)
    # The path and the method are empty.
    memset(at, 0, 2 * LENGTH_BYTES)
    at = put_text(at + 2 * LENGTH_BYTES, PyBytes_AS_STRING(entries), PyBytes_GET_SIZE(entries))
    put_text(at, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
    return 0


cdef int _answer_pings(RpcxTranslation translation) except -1:
    """Let the connection above know that the server is alive: a long frame would otherwise mean silence."""
    cdef list pings = translation.pings
    translation.pings = []
    for body in pings:
        translation.above.put_control(PING, ACK, body)
    return 0


cdef int _cancel(RpcxTranslation translation, uint64_t id) except -1:
    """End a cancelled call here; the server continues it."""
    cdef object sequence = translation.sequences.pop(id, None)
    if translation.requests.pop(id, None) is None:
        if sequence is None:
            return 0
        del translation.waiting[sequence]
    return _fail(translation, id, CANCELLED, "cancelled")


cdef Py_ssize_t _whole_size(RpcxTranslation translation, const char* data, Py_ssize_t size) except -1:
    """Return the size of the frame that begins here, 0 while its header is incomplete; refuse a too large one."""
    cdef Py_ssize_t whole = announced_size(data, size, translation.profile.checked_magic)
    if whole > translation.most_frame:
        raise RemoteProtocolError(
            f"a frame announces {whole} bytes, the limit is {translation.most_frame} (Limits.message_bytes)"
        )
    return whole


# From the stream below

cdef int _take_answer(RpcxTranslation translation, RpcxFrame* frame) except -1:
    cdef object waits
    cdef uint64_t id
    cdef int compressor = (frame.flags & COMPRESSION_BITS) >> 2
    # An answer of rpcx without any metadata counts as a success.
    cdef bint is_error = frame.flags & STATUS_BITS == STATUS_ERROR and (frame.metadata_size or translation.profile.is_loose)
    if not frame.flags & IS_RESPONSE and frame.flags & IS_ONE_WAY:
        return _take_push(translation, frame) if translation.takes_pushes else 0
    waits = translation.waiting.pop(frame.sequence, None)
    if waits is None:
        # This also handles a heartbeat, whose bytes alone are a sign of life.
        return 0
    id = waits
    del translation.sequences[waits]
    if compressor and translation.profile.is_loose:
        # A server of Phobos copies the bits of the request, and compresses nothing.
        compressor = GZIP if compressor == GZIP and is_gzip(frame.payload, frame.payload_size) else 0
    return _take_result(translation, id, frame, is_error, compressor)


cdef int _take_result(RpcxTranslation translation, uint64_t id, RpcxFrame* frame, bint is_error, int compressor) except -1:
    """Take the answer to a call that waits for it."""
    cdef int serialize = frame.kinds >> 4
    cdef Frame answer
    cdef bytes metadata = b""
    cdef dict told = {} if frame.metadata_size or is_error else None
    cdef list dropped
    if frame.metadata_size:
        dropped = []
        try:
            metadata = native_answer(frame.metadata, frame.metadata_size, translation.profile.error_key, told, dropped)
        except ValueError as error:
            return _fail(translation, id, INTERNAL, f"the answer cannot be taken: {error}")
        if dropped:
            _note_dropped(translation, dropped)
        if b"frpc-goaway" in told:
            _leave(translation)
    if PyBytes_GET_SIZE(metadata) > translation.above.most_metadata:
        text = f"has {len(metadata)} bytes, at most {translation.above.most_metadata} fit (Limits.frame_bytes)"
        return _fail(translation, id, INTERNAL, f"the metadata of the answer {text}")
    if is_error:
        return _take_error(translation, id, metadata, told)
    if serialize > SERIALIZE_MSGPACK or compressor > GZIP:
        what = f"serialize type {serialize}" if serialize > SERIALIZE_MSGPACK else f"compressor {compressor}"
        return _fail(translation, id, INTERNAL, f"the answer has the {what}, which is not known")
    begin_message(&answer, RESPONSE, id, metadata)
    answer.codec = <uint8_t>CODEC[serialize]
    answer.compressor = <uint8_t>compressor
    answer.payload = frame.payload
    answer.payload_size = frame.payload_size
    return translation.above.put_message(&answer)


cdef int _fail(RpcxTranslation translation, uint64_t id, int status, str text, bint has_run=True) except -1:
    """Fail a call of the connection above for a reason of the translation itself."""
    return translation.above.fail(id, Failure(status, text, has_run=has_run), b"")


cdef int _take_push(RpcxTranslation translation, RpcxFrame* frame) except -1:
    """Let the connection above serve what the server pushed: a call without an answer."""
    cdef Py_ssize_t name_size = frame.path_size + 1 + frame.method_size
    cdef bytes name, metadata = b"", payload
    cdef list dropped = []
    cdef int serialize = frame.kinds >> 4, compressor = (frame.flags & COMPRESSION_BITS) >> 2
    cdef Frame push
    cdef Reserved found
    if frame.metadata_size:
        try:
            # Checks the lengths.
            find_reserved(frame.metadata, frame.metadata_size, False, &found)
            metadata = native_entries(frame.metadata, frame.metadata_size, translation.profile.states_deadlines, dropped)
        except ValueError as error:
            return _drop_push(translation, str(error))
    if dropped:
        _note_dropped(translation, dropped)
    if not 1 < name_size <= LONGEST_NAME or PyBytes_GET_SIZE(metadata) > translation.above.most_metadata or compressor > 1:
        text = f"its name has {name_size} bytes, its metadata {len(metadata)}, its compressor is {compressor}"
        return _drop_push(translation, text)
    name = frame.path[:frame.path_size] + b"." + frame.method[:frame.method_size]
    begin_message(&push, REQUEST, translation.next_push, metadata)
    translation.next_push += 2
    push.flags = ONE_WAY
    push.method = PyBytes_AS_STRING(name)
    push.method_size = name_size
    push.codec = codec_of(serialize)
    push.compressor = <uint8_t>compressor
    push.payload = frame.payload
    push.payload_size = frame.payload_size
    if serialize == SERIALIZE_RAW and not compressor:
        # Go pushes everything as raw bytes. As one msgpack value they also fit methods that return nothing, for which
        # raw bytes have no form.
        payload = BIN32 + (<object>frame.payload_size).to_bytes(4, "big") + frame.payload[:frame.payload_size]
        push.codec = codec_of(SERIALIZE_MSGPACK)
        push.payload = PyBytes_AS_STRING(payload)
        push.payload_size = PyBytes_GET_SIZE(payload)
    return translation.above.put_message(&push)


cdef int _drop_push(RpcxTranslation translation, str why) except -1:
    """Log a push that cannot be served: the first one, then at most one a minute, with the number of the others."""
    cdef uint64_t now = now_ns()
    translation.untold_pushes += 1
    if translation.told_push_ns == 0 or now >= translation.told_push_ns + <uint64_t>MINUTE:
        logger.warning("dropped a push: %s (pushes dropped since this was last told: %d)", why, translation.untold_pushes)
        translation.told_push_ns, translation.untold_pushes = now, 0
    return 0


cdef int _note_dropped(RpcxTranslation translation, list dropped) except -1:
    """Count entries of metadata without a native form; the first one of a connection is logged."""
    note_dropped(dropped, translation.profile.name, logger, translation.has_told_dropped)
    translation.has_told_dropped = True
    return 0


cdef int _leave(RpcxTranslation translation) except -1:
    """Let further calls use another connection."""
    if not translation.is_leaving:
        translation.is_leaving = True
        translation.above.put_control(GOAWAY, 0, NO_MORE_CALLS)
    return 0


cdef int _take_error(RpcxTranslation translation, uint64_t id, bytes metadata, dict told) except -1:
    """Fail a call with the error in the entries of its answer; an answer by Go has only the text."""
    cdef bytes text = told.get(translation.profile.error_key, b"")
    cdef tuple names = translation.profile.unknown_names
    cdef int status = STATUSES.get(told.get(b"frpc-code"), UNIMPLEMENTED if text.startswith(names) else UNKNOWN)
    if status == UNAUTHENTICATED and translation.profile.closes_on_refusal:
        # The server accepts no more calls here.
        _leave(translation)
    return translation.above.fail(id, Failure(
        status, text.decode("utf-8", "replace"), told.get(b"frpc-details-bin", b""),
        pushback_ms=pause_of(told.get(b"frpc-retry-after-ms")), has_run=told.get(b"frpc-processed") != b"no",
    ), metadata)


cdef inline bint is_gzip(const char* data, Py_ssize_t size) noexcept:
    """Return whether bytes begin with the header of gzip (RFC 1952)."""
    return size > 2 and <uint8_t>data[0] == 0x1F and <uint8_t>data[1] == 0x8B
