"""The frames of HTTP/2 (RFC 9113, sections 4 and 6): the parser, and the writing of frames, for clients and servers.

::

    bytes ──► parse ──► frame header: checked before the payload arrives
                          ├── DATA ──► parts, as they arrive: a frame may be larger than any buffer
                          ├── HEADERS, CONTINUATION ──► one whole block
                          ├── another kind of the RFC ──► whole, at most 16 KiB
                          └── an unknown kind ──► its header alone; the rest is skipped

`stream_table` checks the rules that need the state of a stream or a window. The table here has all rules that a peer can
break, with three facts each: whether the connection or only the stream ends, the error code, the text. Parsers store the
number of a broken rule and raise nothing; the connection looks up the rule here to answer. The codes are from RFC 9113;
CALM_DOWN is for our limits against floods. The texts never quote names or values of fields, which may be secrets.

The peer's settings (section 6.5) apply as soon as they are read. Our settings apply to the peer's output in order, as it
acknowledges them.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, memmove, memset

from fastrpc._core.base.big_endian cimport load16_big, load24_big, load32_big, store16_big
from fastrpc._core.wire.window cimport HIGHEST_WINDOW

cdef enum:
    STREAM = 0
    CONNECTION = 1

cdef dict TABLE = {
    RULE_PREFACE: (CONNECTION, CODE_PROTOCOL, "the connection does not begin with the preface of HTTP/2"),
    RULE_FIRST_SETTINGS: (CONNECTION, CODE_PROTOCOL, "the first frame is of kind {found}, it must be SETTINGS"),
    RULE_FRAME_LIMIT: (CONNECTION, CODE_FRAME_SIZE, "a frame has {found} bytes, the limit is {allowed}"),
    RULE_FRAME_SIZE: (CONNECTION, CODE_FRAME_SIZE, "a frame has {found} bytes, its kind needs {allowed}"),
    RULE_PRIORITY_SIZE: (STREAM, CODE_FRAME_SIZE, "PRIORITY has {found} bytes, it must have {allowed}"),
    RULE_STREAM_FRAME: (CONNECTION, CODE_PROTOCOL, "a frame of kind {found} names no stream"),
    RULE_CONNECTION_FRAME: (CONNECTION, CODE_PROTOCOL, "a frame of kind {found} names a stream, it is the connection's"),
    RULE_PADDING: (CONNECTION, CODE_PROTOCOL, "a frame has {found} bytes of padding, there is room for {allowed}"),
    RULE_BLOCK_CUT: (CONNECTION, CODE_PROTOCOL, "a frame of kind {found} comes within a header block"),
    RULE_LONE_CONTINUATION: (CONNECTION, CODE_PROTOCOL, "CONTINUATION comes without an unfinished header block"),
    RULE_PUSH: (CONNECTION, CODE_PROTOCOL, "PUSH_PROMISE came, and push is turned off"),
    RULE_SELF_DEPENDENCY: (STREAM, CODE_PROTOCOL, "the stream depends on itself"),
    RULE_RISING_GOAWAY: (CONNECTION, CODE_PROTOCOL, "GOAWAY raises its last stream to {found}, it was {allowed}"),
    RULE_PUSH_SETTING: (CONNECTION, CODE_PROTOCOL, "ENABLE_PUSH is {found}, the most is {allowed}"),
    RULE_WINDOW_SETTING: (CONNECTION, CODE_FLOW_CONTROL, "INITIAL_WINDOW_SIZE is {found}, the most is {allowed}"),
    RULE_FRAME_SETTING: (CONNECTION, CODE_PROTOCOL, "MAX_FRAME_SIZE is {found}, it must be 16384 to {allowed}"),
    RULE_CONNECT_SETTING: (CONNECTION, CODE_PROTOCOL, "ENABLE_CONNECT_PROTOCOL is {found}, it must be 0 or 1, and not fall"),
    RULE_UNASKED_ACK: (CONNECTION, CODE_PROTOCOL, "SETTINGS are acknowledged that were not sent"),
    RULE_ZERO_INCREMENT: (CONNECTION, CODE_PROTOCOL, "WINDOW_UPDATE of the connection adds 0"),
    RULE_ZERO_STREAM_INCREMENT: (STREAM, CODE_PROTOCOL, "WINDOW_UPDATE of a stream adds 0"),
    RULE_WINDOW_OVERFLOW: (CONNECTION, CODE_FLOW_CONTROL, "a window is raised to {found}, the most is {allowed}"),
    RULE_STREAM_WINDOW_OVERFLOW: (STREAM, CODE_FLOW_CONTROL, "its window is raised to {found}, the most is {allowed}"),
    RULE_WINDOW: (CONNECTION, CODE_FLOW_CONTROL, "DATA of {found} bytes exceeds the connection's window of {allowed}"),
    RULE_STREAM_WINDOW: (STREAM, CODE_FLOW_CONTROL, "DATA of {found} bytes exceeds the stream's window of {allowed}"),
    RULE_ID_PARITY: (CONNECTION, CODE_PROTOCOL, "stream {found} has an id of the other side"),
    RULE_ID_ORDER: (CONNECTION, CODE_PROTOCOL, "stream {found} is opened after stream {allowed}"),
    RULE_IDLE_STREAM: (CONNECTION, CODE_PROTOCOL, "a frame names stream {found}, which is idle"),
    RULE_CLOSED_STREAM: (CONNECTION, CODE_STREAM_CLOSED, "a frame names stream {found}, which has ended"),
    RULE_HALF_CLOSED_STREAM: (STREAM, CODE_STREAM_CLOSED, "a frame comes after the end of its side of the stream"),
    RULE_RESET_STREAM: (STREAM, CODE_STREAM_CLOSED, "a frame comes after RST_STREAM of the same side"),
    RULE_STREAM_LIMIT: (STREAM, CODE_REFUSED_STREAM, "{found} streams are open, the limit is {allowed}"),
    RULE_INDEX: (CONNECTION, CODE_COMPRESSION, "a header block has index {found}, the tables have {allowed} entries"),
    RULE_INTEGER: (CONNECTION, CODE_COMPRESSION, "an integer of a header block is too long or cut"),
    RULE_STRING: (CONNECTION, CODE_COMPRESSION, "a string of {found} bytes is cut, {allowed} are left of the header block"),
    RULE_HUFFMAN: (CONNECTION, CODE_COMPRESSION, "a Huffman code has EOS or wrong padding"),
    RULE_LATE_UPDATE: (CONNECTION, CODE_COMPRESSION, "a table size update comes after a field"),
    RULE_UPDATE_SIZE: (CONNECTION, CODE_COMPRESSION, "a table size update is {found}, the most is {allowed}"),
    RULE_UPDATE_COUNT: (CONNECTION, CODE_COMPRESSION, "a header block has more than {allowed} table size updates"),
    RULE_MISSING_UPDATE: (CONNECTION, CODE_COMPRESSION, "the table is larger than the acknowledged {allowed} bytes"),
    RULE_EMPTY_NAME: (STREAM, CODE_PROTOCOL, "a field has an empty name"),
    RULE_NAME: (STREAM, CODE_PROTOCOL, "a field name has a byte that no name has, or a capital letter"),
    RULE_VALUE: (STREAM, CODE_PROTOCOL, "a field value has a byte that no value has"),
    RULE_VALUE_EDGE: (STREAM, CODE_PROTOCOL, "a field value begins or ends with white space"),
    RULE_CONNECTION_FIELD: (STREAM, CODE_PROTOCOL, "a field is about the connection, HTTP/2 has none"),
    RULE_TE: (STREAM, CODE_PROTOCOL, "te is something else than trailers"),
    RULE_UNKNOWN_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field is unknown"),
    RULE_LATE_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field comes after a regular one"),
    RULE_REPEATED_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field is there twice"),
    RULE_MISPLACED_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field is not of this kind of head"),
    RULE_MISSING_PSEUDO: (STREAM, CODE_PROTOCOL, "a pseudo-header field is missing"),
    RULE_PATH: (STREAM, CODE_PROTOCOL, "the path does not begin with a slash, or has a fragment"),
    RULE_AUTHORITY: (STREAM, CODE_PROTOCOL, "the authority is empty, has a user, or differs from Host"),
    RULE_STATUS: (STREAM, CODE_PROTOCOL, "the status is not a number of three digits"),
    RULE_CONTENT_LENGTH: (STREAM, CODE_PROTOCOL, "content-length is repeated, no number, or not the size of DATA"),
    RULE_TRAILERS_END: (STREAM, CODE_PROTOCOL, "trailers do not end the stream"),
    RULE_EARLY_DATA: (STREAM, CODE_PROTOCOL, "DATA comes before the head of its message"),
    RULE_CONTINUATIONS: (CONNECTION, CODE_CALM_DOWN, "a header block has more than {allowed} frames of CONTINUATION"),
    RULE_BLOCK_SIZE: (CONNECTION, CODE_CALM_DOWN, "a header block has {found} bytes or more, the limit is {allowed}"),
    RULE_CONTROL_SIZE: (CONNECTION, CODE_CALM_DOWN, "a frame of control has {found} bytes, the limit is {allowed}"),
    RULE_SETTINGS_FLOOD: (CONNECTION, CODE_CALM_DOWN, "SETTINGS came more than {allowed} times in a minute"),
    # gRPC's text, which clients look for.
    RULE_PING_FLOOD: (CONNECTION, CODE_CALM_DOWN, "too_many_pings"),
    RULE_PING_ANSWERS: (CONNECTION, CODE_CALM_DOWN, "more than {allowed} answers to PING wait to be read"),
    RULE_CREDIT_FLOOD: (CONNECTION, CODE_CALM_DOWN, "WINDOW_UPDATE came {found} times, too often for what was sent"),
    RULE_SHORT_WINDOWS: (CONNECTION, CODE_CALM_DOWN, "windows are opened by a few bytes at a time"),
    RULE_SKIPPED_FLOOD: (CONNECTION, CODE_CALM_DOWN, "too many frames have no effect, the last is of kind {found}"),
    RULE_LATE_FLOOD: (CONNECTION, CODE_CALM_DOWN, "too many frames are for streams that are over, the last for {found}"),
    RULE_IDLE_WORK: (CONNECTION, CODE_CALM_DOWN, "too many streams are opened to be reset or refused"),
}

cdef enum:
    SETTING_BYTES = 6

cdef uint32_t UNLIMITED = 0xFFFFFFFF

cdef enum:
    STREAM_BITS = 0x7FFFFFFF
    PRIORITY_BYTES = 5
    PING_BYTES = 8
    # The most bytes of a frame that is parsed as a whole, such as SETTINGS and GOAWAY.
    CONTROL_LIMIT = 16_384

cdef bytes PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


cdef bint ends_connection(int rule) except -1:
    return TABLE[rule][0]


cdef int error_code(int rule) except -1:
    return TABLE[rule][1]


cdef str violation_text(const Violation* violation):
    return TABLE[violation.rule][2].format(found=violation.found, allowed=violation.allowed)


cdef class Http2Settings:

    def __cinit__(self):
        self.header_table_bytes = FIRST_TABLE_BYTES
        self.streams = self.header_list_bytes = UNLIMITED
        self.window_bytes = FIRST_WINDOW
        self.frame_bytes = LEAST_FRAME_LIMIT
        self.allows_push = True

    cdef int apply(self, const char* data, Py_ssize_t size, bint is_of_server, Violation* violation) noexcept:
        cdef Py_ssize_t at
        if size % SETTING_BYTES:
            return violated(violation, RULE_FRAME_SIZE, size, size - size % SETTING_BYTES)
        for at in range(0, size, SETTING_BYTES):
            if self._apply_one(load16_big(data + at), load32_big(data + at + 2), is_of_server, violation) < 0:
                return -1
        return 0

    cdef int _apply_one(self, int id, uint32_t value, bint is_of_server, Violation* violation) noexcept:
        if id == SETTING_HEADER_TABLE:
            self.header_table_bytes = value
        elif id == SETTING_PUSH:
            # A server cannot ask a client to push.
            if value > (0 if is_of_server else 1):
                return violated(violation, RULE_PUSH_SETTING, value, 0 if is_of_server else 1)
            self.allows_push = value != 0
        elif id == SETTING_STREAMS:
            self.streams = value
        elif id == SETTING_WINDOW:
            if value > HIGHEST_WINDOW:
                return violated(violation, RULE_WINDOW_SETTING, value, HIGHEST_WINDOW)
            self.window_bytes = value
        elif id == SETTING_FRAME:
            if not LEAST_FRAME_LIMIT <= value <= MOST_FRAME_LIMIT:
                return violated(violation, RULE_FRAME_SETTING, value, MOST_FRAME_LIMIT)
            self.frame_bytes = value
        elif id == SETTING_HEADER_LIST:
            self.header_list_bytes = value
        elif id == SETTING_CONNECT:
            if value > 1 or value == 0 and self.allows_connect:
                return violated(violation, RULE_CONNECT_SETTING, value, 1)
            self.allows_connect = value != 0
        return 0


@cython.final
cdef class OwnSettings:

    def __cinit__(self, bint is_server):
        self.acknowledged = Http2Settings()
        self._sent = []
        self._is_server = is_server

    @property
    def unacknowledged(self):
        return len(self._sent)

    cdef int send(self, WriteBuffer out, dict changes) except -1:
        cdef Py_ssize_t size = SETTING_BYTES * len(changes), start
        cdef char* place
        put_head(out, size, KIND_SETTINGS, 0, 0)
        start = out.size
        for id, value in changes.items():
            place = out.reserve(SETTING_BYTES)
            store16_big(place, id)
            store32_big(place + 2, value)
        self._sent.append(out.data()[start:out.size])
        return 0

    cdef int acknowledge(self, Violation* violation) except? -1:
        cdef bytes payload
        if not self._sent:
            return violated(violation, RULE_UNASKED_ACK)
        payload = self._sent.pop(0)
        return self.acknowledged.apply(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), self._is_server, violation)


cdef int put_settings_ack(WriteBuffer out) except -1:
    return put_head(out, 0, KIND_SETTINGS, FLAG_ACK, 0)


@cython.final
cdef class Http2Parser:

    def __cinit__(self, bint is_server, Py_ssize_t frame_limit=LEAST_FRAME_LIMIT):
        self._awaits_preface = is_server
        self._awaits_settings = True
        self.frame_limit = frame_limit
        self._block = WriteBuffer()

    @cython.nonecheck(False)
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Http2Frame* frame) except? -1:
        cdef Py_ssize_t length
        memset(frame, 0, sizeof(Http2Frame))
        frame.kind = KIND_NOTHING
        if self._block_stream == 0:
            # The last block, if any, was returned to the caller.
            self._block.clear()
        if size == 0:
            return 0
        if self._data_left or self._padding_left:
            return self._continue_data(data, size, frame)
        if self._awaits_preface:
            return self._parse_preface(data, size, frame)
        if size < HEAD_BYTES:
            return 0
        length = load24_big(data)
        frame.kind = <uint8_t>data[3]
        frame.flags = <uint8_t>data[4]
        frame.stream = load32_big(data + 5) & STREAM_BITS
        if self._check_head(frame, length) < 0:
            return -1
        self._awaits_settings = False
        if frame.kind == KIND_DATA:
            return self._begin_data(data, size, length, frame)
        if frame.kind > KIND_CONTINUATION:
            self._padding_left = length
            self._data_stream = 0
            return HEAD_BYTES
        if size < HEAD_BYTES + length:
            frame.kind = KIND_NOTHING
            return 0
        data += HEAD_BYTES
        if frame.kind == KIND_HEADERS:
            if self._parse_headers(data, length, frame) < 0:
                return -1
        elif frame.kind == KIND_CONTINUATION:
            self._parse_continuation(data, length, frame)
        elif parse_control(data, length, frame) < 0:
            return -1
        return HEAD_BYTES + length

    cdef Py_ssize_t _parse_preface(self, const char* data, Py_ssize_t size, Http2Frame* frame) noexcept:
        cdef Py_ssize_t whole = PyBytes_GET_SIZE(PREFACE)
        if memcmp(data, PyBytes_AS_STRING(PREFACE), <size_t>min(size, whole)) != 0:
            return violated(&frame.violation, RULE_PREFACE)
        if size < whole:
            return 0
        self._awaits_preface = False
        return whole

    cdef int _check_head(self, Http2Frame* frame, Py_ssize_t length) noexcept:
        """Check a frame header: its values, and its place in the order of frames."""
        cdef int kind = frame.kind
        cdef Py_ssize_t needed = length
        if length > self.frame_limit:
            return violated(&frame.violation, RULE_FRAME_LIMIT, length, self.frame_limit)
        if self._awaits_settings and (kind != KIND_SETTINGS or frame.flags & FLAG_ACK):
            return violated(&frame.violation, RULE_FIRST_SETTINGS, kind)
        if self._block_stream and (kind != KIND_CONTINUATION or frame.stream != self._block_stream):
            return violated(&frame.violation, RULE_BLOCK_CUT, kind)
        if kind > KIND_CONTINUATION:
            return 0
        if kind == KIND_PUSH_PROMISE:
            return violated(&frame.violation, RULE_PUSH)
        if kind == KIND_SETTINGS or kind == KIND_PING or kind == KIND_GOAWAY:
            if frame.stream:
                return violated(&frame.violation, RULE_CONNECTION_FRAME, kind)
        elif frame.stream == 0 and kind != KIND_WINDOW_UPDATE:
            return violated(&frame.violation, RULE_STREAM_FRAME, kind)
        if kind == KIND_HEADERS or kind == KIND_CONTINUATION:
            return self._check_block(frame, length)
        if kind == KIND_RST_STREAM or kind == KIND_WINDOW_UPDATE:
            needed = 4
        elif kind == KIND_PING:
            needed = PING_BYTES
        elif kind == KIND_GOAWAY:
            needed = max(length, <Py_ssize_t>8)
        elif kind == KIND_SETTINGS:
            needed = 0 if frame.flags & FLAG_ACK else length - length % 6
        elif kind == KIND_DATA:
            return 0
        if length != needed:
            return violated(&frame.violation, RULE_FRAME_SIZE, length, needed)
        return violated(&frame.violation, RULE_CONTROL_SIZE, length, CONTROL_LIMIT) if length > CONTROL_LIMIT else 0

    cdef int _check_block(self, Http2Frame* frame, Py_ssize_t length) noexcept:
        """Check the size of a header block, including the frame whose header was just read."""
        if frame.kind == KIND_CONTINUATION:
            if self._block_stream == 0:
                return violated(&frame.violation, RULE_LONE_CONTINUATION)
            if self._continuations == CONTINUATION_LIMIT:
                return violated(&frame.violation, RULE_CONTINUATIONS, self._continuations + 1, CONTINUATION_LIMIT)
        if self._block.size + length > BLOCK_LIMIT:
            return violated(&frame.violation, RULE_BLOCK_SIZE, self._block.size + length, BLOCK_LIMIT)
        return 0

    @cython.nonecheck(False)
    cdef Py_ssize_t _begin_data(self, const char* data, Py_ssize_t size, Py_ssize_t length, Http2Frame* frame) noexcept:
        cdef Py_ssize_t at = HEAD_BYTES, padding = 0
        if frame.flags & FLAG_PADDED:
            if length == 0:
                return violated(&frame.violation, RULE_FRAME_SIZE, 0, 1)
            if size == at:
                frame.kind = KIND_NOTHING
                return 0
            padding = <uint8_t>data[at]
            at += 1
            if padding >= length:
                return violated(&frame.violation, RULE_PADDING, padding, length - 1)
        self._padding_left = padding
        self._data_left = HEAD_BYTES + length - at - padding
        self._data_stream = frame.stream
        self._data_ends_stream = frame.flags & FLAG_END_STREAM
        at += self._continue_data(data + at, size - at, frame)
        frame.is_first = True
        frame.flow_bytes = length
        return at

    @cython.nonecheck(False)
    cdef Py_ssize_t _continue_data(self, const char* data, Py_ssize_t size, Http2Frame* frame) noexcept:
        """Parse the received part of a DATA frame or of an unknown frame."""
        cdef Py_ssize_t content = min(size, self._data_left)
        cdef Py_ssize_t padding = min(size - content, self._padding_left)
        cdef bint has_content = self._data_left != 0
        self._data_left -= content
        self._padding_left -= padding
        if self._data_stream == 0:
            return padding
        frame.stream = self._data_stream
        frame.data = data
        frame.size = content
        frame.ends_stream = self._data_ends_stream and self._data_left == 0 and self._padding_left == 0
        if has_content or frame.ends_stream:
            frame.kind = KIND_DATA
        return content + padding

    cdef bint place_data(self, Py_ssize_t size) noexcept:
        self._data_left -= size
        return self._data_ends_stream and self._data_left == 0 and self._padding_left == 0

    @cython.nonecheck(False)
    cdef int _parse_headers(self, const char* data, Py_ssize_t length, Http2Frame* frame) except? -1:
        cdef Py_ssize_t at = 0, padding = 0
        cdef Py_ssize_t least = 1 if frame.flags & FLAG_PADDED else 0
        least += PRIORITY_BYTES if frame.flags & FLAG_PRIORITY else 0
        if length < least:
            return violated(&frame.violation, RULE_FRAME_SIZE, length, least)
        if frame.flags & FLAG_PADDED:
            padding = <uint8_t>data[0]
            at = 1
        if frame.flags & FLAG_PRIORITY:
            if load32_big(data + at) & STREAM_BITS == frame.stream:
                violated(&frame.violation, RULE_SELF_DEPENDENCY)
            at += PRIORITY_BYTES
        if padding > length - at:
            return violated(&frame.violation, RULE_PADDING, padding, length - at)
        frame.data = data + at
        frame.size = length - at - padding
        frame.ends_stream = frame.flags & FLAG_END_STREAM
        if frame.flags & FLAG_END_HEADERS:
            return 0
        self._block_frame = frame[0]
        self._block_stream = frame.stream
        self._continuations = 0
        self._keep(frame.data, frame.size)
        frame.kind = KIND_NOTHING
        return 0

    cdef int _keep(self, const char* data, Py_ssize_t size) except -1:
        """Keep a part of a header block. An empty part is skipped, as an empty buffer cannot reserve 0 bytes."""
        if size:
            memcpy(self._block.reserve(size), data, <size_t>size)
        return 0

    cdef int _parse_continuation(self, const char* data, Py_ssize_t length, Http2Frame* frame) except? -1:
        cdef bint is_end = frame.flags & FLAG_END_HEADERS
        self._continuations += 1
        self._keep(data, length)
        frame.kind = KIND_NOTHING
        if is_end:
            frame[0] = self._block_frame
            frame.flags |= FLAG_END_HEADERS
            # This pointer is valid until the next frame is parsed.
            frame.data = self._block.data()
            frame.size = self._block.size
            self._block_stream = 0
        return 0


cdef int parse_control(const char* data, Py_ssize_t length, Http2Frame* frame) noexcept:
    """Parse a whole frame that is neither DATA nor part of a header block; its size was checked."""
    frame.data = data
    frame.size = length
    if frame.kind == KIND_PRIORITY:
        if length != PRIORITY_BYTES:
            violated(&frame.violation, RULE_PRIORITY_SIZE, length, PRIORITY_BYTES)
        elif load32_big(data) & STREAM_BITS == frame.stream:
            violated(&frame.violation, RULE_SELF_DEPENDENCY)
    elif frame.kind == KIND_RST_STREAM:
        frame.number = load32_big(data)
    elif frame.kind == KIND_GOAWAY:
        frame.last_stream = load32_big(data) & STREAM_BITS
        frame.number = load32_big(data + 4)
        frame.data = data + 8
        frame.size = length - 8
    elif frame.kind == KIND_WINDOW_UPDATE:
        frame.number = load32_big(data) & STREAM_BITS
        if frame.number == 0:
            violated(&frame.violation, RULE_ZERO_STREAM_INCREMENT if frame.stream else RULE_ZERO_INCREMENT)
            return 0 if frame.stream else -1
    return 0


cdef int put_preface(WriteBuffer out) except -1:
    memcpy(out.reserve(PyBytes_GET_SIZE(PREFACE)), PyBytes_AS_STRING(PREFACE), <size_t>PyBytes_GET_SIZE(PREFACE))
    return 0


cdef int put_head(WriteBuffer out, Py_ssize_t length, int kind, int flags, uint32_t stream) except -1:
    store_head(out.reserve(HEAD_BYTES), length, kind, flags, stream)
    return 0


@cython.nonecheck(False)
cdef Py_ssize_t open_block(WriteBuffer out) except -1:
    out.reserve(HEAD_BYTES)
    return out.size - HEAD_BYTES


@cython.nonecheck(False)
cdef int close_block(WriteBuffer out, Py_ssize_t start, uint32_t stream, int flags, Py_ssize_t frame_limit) except -1:
    cdef Py_ssize_t size = out.size - start - HEAD_BYTES
    cdef Py_ssize_t more = (size - 1) // frame_limit if size > frame_limit else 0, index, part
    cdef char* block
    if more:
        out.reserve(more * HEAD_BYTES)
    # The pointer stays valid, as the buffer does not grow any more.
    block = <char*>out.data() + start + HEAD_BYTES
    for index in range(more, 0, -1):
        part = min(frame_limit, size - index * frame_limit)
        memmove(block + index * (frame_limit + HEAD_BYTES), block + index * frame_limit, <size_t>part)
        store_head(
            block + index * (frame_limit + HEAD_BYTES) - HEAD_BYTES, part, KIND_CONTINUATION,
            FLAG_END_HEADERS if index == more else 0, stream,
        )
    store_head(block - HEAD_BYTES, min(size, frame_limit), KIND_HEADERS, flags | (0 if more else FLAG_END_HEADERS), stream)
    return 0


cdef int put_reset(WriteBuffer out, uint32_t stream, uint32_t code) except -1:
    put_head(out, 4, KIND_RST_STREAM, 0, stream)
    store32_big(out.reserve(4), code)
    return 0


cdef int put_goaway(WriteBuffer out, uint32_t last_stream, uint32_t code, bytes debug) except -1:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(debug)
    cdef char* place
    put_head(out, 8 + size, KIND_GOAWAY, 0, 0)
    place = out.reserve(8 + size)
    store32_big(place, last_stream)
    store32_big(place + 4, code)
    memcpy(place + 8, PyBytes_AS_STRING(debug), <size_t>size)
    return 0


cdef int put_ping(WriteBuffer out, const char* content, bint is_ack) except -1:
    put_head(out, PING_BYTES, KIND_PING, FLAG_ACK if is_ack else 0, 0)
    memcpy(out.reserve(PING_BYTES), content, PING_BYTES)
    return 0


cdef int put_window_update(WriteBuffer out, uint32_t stream, uint32_t increment) except -1:
    put_head(out, 4, KIND_WINDOW_UPDATE, 0, stream)
    store32_big(out.reserve(4), increment)
    return 0
