cimport cython
from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.base.big_endian cimport store24_big, store32_big
from fastrpc._core.base.buffer cimport WriteBuffer

cdef enum ErrorCode:
    # RFC 9113, section 7.
    CODE_NONE = 0
    CODE_PROTOCOL = 1
    CODE_INTERNAL = 2
    CODE_FLOW_CONTROL = 3
    CODE_SETTINGS_TIMEOUT = 4
    CODE_STREAM_CLOSED = 5
    CODE_FRAME_SIZE = 6
    CODE_REFUSED_STREAM = 7
    CODE_CANCEL = 8
    CODE_COMPRESSION = 9
    CODE_CALM_DOWN = 11
    CODE_INADEQUATE_SECURITY = 12
    CODE_HTTP_1_1_REQUIRED = 13

cdef enum:
    # The table size of HPACK before SETTINGS change it.
    FIRST_TABLE_BYTES = 4096

cdef enum Rule:
    # The rules that a peer can break, with their table in `frames.pyx`; RULE_NONE: no rule is broken.
    RULE_NONE = 0
    # Frames.
    RULE_PREFACE
    RULE_FIRST_SETTINGS
    RULE_FRAME_LIMIT
    RULE_FRAME_SIZE
    RULE_PRIORITY_SIZE
    RULE_STREAM_FRAME
    RULE_CONNECTION_FRAME
    RULE_PADDING
    RULE_BLOCK_CUT
    RULE_LONE_CONTINUATION
    RULE_PUSH
    RULE_SELF_DEPENDENCY
    RULE_RISING_GOAWAY
    # Settings.
    RULE_PUSH_SETTING
    RULE_WINDOW_SETTING
    RULE_FRAME_SETTING
    RULE_CONNECT_SETTING
    RULE_UNASKED_ACK
    # Windows.
    RULE_ZERO_INCREMENT
    RULE_ZERO_STREAM_INCREMENT
    RULE_WINDOW_OVERFLOW
    RULE_STREAM_WINDOW_OVERFLOW
    RULE_WINDOW
    RULE_STREAM_WINDOW
    # Streams.
    RULE_ID_PARITY
    RULE_ID_ORDER
    RULE_IDLE_STREAM
    RULE_CLOSED_STREAM
    RULE_HALF_CLOSED_STREAM
    RULE_RESET_STREAM
    RULE_STREAM_LIMIT
    # Header compression.
    RULE_INDEX
    RULE_INTEGER
    RULE_STRING
    RULE_HUFFMAN
    RULE_LATE_UPDATE
    RULE_UPDATE_SIZE
    RULE_UPDATE_COUNT
    RULE_MISSING_UPDATE
    # Messages.
    RULE_EMPTY_NAME
    RULE_NAME
    RULE_VALUE
    RULE_VALUE_EDGE
    RULE_CONNECTION_FIELD
    RULE_TE
    RULE_UNKNOWN_PSEUDO
    RULE_LATE_PSEUDO
    RULE_REPEATED_PSEUDO
    RULE_MISPLACED_PSEUDO
    RULE_MISSING_PSEUDO
    RULE_PATH
    RULE_AUTHORITY
    RULE_STATUS
    RULE_CONTENT_LENGTH
    RULE_TRAILERS_END
    RULE_EARLY_DATA
    # Floods.
    RULE_CONTINUATIONS
    RULE_BLOCK_SIZE
    RULE_CONTROL_SIZE
    RULE_SETTINGS_FLOOD
    RULE_PING_FLOOD
    RULE_PING_ANSWERS
    RULE_CREDIT_FLOOD
    RULE_SHORT_WINDOWS
    RULE_SKIPPED_FLOOD
    RULE_LATE_FLOOD
    RULE_IDLE_WORK
    RULE_COUNT


cdef struct Violation:
    # `rule`: the broken rule; `found` and `allowed`: the received and the allowed number, if the rule's text has them.
    int rule
    int64_t found
    int64_t allowed


cdef inline int violated(Violation* violation, int rule, int64_t found=0, int64_t allowed=0) noexcept nogil:
    """Store a broken rule in `violation`; return -1, for parsers to return."""
    violation.rule = rule
    violation.found = found
    violation.allowed = allowed
    return -1


# Return whether a broken rule ends the connection; otherwise it ends the stream.
cdef bint ends_connection(int rule) except -1

# Return the ErrorCode of GOAWAY or RST_STREAM for a broken rule.
cdef int error_code(int rule) except -1

# Return the text of a violation for GOAWAY and logs.
cdef str violation_text(const Violation* violation)

cdef enum SettingId:
    # RFC 9113, section 6.5.2; RFC 8441. Other settings are ignored.
    SETTING_HEADER_TABLE = 1
    SETTING_PUSH = 2
    SETTING_STREAMS = 3
    SETTING_WINDOW = 4
    SETTING_FRAME = 5
    SETTING_HEADER_LIST = 6
    SETTING_CONNECT = 8

cdef enum:
    FIRST_WINDOW = 65_535


cdef class Http2Settings:
    cdef:
        # The present values of one side. 2 ** 32 - 1 means no limit.
        readonly uint32_t header_table_bytes
        readonly uint32_t streams
        readonly uint32_t window_bytes
        readonly uint32_t frame_bytes
        readonly uint32_t header_list_bytes
        readonly bint allows_push
        readonly bint allows_connect

    # Apply the payload of SETTINGS from a client or a server; return -1 if its size or a value breaks a rule.
    cdef int apply(self, const char* data, Py_ssize_t size, bint is_of_server, Violation* violation) noexcept
    cdef int _apply_one(self, int id, uint32_t value, bint is_of_server, Violation* violation) noexcept


@cython.final
cdef class OwnSettings:
    cdef:
        # `acknowledged`: the values that the peer has acknowledged; `_sent`: the payloads that it has not acknowledged,
        # oldest first.
        readonly Http2Settings acknowledged
        list _sent
        bint _is_server

    # Write SETTINGS with these numbers and values.
    cdef int send(self, WriteBuffer out, dict changes) except -1

    # Apply the oldest unacknowledged SETTINGS; return -1 if all are acknowledged.
    cdef int acknowledge(self, Violation* violation) except? -1


# Write the acknowledgement of SETTINGS.
cdef int put_settings_ack(WriteBuffer out) except -1


cdef enum Http2Kind:
    # RFC 9113, section 6. The parser ignores frames of other kinds; the connection counts them.
    KIND_DATA = 0
    KIND_HEADERS = 1
    KIND_PRIORITY = 2
    KIND_RST_STREAM = 3
    KIND_SETTINGS = 4
    KIND_PUSH_PROMISE = 5
    KIND_PING = 6
    KIND_GOAWAY = 7
    KIND_WINDOW_UPDATE = 8
    KIND_CONTINUATION = 9
    # The parsed bytes completed no frame: the preface, a part of a header block, padding, the rest of an unknown frame.
    KIND_NOTHING = -1

cdef enum Http2Flag:
    FLAG_END_STREAM = 0x01
    FLAG_ACK = 0x01
    FLAG_END_HEADERS = 0x04
    FLAG_PADDED = 0x08
    FLAG_PRIORITY = 0x20

cdef enum:
    HEAD_BYTES = 9
    # The lowest and the highest SETTINGS_MAX_FRAME_SIZE. Every peer accepts frames of the lowest size, and may send them
    # before it reads our settings.
    LEAST_FRAME_LIMIT = 16_384
    MOST_FRAME_LIMIT = 16_777_215
    # The most bytes of a header block, and the most CONTINUATION frames of one block.
    BLOCK_LIMIT = 65_536
    CONTINUATION_LIMIT = 8


cdef struct Http2Frame:
    # The frame header; `kind` is an Http2Kind, or the number of an unknown kind.
    int kind
    int flags
    uint32_t stream

    # `data`, `size`: of DATA a part of the content, of HEADERS the whole block, of SETTINGS and PING the payload, of
    # GOAWAY the debug data. `data` points into the parsed bytes, or into the parser, where it is valid until the next
    # frame is parsed.
    const char* data
    Py_ssize_t size

    # For DATA: `is_first` is whether this is the first part of the frame; `flow_bytes` are, in the first part, the
    # bytes of the whole frame that count for flow control, otherwise 0.
    bint is_first
    Py_ssize_t flow_bytes

    # Whether the frame ends the sender's side of the stream; set only for the last part of DATA.
    bint ends_stream

    # `number`: the error code of RST_STREAM and GOAWAY, the increment of WINDOW_UPDATE. `last_stream`: the last
    # processed stream, in GOAWAY.
    uint32_t number
    uint32_t last_stream

    # The broken rule, if any. It is a rule of the connection if `parse` returned -1, otherwise of the frame's stream.
    Violation violation


@cython.final
cdef class Http2Parser:
    cdef:
        # Our SETTINGS_MAX_FRAME_SIZE.
        public Py_ssize_t frame_limit

        # Whether the preface (`_awaits_preface`) and the first SETTINGS (`_awaits_settings`) have not arrived yet.
        bint _awaits_preface
        bint _awaits_settings

        # For a partly received DATA frame: the missing content, the missing padding, its stream, whether it ends the
        # stream. For a partly received frame of an unknown kind, `_padding_left` has the missing bytes, and the stream is 0.
        Py_ssize_t _data_left
        Py_ssize_t _padding_left
        uint32_t _data_stream
        bint _data_ends_stream

        # A partly received header block. `_block`: its bytes so far. `_block_stream`: its stream, 0 if there is no such
        # block. `_continuations`: the number of its CONTINUATION frames. `_block_frame`: its HEADERS.
        WriteBuffer _block
        uint32_t _block_stream
        int _continuations
        Http2Frame _block_frame

    # Parse the next frame, or a part of it. Return the number of parsed bytes; 0 if more bytes are needed, so that the
    # caller presents these again; -1 if the peer broke a rule of the connection, which is in `frame.violation`.
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Http2Frame* frame) except? -1
    cdef Py_ssize_t _parse_preface(self, const char* data, Py_ssize_t size, Http2Frame* frame) noexcept
    cdef int _check_head(self, Http2Frame* frame, Py_ssize_t length) noexcept
    cdef int _check_block(self, Http2Frame* frame, Py_ssize_t length) noexcept
    cdef Py_ssize_t _begin_data(self, const char* data, Py_ssize_t size, Py_ssize_t length, Http2Frame* frame) noexcept
    cdef Py_ssize_t _continue_data(self, const char* data, Py_ssize_t size, Http2Frame* frame) noexcept
    cdef int _parse_headers(self, const char* data, Py_ssize_t length, Http2Frame* frame) except? -1
    cdef int _keep(self, const char* data, Py_ssize_t size) except -1
    cdef int _parse_continuation(self, const char* data, Py_ssize_t length, Http2Frame* frame) except? -1

    # Count bytes of the present DATA frame that were received directly into a message; return whether they end the stream.
    cdef bint place_data(self, Py_ssize_t size) noexcept

    # Return whether a frame or a header block is partly received.
    cdef inline bint is_within(self) noexcept:
        return self._data_left != 0 or self._padding_left != 0 or self._block_stream != 0

    # Return the missing content of the present DATA frame, without padding.
    cdef inline Py_ssize_t missing_data(self) noexcept:
        return self._data_left if self._data_stream else 0

    # Return the bytes that are kept of a header block.
    cdef inline Py_ssize_t held_bytes(self) noexcept:
        return self._block.size


# Write the preface of a client.
cdef int put_preface(WriteBuffer out) except -1

cdef inline void store_head(char* place, Py_ssize_t length, int kind, int flags, uint32_t stream) noexcept:
    store24_big(place, <uint32_t>length)
    place[3] = <char>kind
    place[4] = <char>flags
    store32_big(place + 5, stream)


# Write the header of a frame whose payload follows.
cdef int put_head(WriteBuffer out, Py_ssize_t length, int kind, int flags, uint32_t stream) except -1

# Write HEADERS: call `open_block`, let the encoder write the block, then call `close_block` with the result of
# `open_block`. A block above the peer's frame limit is continued in CONTINUATION frames.
cdef Py_ssize_t open_block(WriteBuffer out) except -1
cdef int close_block(WriteBuffer out, Py_ssize_t start, uint32_t stream, int flags, Py_ssize_t frame_limit) except -1

cdef int put_reset(WriteBuffer out, uint32_t stream, uint32_t code) except -1
cdef int put_goaway(WriteBuffer out, uint32_t last_stream, uint32_t code, bytes debug) except -1
cdef int put_ping(WriteBuffer out, const char* content, bint is_ack) except -1
cdef int put_window_update(WriteBuffer out, uint32_t stream, uint32_t increment) except -1
