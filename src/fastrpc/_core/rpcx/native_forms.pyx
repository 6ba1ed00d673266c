"""The native forms of rpcx: the metadata of a call, and the frames of the connection above a translation.

::

    rpcx      u32 key length, key, u32 value length, value        any bytes, the last of two equal keys counts
    native    u8 key length, u8 0, u16 value length, key, value   keys of a-z 0-9 . _ -, each once; values are text

Keys are lower-cased: Go's are case-sensitive, and of two that differ only in case the last counts. `__AUTH` becomes
`authorization`, as a bearer token unless it names another scheme. `__ServerTimeout` becomes the deadline if the
protocol states one. An entry whose key has no native form is omitted (`payload/metadata`); other values without one are
refused with the reason.

A connection that sends native frames has its queue and its credit for them (`native/send_queue`). The other side of a
translated connection exists only as the bytes that are made here.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy, memset

from fastrpc._core.base.codec_numbers cimport CODEC_MSGPACK
from fastrpc._core.base.wire cimport load16, store16, store32, store64
from fastrpc._core.payload.metadata cimport has_form, shown_key
from fastrpc._core.rpcx.frames cimport LENGTH_BYTES, load32_big
from fastrpc._core.wire.frame cimport (
    CONT,
    CREDIT,
    DATA,
    HEADER_SIZE,
    MESSAGE_LIMIT,
    MORE,
    PREFACE_SIZE,
    RESPONSE,
    SETTINGS,
)

from fastrpc._core.wire.native import PREFACE
from fastrpc.errors import RemoteProtocolError

cdef enum:
    NATIVE_HEAD = 4
    LONGEST_VALUE = 65535
    # No text of milliseconds is longer: 10**12 of them are 30 years.
    MOST_DIGITS = 12
    RESPONSE_HEAD = 16
    # The size of that head in words of eight bytes, which the head itself states.
    HEAD_WORDS = 2
    # The size of a message in pieces, after the head of the first piece.
    TOTAL_BYTES = 8
    # The credit of the connection above before its first CREDIT, and all later credit.
    FIRST_CREDIT = 65_536
    WHOLE_CREDIT = 1_073_741_824
    # The bytes of a piece of an answer, where the connection above takes frames of this length.
    PIECE = 49_152
    LONGEST_METADATA = 65_535
    # The most bytes of a first piece besides metadata: text, or name, and some payload.
    BESIDE_METADATA = RESPONSE_HEAD + MESSAGE_LIMIT + TOTAL_BYTES + 64

cdef bytes AUTH = b"__AUTH"
cdef bytes SERVER_TIMEOUT = b"__ServerTimeout"
cdef bytes AUTHORIZATION = b"authorization"
cdef bytes BEARER = b"bearer "
cdef bytes RESERVED_PREFIX = b"frpc-"
# Native names of ours that a request may have.
cdef frozenset PASSED_ON = frozenset({b"frpc-http", b"frpc-request-id"})


cdef inline bint is_key(const char* key, Py_ssize_t size, bytes name) noexcept:
    return size == PyBytes_GET_SIZE(name) and memcmp(key, PyBytes_AS_STRING(name), size) == 0


cdef Py_ssize_t text_at(const char* block, Py_ssize_t at, Py_ssize_t size, str what) except -1:
    """Return the length at `at`; raise unless the block has as many bytes after it."""
    cdef Py_ssize_t length
    if size - at < LENGTH_BYTES:
        raise RemoteProtocolError(
            f"the length of a {what} takes {<int>LENGTH_BYTES} bytes, the metadata has {size - at} left"
        )
    length = load32_big(block + at)
    if length > size - at - LENGTH_BYTES:
        raise RemoteProtocolError(
            f"a {what} announces {length} bytes, the metadata has {size - at - LENGTH_BYTES} left"
        )
    return length


cdef int find_reserved(const char* block, Py_ssize_t size, bint states_deadlines, Reserved* found) except -1:
    cdef Py_ssize_t at = 0, key_size, value_size
    cdef const char* key
    cdef const char* value
    found.token = NULL
    found.token_size = found.others = found.timeout_ms = 0
    found.has_timeout = False
    while at < size:
        key_size = text_at(block, at, size, "key")
        key = block + at + LENGTH_BYTES
        at += LENGTH_BYTES + key_size
        value_size = text_at(block, at, size, "value")
        value = block + at + LENGTH_BYTES
        at += LENGTH_BYTES + value_size
        if states_deadlines and is_key(key, key_size, SERVER_TIMEOUT):
            found.has_timeout = take_number(value, value_size, &found.timeout_ms)
        elif is_key(key, key_size, AUTH):
            found.token = value
            found.token_size = value_size
        else:
            found.others += 1
    return 0


cdef bint take_number(const char* text, Py_ssize_t size, int64_t* number) noexcept:
    """Read a decimal number; False for another text, which Go ignores as well."""
    cdef Py_ssize_t at = 1 if size and text[0] == c"-" else 0
    cdef int64_t value = 0
    if size == at or size - at > MOST_DIGITS:
        return False
    while at < size:
        if not c"0" <= text[at] <= c"9":
            return False
        value = value * 10 + (text[at] - c"0")
        at += 1
    number[0] = -value if text[0] == c"-" else value
    return True


cdef dict entries_of(const char* block, Py_ssize_t size):
    """Return the entries of a block that was checked; the last of two equal keys counts."""
    cdef Py_ssize_t at = 0, length
    cdef dict entries = {}
    while at < size:
        length = load32_big(block + at)
        at += LENGTH_BYTES
        key = block[at:at + length]
        at += length
        length = load32_big(block + at)
        at += LENGTH_BYTES
        entries[key] = block[at:at + length]
        at += length
    return entries


cdef bytes native_entries(const char* block, Py_ssize_t size, bint states_deadlines, list dropped):
    cdef dict named = {}
    for key, value in entries_of(block, size).items():
        if states_deadlines and key == SERVER_TIMEOUT:
            continue
        if key == AUTH:
            key, value = AUTHORIZATION, value if b" " in value else b"bearer " + value
        else:
            key = key.lower()
            if key.startswith(RESERVED_PREFIX) and key not in PASSED_ON:
                raise ValueError(f"metadata key {shown_key(key)}: frpc- is reserved")
            if not has_form(key):
                dropped.append(key)
                continue
        if key == AUTHORIZATION and key in named:
            raise ValueError("the metadata has __AUTH and authorization, one of them is allowed")
        named[key] = value
    return b"".join([native_entry(key, value) for key, value in named.items()])


cdef bytes native_answer(const char* block, Py_ssize_t size, bytes error_key, dict told, list dropped):
    cdef dict named = {}
    cdef Reserved found
    # Checks the lengths.
    find_reserved(block, size, False, &found)
    for key, value in entries_of(block, size).items():
        if key == error_key or key.startswith(RESERVED_PREFIX):
            told[key] = value
        elif has_form(key.lower()):
            named[key.lower()] = value
        else:
            dropped.append(key)
    return b"".join([native_entry(key, value) for key, value in named.items()])


cdef bytes native_entry(bytes key, bytes value):
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"metadata {shown_key(key)} has {len(value)} bytes, at most {<int>LONGEST_VALUE} fit")
    if not key.endswith(b"-bin"):
        try:
            value.decode()
        except UnicodeDecodeError:
            raise ValueError(f"metadata {shown_key(key)} is not UTF-8; keys of binary values end in -bin") from None
    return bytes((len(key), 0)) + len(value).to_bytes(2, "little") + key + value


cdef bytes entry(bytes key, bytes value):
    return len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value


cdef bytes block_of(bytes entries):
    cdef const char* data = PyBytes_AS_STRING(entries)
    cdef Py_ssize_t at = 0, key_size, value_size
    cdef list parts = []
    while at < PyBytes_GET_SIZE(entries):
        key_size = <uint8_t>data[at]
        value_size = load16(data + at + 2)
        at += NATIVE_HEAD
        parts.append(entry(data[at:at + key_size], data[at + key_size:at + key_size + value_size]))
        at += key_size + value_size
    return b"".join(parts)


cdef uint32_t pause_of(object text) except? 0xFFFFFFFE:
    """Return the milliseconds until a retry, all ones: no retry, 0: not stated."""
    if text is None:
        return 0
    if text == b"never":
        return 0xFFFFFFFF
    return min(int(text), 0xFFFFFFFD) if text.isdigit() and len(text) < 12 else 0


cdef tuple without_token(bytes block, bytes token):
    """Take the credential of a call out of its metadata; return it, else the given one, and the rest of the block."""
    cdef list parts = []
    cdef Py_ssize_t at = 0, size
    while at < len(block):
        size = int.from_bytes(block[at:at + 4], "big")
        key = block[at + 4:at + 4 + size]
        at += 4 + size
        size = int.from_bytes(block[at:at + 4], "big")
        value = block[at + 4:at + 4 + size]
        at += 4 + size
        if key == AUTHORIZATION:
            token = value[len(BEARER):] if value[:len(BEARER)].lower() == BEARER else value
        else:
            parts.append(entry(key, value))
    return token, b"".join(parts)


cdef void put_header(char* at, uint8_t kind, uint8_t flags, int codec, int compressor, uint64_t id, uint32_t size) noexcept:
    """Write the header of a native frame with `size` bytes after it."""
    store32(at, size)
    at[4] = <char>kind
    at[5] = <char>flags
    at[6] = <char>codec
    at[7] = <char>compressor
    store64(at + 8, id)


cdef bytes frame_of(uint8_t kind, uint8_t flags, int codecs, uint64_t id, bytes head, const char* payload, Py_ssize_t size):
    """Return a native frame; `codecs` holds the codec, and above it the compressor."""
    cdef Py_ssize_t head_size = PyBytes_GET_SIZE(head)
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + head_size + size)
    cdef char* at = PyBytes_AS_STRING(frame)
    put_header(at, kind, flags, codecs & 255, codecs >> 8, id, <uint32_t>(head_size + size))
    memcpy(at + HEADER_SIZE, PyBytes_AS_STRING(head), head_size)
    if size:
        memcpy(at + HEADER_SIZE + head_size, payload, size)
    return frame


cdef bytes answer_head(int status, str text, bytes metadata, bint has_run, uint32_t pause_ms):
    cdef bytes message = text.encode("utf-8", "replace")
    cdef bytes head
    cdef char* at
    if PyBytes_GET_SIZE(message) > MESSAGE_LIMIT:
        message = message[:MESSAGE_LIMIT - 3].decode("utf-8", "ignore").encode() + "…".encode()
    head = PyBytes_FromStringAndSize(NULL, RESPONSE_HEAD)
    at = PyBytes_AS_STRING(head)
    at[0] = HEAD_WORDS
    at[1] = 0 if has_run else 1
    store16(at + 2, <uint16_t>status)
    store16(at + 4, <uint16_t>PyBytes_GET_SIZE(message))
    store16(at + 6, <uint16_t>PyBytes_GET_SIZE(metadata))
    store32(at + 8, pause_ms)
    store32(at + 12, 0)
    return head + message + metadata if message or metadata else head


@cython.final
cdef class UpwardFrames:
    """The frames for the connection above: in order, within its credit, long messages in pieces."""

    cdef int open(self, bytes settings) except -1:
        """Answer the preface: the connection above is open at once, and takes everything that waited for the opening."""
        memcpy(self.out.reserve(PREFACE_SIZE), PyBytes_AS_STRING(PREFACE), PREFACE_SIZE)
        self.put_control(SETTINGS, 0, settings)
        self.put_control(CREDIT, 0, (<int>(WHOLE_CREDIT - FIRST_CREDIT)).to_bytes(4, "little"))
        return self.raise_credit(FIRST_CREDIT)

    cdef int raise_credit(self, uint32_t size) except -1:
        """Add credit; waiting frames are sent as far as it suffices."""
        self.credit += size
        while self.held and PyBytes_GET_SIZE(<bytes>self.held[0]) <= self.credit:
            self._put(self.held.popleft())
        return 0

    cdef int put_control(self, uint8_t kind, uint8_t flags, bytes body) except -1:
        """Write a frame that waits for no credit."""
        cdef bytes frame = frame_of(kind, flags, 0, 0, b"", PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body))
        memcpy(self.out.reserve(PyBytes_GET_SIZE(frame)), PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
        return 0

    cdef bint takes_whole(self, Py_ssize_t size) noexcept:
        """Return whether an answer of `size` bytes may be written at once, in one piece."""
        return size <= self.piece and not self.held and HEADER_SIZE + RESPONSE_HEAD + size <= self.credit

    cdef int put_answer(self, uint64_t id, const char* payload, Py_ssize_t size, int codec, int compressor) except -1:
        """Write an answer that is a payload and nothing else, and that `takes_whole` allows."""
        cdef Py_ssize_t whole = HEADER_SIZE + RESPONSE_HEAD + size
        cdef char* at = self.out.reserve(whole)
        self.credit -= whole
        put_header(at, RESPONSE, 0, codec, compressor, id, <uint32_t>(whole - HEADER_SIZE))
        memset(at + HEADER_SIZE, 0, RESPONSE_HEAD)
        at[HEADER_SIZE] = HEAD_WORDS
        memcpy(at + HEADER_SIZE + RESPONSE_HEAD, payload, size)
        return 0

    cdef int answer(self, uint64_t id, bytes head, const char* payload, Py_ssize_t size, int codecs) except -1:
        return self.put_message(RESPONSE, 0, id, head, payload, size, codecs)

    cdef int fail(self, uint64_t id, int status, str text, bint has_run) except -1:
        """Answer with a failure of the translation itself."""
        return self.answer(id, answer_head(status, text, b"", has_run, 0), b"", 0, CODEC_MSGPACK)

    cdef int put_message(
        self, uint8_t kind, uint8_t flags, uint64_t id, bytes head, const char* payload, Py_ssize_t size, int codecs
    ) except -1:
        """Send a REQUEST or RESPONSE up, in pieces where its payload is long."""
        cdef Py_ssize_t part, at = min(self.piece, self.frame_bytes - PyBytes_GET_SIZE(head) - TOTAL_BYTES)
        if size <= at:
            return self._send(frame_of(kind, flags, codecs, id, head, payload, size))
        head += (<object>size).to_bytes(TOTAL_BYTES, "little")
        self._send(frame_of(kind, flags | MORE, codecs, id, head, payload, at))
        while at < size:
            part = min(size - at, self.piece)
            self._send(frame_of(DATA, CONT if at + part == size else CONT | MORE, 0, id, b"", payload + at, part))
            at += part
        return 0

    cdef int _send(self, bytes frame) except -1:
        """Write a frame that uses credit, or let it wait after earlier ones."""
        if self.held or PyBytes_GET_SIZE(frame) > self.credit:
            self.held.append(frame)
            return 0
        return self._put(frame)

    cdef int _put(self, bytes frame) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(frame)
        self.credit -= size
        memcpy(self.out.reserve(size), PyBytes_AS_STRING(frame), size)
        return 0


cdef UpwardFrames new_upward(Py_ssize_t frame_bytes):
    """Make the frames for a connection that takes frames of `frame_bytes`, without their headers."""
    cdef UpwardFrames frames = UpwardFrames.__new__(UpwardFrames)
    frames.out = WriteBuffer.__new__(WriteBuffer)
    frames.held = deque()
    frames.frame_bytes = frame_bytes
    frames.piece = min(<Py_ssize_t>PIECE, frame_bytes - RESPONSE_HEAD - TOTAL_BYTES)
    frames.most_metadata = min(<Py_ssize_t>LONGEST_METADATA, frame_bytes - BESIDE_METADATA)
    return frames
