cimport cython
from libc.stdint cimport uint32_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.http2.big_endian cimport store24_big, store32_big
from fastrpc._core.http2.violations cimport Violation

cdef enum Http2Kind:
    # RFC 9113, section 6. Frames of other kinds are ignored; their owner counts them.
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
    # Bytes that completed no frame: the preface, a part of a header block, padding, the rest of an unknown frame.
    KIND_NOTHING = -1

cdef enum Http2Flag:
    FLAG_END_STREAM = 0x01
    FLAG_ACK = 0x01
    FLAG_END_HEADERS = 0x04
    FLAG_PADDED = 0x08
    FLAG_PRIORITY = 0x20

cdef enum:
    HEAD_BYTES = 9
    # The bounds of SETTINGS_MAX_FRAME_SIZE: every peer takes the lower one, and may send it before it reads our settings.
    LEAST_FRAME_LIMIT = 16_384
    MOST_FRAME_LIMIT = 16_777_215
    # The most bytes of a header block, and its frames of CONTINUATION.
    BLOCK_LIMIT = 65_536
    CONTINUATION_LIMIT = 8


cdef struct Http2Frame:
    # The head; `kind` is one of Http2Kind, or the number of an unknown kind.
    int kind
    int flags
    uint32_t stream

    # DATA: a part of its content. HEADERS: the whole block. SETTINGS, PING: the payload. GOAWAY: its debug data. They lie in
    # the parsed bytes, or in the parser until the next frame is parsed.
    const char* data
    Py_ssize_t size

    # DATA: whether this is the first part of its frame; the bytes of the whole frame that count for the windows, with the
    # first part, 0 with later ones.
    bint is_first
    Py_ssize_t flow_bytes

    # Whether it ends the sender's side of the stream; of DATA only the last part does.
    bint ends_stream

    # RST_STREAM, GOAWAY: the error code. WINDOW_UPDATE: the increment. GOAWAY: the last stream that was handled.
    uint32_t number
    uint32_t last_stream

    # A rule that was broken: of the connection after -1, else of this stream.
    Violation violation


@cython.final
cdef class Http2Parser:
    cdef:
        # Our SETTINGS_MAX_FRAME_SIZE.
        public Py_ssize_t frame_limit

        # Whether the preface and the first SETTINGS are still to come; bytes of the preface that came.
        bint _awaits_preface
        bint _awaits_settings

        # The DATA frame under way: content and padding that are missing, its stream, whether it ends it. An unknown frame
        # under way: its missing bytes are `_padding_left`, and its stream is 0.
        Py_ssize_t _data_left
        Py_ssize_t _padding_left
        uint32_t _data_stream
        bint _data_ends_stream

        # The header block under way, _block_stream 0: none. Its bytes so far, its frames of CONTINUATION, its HEADERS.
        WriteBuffer _block
        uint32_t _block_stream
        int _continuations
        Http2Frame _block_frame

    # Parse the next frame, or part of one. Return its size; 0: more bytes are needed, the rest is presented again; -1: the
    # peer broke a rule of the connection, `frame.violation` has it.
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Http2Frame* frame) except? -1
    cdef Py_ssize_t _parse_preface(self, const char* data, Py_ssize_t size, Http2Frame* frame) noexcept
    cdef int _check_head(self, Http2Frame* frame, Py_ssize_t length) noexcept
    cdef int _check_block(self, Http2Frame* frame, Py_ssize_t length) noexcept
    cdef Py_ssize_t _begin_data(self, const char* data, Py_ssize_t size, Py_ssize_t length, Http2Frame* frame) noexcept
    cdef Py_ssize_t _continue_data(self, const char* data, Py_ssize_t size, Http2Frame* frame) noexcept
    cdef int _parse_headers(self, const char* data, Py_ssize_t length, Http2Frame* frame) except? -1
    cdef int _keep(self, const char* data, Py_ssize_t size) except -1
    cdef int _parse_continuation(self, const char* data, Py_ssize_t length, Http2Frame* frame) except? -1

    # Take bytes of the DATA frame under way that were received elsewhere; return whether they end the stream.
    cdef bint place_data(self, Py_ssize_t size) noexcept

    # Return whether a frame, or a header block, has begun and is not whole.
    cdef inline bint is_within(self) noexcept:
        return self._data_left != 0 or self._padding_left != 0 or self._block_stream != 0

    # Return the bytes of the DATA frame under way that are missing, padding aside.
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


# Write the head of a frame whose payload follows.
cdef int put_head(WriteBuffer out, Py_ssize_t length, int kind, int flags, uint32_t stream) except -1

# Write HEADERS around a block: `open_block` before the encoder writes to the buffer, `close_block` with its result behind
# it. A block above the peer's frame limit is cut into frames of CONTINUATION.
cdef Py_ssize_t open_block(WriteBuffer out) except -1
cdef int close_block(WriteBuffer out, Py_ssize_t start, uint32_t stream, int flags, Py_ssize_t frame_limit) except -1

cdef int put_reset(WriteBuffer out, uint32_t stream, uint32_t code) except -1
cdef int put_goaway(WriteBuffer out, uint32_t last_stream, uint32_t code, bytes debug) except -1
cdef int put_ping(WriteBuffer out, const char* content, bint is_ack) except -1
cdef int put_window_update(WriteBuffer out, uint32_t stream, uint32_t increment) except -1
