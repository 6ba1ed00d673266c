"""WebSocket frames: a reader for the server's side, and the frames that the server sends."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum Opcode:
    OPCODE_CONTINUATION = 0
    OPCODE_TEXT = 1
    OPCODE_BINARY = 2
    OPCODE_CLOSE = 8
    OPCODE_PING = 9
    OPCODE_PONG = 10

cdef enum CloseCode:
    # RFC 6455, section 7.4.1, and IANA's registry of close codes.
    CLOSE_NORMAL = 1000
    CLOSE_PROTOCOL_ERROR = 1002
    CLOSE_UNSUPPORTED = 1003
    # Stands for a close frame without a code; never sent.
    CLOSE_NO_CODE = 1005
    CLOSE_INVALID_TEXT = 1007
    CLOSE_POLICY = 1008
    CLOSE_TOO_BIG = 1009
    CLOSE_INTERNAL_ERROR = 1011
    CLOSE_RESTART = 1012
    CLOSE_TRY_LATER = 1013

cdef enum Taken:
    # The kinds of parts that `take` completes.
    TAKEN_NOTHING = 0
    TAKEN_MESSAGE = 1
    TAKEN_PING = 2
    TAKEN_PONG = 3
    TAKEN_CLOSE = 4

cdef inline bint is_close_code(int code) noexcept:
    """Return whether a close frame may contain this code (RFC 6455, section 7.4)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


@cython.final
cdef class WebSocketReader:
    cdef:
        # `most_bytes`: the most bytes of a message; `kinds`: the accepted kinds of messages, as bits 1 << opcode.
        readonly uint64_t most_bytes
        uint32_t kinds

        # The message in progress. `opcode`: OPCODE_TEXT or OPCODE_BINARY, 0 between messages. `content`: its content so
        # far. `text_state`: for text, the state of an incomplete character.
        readonly int opcode
        bytearray content
        uint32_t text_state

        # The data frame in progress. `left`: the bytes left. `is_last`: whether it is the last frame of its message.
        # `mask`, `turned`: its mask, and the position in the mask.
        uint64_t left
        bint is_last
        uint8_t[4] mask
        int turned

        # `payload`: the completed part: a message, or the content of a control frame; `kind`: its opcode.
        readonly bytes payload
        readonly int kind
        # The code and the reason of a close frame.
        readonly int close_code
        readonly str close_reason

    # Read the next part of `data`; return its size, and set `taken` to what it completed. 0: more bytes are needed, and
    # the rest is to be passed again. SocketViolationError: the peer violated the protocol, or a limit.
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size, int* taken) except -1

    # Return how many bytes of an incomplete message are kept.
    cdef Py_ssize_t held_bytes(self) noexcept
    cdef Py_ssize_t _take_header(self, const char* data, Py_ssize_t size, int* taken) except -1
    cdef Py_ssize_t _take_control(self, int opcode, const char* data, Py_ssize_t size, int* taken) except -1
    cdef Py_ssize_t _take_content(self, const char* data, Py_ssize_t size, int* taken) except -1
    cdef int _check_content(self, const char* data, Py_ssize_t size, bint is_end) except -1
    cdef int _read_close(self, bytes payload) except -1


# Return a whole frame of a server: unmasked, in one piece.
cdef bytes frame_of(int opcode, bytes payload)

# Return the head of a frame whose payload has this size.
cdef bytes head_of(int opcode, uint64_t size)

# Return the content of a close frame; the reason is cut to fit.
cdef bytes close_content(int code, str reason)
