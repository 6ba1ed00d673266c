"""WebSocket frames (RFC 6455, section 5): a reader for the server's side, and the frames that the server sends.

::

    bytes ──► take ──► header ──► content: unmasked, text checked on arrival ──► message
                         └──────► control frame, also within a message ──► ping, pong, close

A violation is detected at its first byte: a message over the limit is refused before any of it is kept, invalid text
while its frame arrives. No extension is negotiated, so the reserved bits must be 0. The memory of a message grows with
the received bytes, not with the announced size.

No library is used: wsproto and the sans-IO part of websockets create several Python objects for each frame, while the
compiled connection here handles a message as cheaply as a line of a body. The frames are the smaller part of WebSocket:
the handshake is an ordinary request, and compression is not offered.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    FINAL_BIT = 0x80
    RESERVED_BITS = 0x70
    OPCODE_BITS = 0x0F
    MASK_BIT = 0x80
    LENGTH_BITS = 0x7F
    # Values of the second byte that announce a length in the next two or eight bytes.
    LENGTH_IN_16 = 126
    LENGTH_IN_64 = 127
    MOST_IN_16 = 0xFFFF
    # CONTROL_BYTES: the most bytes in a control frame. HEADER_BYTES: the most bytes in the header of a server's frame.
    CONTROL_BYTES = 125
    HEADER_BYTES = 10

# The state of UTF-8 text: which bytes may follow.
cdef enum:
    # The text may end here.
    UTF8_WHOLE = 0
    # No text begins so.
    UTF8_WRONG = 0xFF
    # States in which one to three more bytes must follow, each from 80 to BF.
    ONE_MORE = 1
    TWO_MORE = 2
    THREE_MORE = 3
    # States after the bytes E0, ED, F0 and F4, which restrict the next byte.
    BEHIND_E0 = 4
    BEHIND_ED = 5
    BEHIND_F0 = 6
    BEHIND_F4 = 7

cdef uint64_t TOP_BIT = <uint64_t>1 << 63
cdef uint64_t HIGH_BITS = 0x8080808080808080

# Names of the completed parts, indexed by Taken.
cdef tuple TAKEN_NAMES = ("", "message", "ping", "pong", "close")


class SocketViolationError(Exception):
    code = CLOSE_PROTOCOL_ERROR
    text = ""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
        self.text = text


@cython.final
cdef class WebSocketReader:

    def __init__(self, uint64_t most_bytes, *, bint takes_text=True, bint takes_binary=True):
        self.most_bytes = most_bytes
        self.kinds = (1 << OPCODE_TEXT if takes_text else 0) | (1 << OPCODE_BINARY if takes_binary else 0)
        self.content = bytearray()
        self.payload = b""
        self.close_reason = ""

    @property
    def held(self):
        return self.held_bytes()

    def take_data(self, bytes data not None):
        cdef int taken = TAKEN_NOTHING
        cdef Py_ssize_t size = self.take(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &taken)
        return size, TAKEN_NAMES[taken]

    cdef Py_ssize_t held_bytes(self) noexcept:
        return PyByteArray_GET_SIZE(self.content)

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size, int* taken) except -1:
        taken[0] = TAKEN_NOTHING
        if self.left:
            return self._take_content(data, size, taken)
        return self._take_header(data, size, taken)

    cdef Py_ssize_t _take_header(self, const char* data, Py_ssize_t size, int* taken) except -1:
        """Read a frame's header, and its content: of a control frame completely, of a data frame what has arrived."""
        cdef uint8_t first, second
        cdef int opcode
        cdef Py_ssize_t at
        cdef uint64_t length = 0
        if size < 2:
            return 0
        first = <uint8_t>data[0]
        second = <uint8_t>data[1]
        opcode = first & OPCODE_BITS
        if first & RESERVED_BITS:
            raise SocketViolationError(CLOSE_PROTOCOL_ERROR, "a reserved bit is set, but no extension was negotiated")
        if not second & MASK_BIT:
            raise SocketViolationError(CLOSE_PROTOCOL_ERROR, "the frame is not masked: a client must mask every frame")
        if opcode >= OPCODE_CLOSE:
            return self._take_control(opcode, data, size, taken)
        self._check_order(opcode)
        at = read_length(data, size, &length)
        if at == 0:
            return 0
        if length > self.most_bytes or length + self.held_bytes() > self.most_bytes:
            text = f"a message has {length + self.held_bytes()} bytes or more, the limit is {self.most_bytes}"
            raise SocketViolationError(CLOSE_TOO_BIG, text)
        if size < at + 4:
            return 0
        memcpy(self.mask, data + at, 4)
        at += 4
        self.turned = 0
        self.left = length
        self.is_last = first & FINAL_BIT
        if opcode != OPCODE_CONTINUATION:
            self.opcode = opcode
            self.text_state = UTF8_WHOLE
        return at + self._take_content(data + at, size - at, taken)

    def _check_order(self, int opcode):
        """Check that a data frame may follow now."""
        if opcode > OPCODE_BINARY:
            raise SocketViolationError(CLOSE_PROTOCOL_ERROR, f"the opcode {opcode} is reserved")
        if opcode == OPCODE_CONTINUATION:
            if self.opcode == 0:
                raise SocketViolationError(CLOSE_PROTOCOL_ERROR, "a continuation frame continues no message")
        elif self.opcode:
            raise SocketViolationError(CLOSE_PROTOCOL_ERROR, "a new message began before the previous one was complete")
        elif not self.kinds >> opcode & 1:
            kind = "text" if opcode == OPCODE_TEXT else "binary"
            raise SocketViolationError(CLOSE_UNSUPPORTED, f"{kind} messages are not accepted here")

    cdef Py_ssize_t _take_control(self, int opcode, const char* data, Py_ssize_t size, int* taken) except -1:
        cdef Py_ssize_t length = <uint8_t>data[1] & LENGTH_BITS
        if opcode > OPCODE_PONG:
            raise SocketViolationError(CLOSE_PROTOCOL_ERROR, f"the opcode {opcode} is reserved")
        if not <uint8_t>data[0] & FINAL_BIT:
            raise SocketViolationError(CLOSE_PROTOCOL_ERROR, "a control frame is fragmented")
        if length > CONTROL_BYTES:
            raise SocketViolationError(CLOSE_PROTOCOL_ERROR, f"a control frame has more than {<int>CONTROL_BYTES} bytes")
        if size < 6 + length:
            return 0
        self.payload = PyBytes_FromStringAndSize(NULL, length)
        # Still writable: no other code has a reference yet.
        unmask(PyBytes_AS_STRING(self.payload), data + 6, length, <const uint8_t*>data + 2, 0)
        if opcode == OPCODE_CLOSE:
            self._read_close(self.payload)
            taken[0] = TAKEN_CLOSE
        else:
            taken[0] = TAKEN_PING if opcode == OPCODE_PING else TAKEN_PONG
        return 6 + length

    cdef Py_ssize_t _take_content(self, const char* data, Py_ssize_t size, int* taken) except -1:
        """Read the part of a data frame that has arrived."""
        cdef Py_ssize_t part = size if <uint64_t>size < self.left else <Py_ssize_t>self.left
        cdef Py_ssize_t held = self.held_bytes()
        cdef bint is_end
        cdef bytes whole
        cdef char* place
        self.left -= <uint64_t>part
        is_end = self.is_last and self.left == 0
        if is_end and held == 0:
            # The usual case: the whole message is here.
            whole = PyBytes_FromStringAndSize(NULL, part)
            # Still writable: no other code has a reference yet.
            place = PyBytes_AS_STRING(whole)
        else:
            PyByteArray_Resize(self.content, held + part)
            place = PyByteArray_AS_STRING(self.content) + held
            whole = None
        unmask(place, data, part, self.mask, self.turned)
        self.turned = <int>((self.turned + part) & 3)
        if self.opcode == OPCODE_TEXT:
            self._check_content(place, part, is_end)
        if is_end:
            self.payload = bytes(self.content) if whole is None else whole
            self.content = bytearray() if whole is None else self.content
            self.kind = self.opcode
            self.opcode = 0
            taken[0] = TAKEN_MESSAGE
        return part

    cdef int _check_content(self, const char* data, Py_ssize_t size, bint is_end) except -1:
        self.text_state = check_text(self.text_state, data, size)
        if self.text_state == UTF8_WRONG or is_end and self.text_state != UTF8_WHOLE:
            raise SocketViolationError(CLOSE_INVALID_TEXT, "a text message is not UTF-8")
        return 0

    cdef int _read_close(self, bytes payload) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef int code = CLOSE_NO_CODE
        self.close_reason = ""
        if size == 1:
            raise SocketViolationError(CLOSE_PROTOCOL_ERROR, "a close frame has one byte, but a close code has two")
        if size:
            code = <uint8_t>payload[0] << 8 | <uint8_t>payload[1]
            if not is_close_code(code):
                raise SocketViolationError(CLOSE_PROTOCOL_ERROR, f"a close frame has the reserved code {code}")
            if check_text(UTF8_WHOLE, PyBytes_AS_STRING(payload) + 2, size - 2) != UTF8_WHOLE:
                raise SocketViolationError(CLOSE_INVALID_TEXT, "the reason of a close frame is not UTF-8")
            self.close_reason = payload[2:].decode("utf-8")
        self.close_code = code
        return 0


cdef Py_ssize_t read_length(const char* data, Py_ssize_t size, uint64_t* length) except -1:
    """Read the length of a data frame. Return the position of its mask; 0: more bytes are needed."""
    cdef int wide, index
    length[0] = <uint8_t>data[1] & LENGTH_BITS
    if length[0] < LENGTH_IN_16:
        return 2
    wide = 2 if length[0] == LENGTH_IN_16 else 8
    if size < 2 + wide:
        return 0
    length[0] = 0
    for index in range(2, 2 + wide):
        length[0] = length[0] << 8 | <uint8_t>data[index]
    if length[0] & TOP_BIT:
        raise SocketViolationError(CLOSE_PROTOCOL_ERROR, "the highest bit of a frame's length is set")
    if length[0] <= <uint64_t>(MOST_IN_16 if wide == 8 else CONTROL_BYTES):
        raise SocketViolationError(CLOSE_PROTOCOL_ERROR, "the length of a frame is not encoded in its shortest form")
    return 2 + wide


cdef void unmask(char* place, const char* data, Py_ssize_t size, const uint8_t* mask, int turned) noexcept nogil:
    """Copy bytes, each XORed with its byte of the mask (section 5.3)."""
    cdef Py_ssize_t at = 0
    cdef uint8_t[8] turned_mask
    cdef uint64_t wide, word
    cdef int index
    for index in range(8):
        turned_mask[index] = mask[(index + turned) & 3]
    memcpy(&wide, turned_mask, 8)
    while size - at >= 8:
        memcpy(&word, data + at, 8)
        word ^= wide
        memcpy(place + at, &word, 8)
        at += 8
    for index in range(<int>(size - at)):
        place[at + index] = data[at + index] ^ <char>turned_mask[index]


cdef inline Py_ssize_t head_bytes(uint64_t size) noexcept:
    return 2 if size <= <uint64_t>CONTROL_BYTES else 4 if size <= <uint64_t>MOST_IN_16 else HEADER_BYTES


cdef inline int put_head(char* at, int opcode, uint64_t size) noexcept:
    """Write the head of a frame with a payload of this size."""
    cdef Py_ssize_t header = head_bytes(size), index
    at[0] = <char>(FINAL_BIT | opcode)
    at[1] = <char>(size if header == 2 else LENGTH_IN_16 if header == 4 else LENGTH_IN_64)
    for index in range(header - 2):
        at[header - 1 - index] = <char>(size >> (8 * index) & 0xFF)
    return 0


cdef bytes frame_of(int opcode, bytes payload):
    cdef uint64_t size = <uint64_t>PyBytes_GET_SIZE(payload)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, head_bytes(size) + <Py_ssize_t>size)
    # Still writable: no other code has a reference yet.
    put_head(PyBytes_AS_STRING(made), opcode, size)
    memcpy(PyBytes_AS_STRING(made) + head_bytes(size), PyBytes_AS_STRING(payload), size)
    return made


cdef bytes head_of(int opcode, uint64_t size):
    cdef bytes made = PyBytes_FromStringAndSize(NULL, head_bytes(size))
    # As above.
    put_head(PyBytes_AS_STRING(made), opcode, size)
    return made


cdef bytes close_content(int code, str reason):
    cdef bytes text = reason.encode("utf-8", "replace")[:CONTROL_BYTES - 2]
    # A character that was cut is omitted.
    return bytes((code >> 8, code & 0xFF)) + text.decode("utf-8", "ignore").encode()


def server_frame(int opcode, bytes payload not None):
    return frame_of(opcode, payload)


def close_payload(int code, str reason not None=""):
    return close_content(code, reason)


cdef uint32_t check_text(uint32_t state, const char* data, Py_ssize_t size) noexcept nogil:
    """Return the state of a text after further bytes.

    The initial state is UTF8_WHOLE; every other state except UTF8_WRONG is within a character. An invalid byte is
    reported on arrival, not at the end of its message (RFC 6455, section 8.1). The table of well-formed sequences (The
    Unicode Standard, table 3-7) has no overlong forms, no surrogates, nothing above U+10FFFF.
    """
    cdef Py_ssize_t at = 0
    cdef uint64_t word
    while at < size:
        if state == UTF8_WHOLE:
            # Most texts are ASCII, so eight bytes are checked at a time.
            while size - at >= 8:
                memcpy(&word, data + at, 8)
                if word & HIGH_BITS:
                    break
                at += 8
            if at == size:
                return state
            state = _after_first(<uint8_t>data[at])
        else:
            state = _after_next(state, <uint8_t>data[at])
        if state == UTF8_WRONG:
            return state
        at += 1
    return state


cdef inline uint32_t _after_first(uint8_t byte) noexcept nogil:
    if byte < 0x80:
        return UTF8_WHOLE
    if byte < 0xC2 or byte > 0xF4:
        return UTF8_WRONG
    if byte < 0xE0:
        return ONE_MORE
    if byte < 0xF0:
        return BEHIND_E0 if byte == 0xE0 else BEHIND_ED if byte == 0xED else TWO_MORE
    return BEHIND_F0 if byte == 0xF0 else BEHIND_F4 if byte == 0xF4 else THREE_MORE


cdef inline uint32_t _after_next(uint32_t state, uint8_t byte) noexcept nogil:
    cdef uint8_t least = 0x80, most = 0xBF
    if state == BEHIND_E0:
        least = 0xA0
    elif state == BEHIND_ED:
        most = 0x9F
    elif state == BEHIND_F0:
        least = 0x90
    elif state == BEHIND_F4:
        most = 0x8F
    if not least <= byte <= most:
        return UTF8_WRONG
    if state == ONE_MORE:
        return UTF8_WHOLE
    if state == TWO_MORE or state == BEHIND_E0 or state == BEHIND_ED:
        return ONE_MORE
    return TWO_MORE
