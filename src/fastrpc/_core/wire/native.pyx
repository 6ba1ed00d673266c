"""The native wire protocol of fastrpc: the first bytes of either side, and frames.

::

    0             4        5         6          8
    | F5 'F' 'R' 'P' | lowest | highest | features |      the client's preface
    | F5 'F' 'R' 'P' | chosen | highest | features |      the server's preface; chosen is 0: no common version

    0        4    5     6     7          8                16
    | length | kind | flags | codec | compressor | call id | body of `length` bytes …

Headers have 16 bytes and fixed-width little-endian fields, no varints. A peer that does not send a preface is a
stranger, whose first bytes show its protocol. PROTOCOL.md is the specification; tests compare this file with a
pure-Python reference in `tests/support`.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcpy, memset

from fastrpc._core.base.wire cimport load16, load32, load64, store16, store32, store64, utf8_valid
from fastrpc._core.wire.frame cimport (
    ACK,
    AUTH,
    BODY_REFUSED,
    CANCEL,
    CONT,
    CONTROL_LIMIT,
    CREDIT,
    DATA,
    END,
    FINAL,
    GOAWAY,
    GOAWAY_TEXT_LIMIT,
    HEAD,
    HEADER_REFUSED,
    HEADER_SIZE,
    IDEMPOTENT,
    MESSAGE_LIMIT,
    METHOD_LIMIT,
    MORE,
    ONE_WAY,
    PARTIAL_ABOVE,
    PING,
    REASON_FRAME_SIZE,
    REASON_PROTOCOL,
    REQUEST,
    RESPONSE,
    SETTINGS,
    SETTINGS_LIMIT,
    STREAM_IN,
    STREAM_OUT,
    WAITED,
)

from fastrpc.errors import RemoteProtocolError

cdef enum:
    VERSION = 1
    MAGIC_SIZE = 4

MAGIC = b"\xf5FRP"

PREFACE = MAGIC + bytes((VERSION, VERSION, 0, 0))
NO_COMMON_VERSION = MAGIC + bytes((0, VERSION, 0, 0))

cdef str HTTP_CLIENT = "one that speaks HTTP, which a server does once its protocols name \"http\""
cdef str GRPC_CLIENT = "one that speaks gRPC, which a server does once its protocols name \"grpc\""

# The first bytes of other servers, to which a fastrpc client may have connected, and of other clients.
cdef tuple STRANGERS = (
    (b"HTTP/", "an HTTP server"),
    (b"<", "an HTTP server"),
    (b"\x00\x00\x12\x04", "an HTTP/2 server"),
    (b"SSH-", "an SSH server"),
    (b"\x15\x03", "a TLS server"),
    (b"\x16\x03", "one that speaks TLS, which tcp:// does not"),
    (b"220", "an SMTP or FTP server"),
    (b"-ERR", "a Redis server"),
    (b"-NOAUTH", "a Redis server"),
    (b"-DENIED", "a Redis server"),
    (b"PRI ", GRPC_CLIENT),
    (b"DELETE ", HTTP_CLIENT),
    (b"GET ", HTTP_CLIENT),
    (b"HEAD ", HTTP_CLIENT),
    (b"OPTIONS ", HTTP_CLIENT),
    (b"PATCH ", HTTP_CLIENT),
    (b"POST ", HTTP_CLIENT),
    (b"PUT ", HTTP_CLIENT),
    (b"\x08", "one that speaks rpcx, which a server does once its protocols name \"rpcx\""),
)

cdef enum:
    FIXED_HEAD = 16  # REQUEST and RESPONSE: head_words = 2
    NAMES_HEAD = 24  # REQUEST with names: head_words = 3
    HIGHEST_OUTCOME = 2  # others count as unknown
    METADATA_BLOCK = 65535  # the most that a u16 can announce
    HIGHEST_PRIORITY = 2  # others count as normal

cdef uint64_t HIGHEST_ID = 0x7FFFFFFFFFFFFFFF


cdef bint begins_with_magic(const char* data, Py_ssize_t size) noexcept:
    """Return whether the first `size` bytes begin a preface."""
    cdef Py_ssize_t i
    for i in range(min(size, <Py_ssize_t>MAGIC_SIZE)):
        if data[i] != PyBytes_AS_STRING(MAGIC)[i]:
            return False
    return True


cdef str stranger_of(bytes first, bint is_client):
    """Describe a peer by its first bytes, which are not a fastrpc preface."""
    wanted = "server" if is_client else "client"
    for start, name in STRANGERS:
        if first.startswith(start):
            return f"not a fastrpc {wanted} but {name}: the first bytes are {first!r}"
    return f"not a fastrpc {wanted}: the first bytes are {first!r}"


cdef str version_problem(const char* data, bint is_client):
    """Return the reason why a complete preface leads to no connection, or None."""
    cdef int lowest = <uint8_t>data[4], highest = <uint8_t>data[5]
    cdef bint is_common = lowest and lowest <= VERSION <= highest and load16(data + 6) == 0
    if not is_client:
        return None if is_common else f"no common version: the client speaks {lowest} to {highest}"
    if lowest == 0:
        return f"no common version: the server speaks up to {highest}"
    return None if is_common and lowest == VERSION else f"the server chose version {lowest}, we speak {VERSION}"


@cython.final
cdef class NativeProtocol(WireProtocol):
    def __cinit__(self):
        self.answer_head = HEADER_SIZE + FIXED_HEAD

    @cython.nonecheck(False)
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Frame* frame) noexcept nogil:
        cdef Py_ssize_t body, present
        cdef int known
        frame.refused = 0
        frame.length = 0
        if size < HEADER_SIZE:
            return 0
        frame.length = load32(data)
        # Kind, flags, codec and compressor are adjacent in a Frame, as on the wire.
        memcpy(&frame.kind, data + 4, 4)
        frame.id = load64(data + 8)
        if self._check_header(frame):
            return HEADER_REFUSED
        body = frame.length
        present = size - HEADER_SIZE
        if present < body and body <= PARTIAL_ABOVE:
            return 0
        data += HEADER_SIZE
        if frame.kind == REQUEST or frame.kind == RESPONSE:
            known = parse_head(data, present, frame)
        elif frame.kind == DATA:
            known = parse_payload(data, 0, present, frame)
        else:
            known = parse_plain(data, present, frame)
        if frame.refused:
            if present >= body:
                return BODY_REFUSED
            # The whole frame is skipped before the refusal is reported.
            frame.payload = data
            frame.payload_size = body
            frame.payload_present = present
            known = 1
        if not known or (frame.payload_present < frame.payload_size and frame.payload_size <= PARTIAL_ABOVE):
            return 0
        return HEADER_SIZE + body - (frame.payload_size - frame.payload_present)

    cdef bint finds_timeout(self, const char* data, Py_ssize_t size, uint64_t* timeout_us) noexcept nogil:
        if size < HEADER_SIZE + FIXED_HEAD or <uint8_t>data[4] != REQUEST:
            return False
        timeout_us[0] = load64(data + HEADER_SIZE + 8)
        return True

    @cython.nonecheck(False)
    cdef int _check_header(self, Frame* frame) noexcept nogil:
        """Check the header (PROTOCOL.md, checks H1 to H6); return 0 if it is valid."""
        cdef int kind = frame.kind, flags = frame.flags
        cdef uint64_t parity = frame.id & 1
        cdef bint sent_by_opener = parity == <uint64_t>self.peer_parity
        if frame.length > self.frame_limit:
            return refuse(frame, REASON_FRAME_SIZE, "frame length", frame.length, self.frame_limit)
        if self.needs_settings and (kind != SETTINGS or flags & ACK):
            return refuse(frame, REASON_PROTOCOL, "first frame is not SETTINGS but kind", kind, SETTINGS)
        if kind == REQUEST:
            if flags & ~(MORE | STREAM_IN | STREAM_OUT | ONE_WAY | IDEMPOTENT):
                return refuse(frame, REASON_PROTOCOL, "undefined flags of REQUEST", flags, 0xF1)
            if flags & ONE_WAY and flags & (STREAM_IN | STREAM_OUT):
                return refuse(frame, REASON_PROTOCOL, "ONE_WAY with a stream, flags", flags, ONE_WAY)
            return check_call(frame, sent_by_opener, FIXED_HEAD + 8 * (flags & MORE), frame.length)
        if kind == RESPONSE:
            if flags & ~MORE:
                return refuse(frame, REASON_PROTOCOL, "undefined flags of RESPONSE", flags, MORE)
            return check_call(frame, not sent_by_opener, FIXED_HEAD + 8 * (flags & MORE), frame.length)
        if kind == DATA:
            if flags & ~(MORE | CONT | WAITED):
                return refuse(frame, REASON_PROTOCOL, "undefined flags of DATA", flags, MORE | CONT | WAITED)
            return check_call(frame, True, shortest_data(flags), frame.length)
        return self._check_rare(frame, sent_by_opener)

    cdef int _check_rare(self, Frame* frame, bint sent_by_opener) noexcept nogil:
        cdef int kind = frame.kind, flags = frame.flags
        if kind == CREDIT:
            if flags:
                return refuse(frame, REASON_PROTOCOL, "undefined flags of CREDIT", flags, 0)
            if frame.id >> 63:
                return refuse(frame, REASON_PROTOCOL, "call id", frame.id, HIGHEST_ID)
            return check_length(frame, 4, 4)
        if kind == HEAD or kind == END or kind == CANCEL:
            if flags:
                return refuse(frame, REASON_PROTOCOL, "undefined flags of HEAD, END or CANCEL", flags, 0)
            if kind == HEAD:
                return check_call(frame, not sent_by_opener, 0, frame.length)
            return check_call(frame, sent_by_opener, 4 * (kind == CANCEL), 4 * (kind == CANCEL))
        if kind == SETTINGS:
            return check_connection(frame, ACK, 0, 0 if flags & ACK else SETTINGS_LIMIT)
        if kind == PING:
            return check_connection(frame, ACK, 8, 8)
        if kind == GOAWAY:
            return check_connection(frame, FINAL, 16, 16 + GOAWAY_TEXT_LIMIT)
        if kind == AUTH:
            return check_connection(frame, ACK, 8 if flags & ACK else 4, CONTROL_LIMIT)
        if kind & 0x80:
            return refuse(frame, REASON_PROTOCOL, "unknown critical frame kind", kind, 0)
        # TEST, and skippable kinds of later versions.
        return check_length(frame, 0, CONTROL_LIMIT)

    cdef Py_ssize_t head_size(self, const Frame* frame) noexcept nogil:
        cdef Py_ssize_t size = HEADER_SIZE + frame.method_size + frame.text_size + frame.metadata_size
        if frame.kind == REQUEST or frame.kind == RESPONSE:
            size += FIXED_HEAD
        if frame.names:
            # Only a REQUEST has names.
            size += NAMES_HEAD - FIXED_HEAD
        if frame.flags & MORE and not frame.flags & CONT:
            size += 8
        return size

    @cython.nonecheck(False)
    cdef int write(self, WriteBuffer out, const Frame* frame) except -1:
        """Append header, head and the present part of the payload."""
        cdef Py_ssize_t head = self.head_size(frame)
        cdef char* place = out.reserve(head + frame.payload_present)
        store32(place, <uint32_t>(head - HEADER_SIZE + frame.payload_size))
        memcpy(place + 4, &frame.kind, 4)
        store64(place + 8, frame.id)
        place += HEADER_SIZE
        if frame.kind == REQUEST:
            place = write_request_head(place, frame)
        elif frame.kind == RESPONSE:
            place = write_response_head(place, frame)
        if frame.metadata_size:
            memcpy(place, frame.metadata, frame.metadata_size)
            place += frame.metadata_size
        if frame.flags & MORE and not frame.flags & CONT:
            store64(place, frame.total)
            place += 8
        if frame.payload_present:
            memcpy(place, frame.payload, frame.payload_present)
        return 0

    @cython.nonecheck(False)
    cdef int write_answer(
        self, WriteBuffer out, uint64_t id, int codec, int compressor, uint32_t elapsed_us, bytes metadata, bytes payload
    ) except -1:
        """Write a plain RESPONSE, a server's most frequent frame, without a Frame."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload), more = 0 if metadata is None else PyBytes_GET_SIZE(metadata)
        cdef char* place = out.reserve(HEADER_SIZE + FIXED_HEAD + more + size)
        store32(place, <uint32_t>(FIXED_HEAD + more + size))
        place[4] = <char><int>RESPONSE
        place[5] = 0
        place[6] = <char>codec
        place[7] = <char>compressor
        store64(place + 8, id)
        # The handler ran, status 0, no text, no pushback.
        store32(place + 16, FIXED_HEAD // 8)
        store32(place + 20, <uint32_t>more << 16)
        store64(place + 24, <uint64_t>elapsed_us << 32)
        place += HEADER_SIZE + FIXED_HEAD
        if more:
            memcpy(place, PyBytes_AS_STRING(metadata), more)
        memcpy(place + more, PyBytes_AS_STRING(payload), size)
        return 0

    # For single frames in tests and tools; connections use `parse`, `write` and `write_answer`.

    def decode(self, bytes data):
        """Parse one whole frame into a dict of its fields.

        Raises:
            RemoteProtocolError: the frame violates the protocol, is incomplete, or has bytes after it.
        """
        cdef Frame frame
        cdef Py_ssize_t consumed = self.parse(data, len(data), &frame)
        if consumed < 0:
            raise RemoteProtocolError(f"{frame.problem.decode()} {frame.found}, allowed is {frame.allowed}")
        if consumed == 0 or consumed != len(data) or frame.payload_present < frame.payload_size:
            raise RemoteProtocolError(f"{len(data)} bytes are not one whole frame")
        found = {"kind": frame.kind, "flags": frame.flags, "id": frame.id}
        found["codec"], found["compressor"] = frame.codec, frame.compressor
        if frame.kind == REQUEST:
            found["attempt"], found["priority"] = frame.attempt, frame.priority
            found["timeout_us"], found["names"] = frame.timeout_us, frame.names
            found["method"] = frame.method[:frame.method_size]
        elif frame.kind == RESPONSE:
            found["outcome"], found["status"] = frame.outcome, frame.status
            found["pushback_ms"], found["elapsed_us"] = frame.pushback_ms, frame.elapsed_us
            found["text"] = frame.text[:frame.text_size]
        if frame.kind == REQUEST or frame.kind == RESPONSE:
            found["metadata"] = frame.metadata[:frame.metadata_size]
        if frame.flags & MORE and not frame.flags & CONT:
            found["total"] = frame.total
        found["payload"] = frame.payload[:frame.payload_size]
        return found

    def encode(self, dict fields):
        """Encode the frame with these fields, the inverse of `decode`; missing fields are 0 or empty."""
        cdef Frame frame
        cdef WriteBuffer out = WriteBuffer()
        cdef bytes method = fields.get("method", b""), text = fields.get("text", b"")
        cdef bytes metadata = fields.get("metadata", b""), payload = fields.get("payload", b"")
        memset(&frame, 0, sizeof(Frame))
        frame.kind, frame.flags, frame.id = fields["kind"], fields.get("flags", 0), fields.get("id", 0)
        frame.codec, frame.compressor = fields.get("codec", 0), fields.get("compressor", 0)
        frame.attempt, frame.priority = fields.get("attempt", 0), fields.get("priority", 0)
        frame.outcome, frame.status = fields.get("outcome", 0), fields.get("status", 0)
        frame.pushback_ms, frame.elapsed_us = fields.get("pushback_ms", 0), fields.get("elapsed_us", 0)
        frame.timeout_us, frame.total = fields.get("timeout_us", 0), fields.get("total", 0)
        frame.names = fields.get("names", 0)
        # The variables keep all four objects alive.
        frame.method, frame.method_size = method, len(method)
        frame.text, frame.text_size = text, len(text)
        frame.metadata, frame.metadata_size = metadata, len(metadata)
        frame.payload, frame.payload_size = payload, len(payload)
        frame.payload_present = frame.payload_size
        self.write(out, &frame)
        return out.take()


cdef inline char* write_request_head(char* place, const Frame* frame) noexcept nogil:
    place[0] = FIXED_HEAD // 8
    place[1] = <char>frame.attempt
    place[2] = <char>frame.priority
    place[3] = 0
    store16(place + 4, <uint16_t>frame.method_size)
    store16(place + 6, <uint16_t>frame.metadata_size)
    store64(place + 8, frame.timeout_us)
    if frame.names:
        place[0] = NAMES_HEAD // 8
        store64(place + FIXED_HEAD, frame.names)
        place += NAMES_HEAD - FIXED_HEAD
    place += FIXED_HEAD
    memcpy(place, frame.method, frame.method_size)
    return place + frame.method_size


cdef inline char* write_response_head(char* place, const Frame* frame) noexcept nogil:
    place[0] = FIXED_HEAD // 8
    place[1] = <char>frame.outcome
    store16(place + 2, frame.status)
    store16(place + 4, <uint16_t>frame.text_size)
    store16(place + 6, <uint16_t>frame.metadata_size)
    store32(place + 8, frame.pushback_ms)
    store32(place + 12, frame.elapsed_us)
    if frame.text_size:
        memcpy(place + FIXED_HEAD, frame.text, frame.text_size)
    return place + FIXED_HEAD + frame.text_size


cdef inline int refuse(Frame* frame, int reason, const char* problem, uint64_t found, uint64_t allowed) noexcept nogil:
    frame.refused = reason
    frame.problem = problem
    frame.found = found
    frame.allowed = allowed
    return reason


cdef inline int check_length(Frame* frame, Py_ssize_t lowest, Py_ssize_t highest) noexcept nogil:
    if frame.length < lowest:
        return refuse(frame, REASON_FRAME_SIZE, "frame too short for its kind, length", frame.length, lowest)
    if frame.length > highest:
        return refuse(frame, REASON_FRAME_SIZE, "frame too long for its kind, length", frame.length, highest)
    return 0


cdef inline int check_call(Frame* frame, bint parity_fits, Py_ssize_t lowest, Py_ssize_t highest) noexcept nogil:
    """Check a frame of a call: first its id, then its length."""
    if frame.id == 0 or frame.id >> 63:
        return refuse(frame, REASON_PROTOCOL, "call id", frame.id, HIGHEST_ID)
    if not parity_fits:
        return refuse(frame, REASON_PROTOCOL, "this kind may not come from that side, call id", frame.id, HIGHEST_ID)
    return check_length(frame, lowest, highest)


cdef inline int check_connection(Frame* frame, int flags, Py_ssize_t lowest, Py_ssize_t highest) noexcept nogil:
    """Check a frame of the connection: flags, id 0, length."""
    if frame.flags & ~flags:
        return refuse(frame, REASON_PROTOCOL, "undefined flags", frame.flags, flags)
    if frame.id:
        return refuse(frame, REASON_PROTOCOL, "a frame of the connection has call id", frame.id, 0)
    return check_length(frame, lowest, highest)


cdef int parse_plain(const char* body, Py_ssize_t present, Frame* frame) noexcept nogil:
    """Parse a body of one piece; 0: more bytes are needed."""
    frame.payload = frame.metadata = body
    frame.payload_size = frame.metadata_size = frame.length
    frame.payload_present = min(present, frame.payload_size)
    if frame.kind >= GOAWAY:
        check_texts(frame)
    # Wait for the whole body, except for a HEAD that exceeds its limit: its body is skipped, not stored.
    return present >= frame.payload_size or frame.payload_size > METADATA_BLOCK


cdef int check_texts(Frame* frame) noexcept nogil:
    """Check the parts of a complete GOAWAY or AUTH: lengths, last id, text."""
    cdef const char* body = frame.payload
    cdef Py_ssize_t parts, text, size
    if frame.kind == GOAWAY:
        text, size = 16, load16(body + 10)
        parts = text + size
    elif frame.flags & ACK:
        text, size = 8, load16(body + 2)
        parts = text + size
    else:
        text, size = 4, <uint8_t>body[1]
        parts = text + size + load16(body + 2)
    if parts != <Py_ssize_t>frame.length:
        return refuse(frame, REASON_PROTOCOL, "parts of GOAWAY or AUTH do not fit its length:", parts, frame.length)
    if frame.kind == GOAWAY and load64(body) > HIGHEST_ID:
        return refuse(frame, REASON_PROTOCOL, "last id of GOAWAY", load64(body), HIGHEST_ID)
    if not utf8_valid(body + text, size):
        return refuse(frame, REASON_PROTOCOL, "text of GOAWAY or AUTH that is not UTF-8, length", size, frame.length)
    if frame.kind == AUTH and not frame.flags & ACK:
        for text in range(4, 4 + size):
            if body[text] & 0x80:
                return refuse(frame, REASON_PROTOCOL, "scheme of AUTH that is not ASCII, length", size, frame.length)
    return 0


cdef inline Py_ssize_t shortest_data(int flags) noexcept nogil:
    if flags & CONT:
        return 0 if flags & MORE else 1
    return 8 if flags & MORE else 0


cdef inline int parse_head(const char* body, Py_ssize_t present, Frame* frame) noexcept nogil:
    """Parse the head of REQUEST or RESPONSE. 0: more bytes are needed; 1: done, or refused."""
    cdef Py_ssize_t head, text_size
    if present < FIXED_HEAD:
        return 0
    head = 8 * <Py_ssize_t><uint8_t>body[0]
    frame.names = 0
    if head != FIXED_HEAD:
        if head < FIXED_HEAD:
            refuse(frame, REASON_PROTOCOL, "head length", head, FIXED_HEAD)
            return 1
        # An incomplete head, or a head longer than its frame, is detected below.
        if frame.kind == REQUEST and present >= NAMES_HEAD:
            frame.names = load64(body + FIXED_HEAD)
    frame.metadata_size = load16(body + 6)
    if frame.kind == REQUEST:
        frame.attempt = <uint8_t>body[1]
        frame.priority = <uint8_t>body[2] if <uint8_t>body[2] <= HIGHEST_PRIORITY else 0
        text_size = frame.method_size = load16(body + 4)
        frame.timeout_us = load64(body + 8)
        frame.method = body + head
        if not 1 <= text_size <= METHOD_LIMIT:
            refuse(frame, REASON_PROTOCOL, "method length", text_size, METHOD_LIMIT)
            return 1
    else:
        frame.outcome = min(<uint8_t>body[1], <uint8_t>HIGHEST_OUTCOME)
        frame.status = load16(body + 2)
        text_size = frame.text_size = load16(body + 4)
        frame.pushback_ms = load32(body + 8)
        frame.elapsed_us = load32(body + 12)
        frame.text = body + head
        if text_size > MESSAGE_LIMIT:
            refuse(frame, REASON_PROTOCOL, "message length", text_size, MESSAGE_LIMIT)
            return 1
    frame.metadata = body + head + text_size
    return parse_payload(body, head + text_size + frame.metadata_size, present, frame)


cdef inline int parse_payload(const char* body, Py_ssize_t offset, Py_ssize_t present, Frame* frame) noexcept nogil:
    """Set the payload, which follows `offset` bytes of head, names and metadata.

    Return 0 if more bytes are needed, 1 if it is done or refused.
    """
    cdef Py_ssize_t length = frame.length
    cdef bint announces = frame.flags & MORE and not frame.flags & CONT
    if offset + 8 * announces > length:
        refuse(frame, REASON_PROTOCOL, "head and names longer than the frame:", offset + 8 * announces, length)
        return 1
    if present < offset + 8 * announces:
        return 0
    if announces:
        frame.total = load64(body + offset)
        offset += 8
        if frame.total <= <uint64_t>(length - offset):
            refuse(frame, REASON_PROTOCOL, "total of a message within its first piece:", frame.total, length - offset)
            return 1
    frame.payload = body + offset
    frame.payload_size = length - offset
    frame.payload_present = min(frame.payload_size, present - offset)
    return 1
