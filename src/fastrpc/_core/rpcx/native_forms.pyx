"""The native form of rpcx calls: the metadata of a call, and the frames for the connection above a translation.

::

    rpcx      u32 key length, key, u32 value length, value        any bytes, the last of two equal keys counts
    native    u8 key length, u8 0, u16 value length, key, value   keys of a-z 0-9 . _ -, each once; values are text

Keys become lower case. Keys of Go are case-sensitive: the last of two keys that differ only in case counts. `__AUTH`
becomes `authorization`, as a bearer token unless it names another scheme. `__ServerTimeout` becomes the deadline if the
protocol sends deadlines. An entry whose key has no native form is omitted (`payload/metadata`). A value without a
native form is refused with the reason.

A real native connection sends frames through its queue (`native/send_queue`), which knows the credit. A translated
connection has no native peer; its frames are only the bytes that are made here.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint16_t
from libc.string cimport memcmp, memcpy, memset

from fastrpc._core.base.big_endian cimport load32_big
from fastrpc._core.base.codec_numbers cimport CODEC_MSGPACK
from fastrpc._core.base.digits cimport number_in
from fastrpc._core.native.outgoing cimport cut_text
from fastrpc._core.payload.metadata cimport entries_of, entry_of, has_form, shown_key
from fastrpc._core.rpcx.frames cimport LENGTH_BYTES
from fastrpc._core.wire.frame cimport CONT, CREDIT, DATA, HEADER_SIZE, MESSAGE_LIMIT, MORE, OUTCOME_NOT_STARTED
from fastrpc._core.wire.frame cimport OUTCOME_RAN, PREFACE_SIZE, RESPONSE, SETTINGS

from fastrpc._core.wire.native import PREFACE
from fastrpc.errors import RemoteProtocolError

cdef enum:
    LONGEST_VALUE = 65535
    # The longest accepted number of milliseconds. 10**12 milliseconds are 30 years.
    MOST_DIGITS = 12
    RESPONSE_HEAD = 16
    # The field after the head of the first piece, which has the total size of the message.
    TOTAL_BYTES = 8
    # FIRST_CREDIT: the credit that the connection above has before the first CREDIT. WHOLE_CREDIT: its credit after
    # that.
    FIRST_CREDIT = 65_536
    WHOLE_CREDIT = 1_073_741_824
    # The size of a piece of an answer, if the connection above accepts frames of this size.
    PIECE = 49_152
    LONGEST_METADATA = 65_535
    # The bytes of a first piece that are reserved for other fields than metadata: the text or name, and some payload.
    BESIDE_METADATA = RESPONSE_HEAD + MESSAGE_LIMIT + TOTAL_BYTES + 64

cdef bytes AUTH = b"__AUTH"
cdef bytes SERVER_TIMEOUT = b"__ServerTimeout"
cdef bytes AUTHORIZATION = b"authorization"
cdef bytes RESERVED_PREFIX = b"frpc-"
# The metadata keys with the reserved prefix that a request may have.
cdef frozenset PASSED_ON = frozenset({b"frpc-http", b"frpc-request-id"})


cdef inline bint is_key(const char* key, Py_ssize_t size, bytes name) noexcept:
    return size == PyBytes_GET_SIZE(name) and memcmp(key, PyBytes_AS_STRING(name), size) == 0


cdef Py_ssize_t text_at(const char* block, Py_ssize_t at, Py_ssize_t size, str what) except -1:
    """Return the length field at `at`; raise if fewer bytes follow it in the block."""
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
    """Read a decimal number. Return False for any other text, which Go servers ignore as well."""
    cdef bint is_negative = size > 0 and text[0] == c"-"
    cdef int64_t value = number_in(text + is_negative, size - is_negative, MOST_DIGITS)
    number[0] = -value if is_negative else value
    return value >= 0


cdef dict named_entries(const char* block, Py_ssize_t size):
    """Return the entries of a block whose lengths were checked. The last of two equal keys counts."""
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
    for key, value in named_entries(block, size).items():
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
            raise ValueError("the metadata has __AUTH and authorization, only one of them is allowed")
        named[key] = value
    return b"".join([native_entry(key, value) for key, value in named.items()])


cdef bytes native_answer(const char* block, Py_ssize_t size, bytes error_key, dict told, list dropped):
    cdef dict named = {}
    cdef Reserved found
    # Called to check the lengths.
    find_reserved(block, size, False, &found)
    for key, value in named_entries(block, size).items():
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
    return entry_of(key, value)


cdef bytes entry(bytes key, bytes value):
    return len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value


cdef bytes block_of(bytes entries):
    return b"".join([entry(key, value) for key, value in entries_of(entries)])


cdef uint32_t pause_of(object text) except? 0xFFFFFFFE:
    """Return the milliseconds until a retry, 0xFFFFFFFF for no retry, 0 if the text states none."""
    if text is None:
        return 0
    if text == b"never":
        return 0xFFFFFFFF
    return min(int(text), 0xFFFFFFFD) if text.isdigit() and len(text) < 12 else 0


cdef int begin_message(Frame* frame, uint8_t kind, uint64_t id, bytes metadata) noexcept:
    memset(frame, 0, sizeof(Frame))
    frame.kind = kind
    frame.id = id
    # The caller keeps the metadata alive.
    frame.metadata = PyBytes_AS_STRING(metadata)
    frame.metadata_size = PyBytes_GET_SIZE(metadata)
    return 0


@cython.final
cdef class UpwardFrames:
    """The frames for the connection above: in order, limited by its credit, with long messages in pieces."""

    cdef int open(self, bytes settings) except -1:
        """Answer the preface, so that the connection above opens immediately; send the frames that waited for this."""
        memcpy(self.out.reserve(PREFACE_SIZE), PyBytes_AS_STRING(PREFACE), PREFACE_SIZE)
        self.put_control(SETTINGS, 0, settings)
        self.put_control(CREDIT, 0, (<int>(WHOLE_CREDIT - FIRST_CREDIT)).to_bytes(4, "little"))
        return self.raise_credit(FIRST_CREDIT)

    cdef int raise_credit(self, uint32_t size) except -1:
        """Add credit, and send waiting frames as far as it suffices."""
        cdef bytes frame
        self.credit += size
        while self.held and PyBytes_GET_SIZE(<bytes>self.held[0]) <= self.credit:
            frame = self.held.popleft()
            self.credit -= PyBytes_GET_SIZE(frame)
            memcpy(self.out.reserve(PyBytes_GET_SIZE(frame)), PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
        return 0

    cdef int put_control(self, uint8_t kind, uint8_t flags, bytes body) except -1:
        """Write a frame that needs no credit."""
        cdef Frame frame
        memset(&frame, 0, sizeof(Frame))
        frame.kind = kind
        frame.flags = flags
        frame.payload = PyBytes_AS_STRING(body)
        frame.payload_size = frame.payload_present = PyBytes_GET_SIZE(body)
        return self.wire.write(self.out, &frame)

    cdef int fail(self, uint64_t id, Failure failure, bytes metadata) except -1:
        cdef Frame frame
        cdef bytes text = cut_text(failure.text)
        begin_message(&frame, RESPONSE, id, metadata)
        frame.codec = CODEC_MSGPACK
        frame.status = <uint16_t>failure.status
        frame.outcome = OUTCOME_RAN if failure.has_run else OUTCOME_NOT_STARTED
        frame.pushback_ms = failure.pushback_ms
        frame.text = PyBytes_AS_STRING(text)
        frame.text_size = PyBytes_GET_SIZE(text)
        frame.payload = PyBytes_AS_STRING(failure.details)
        frame.payload_size = PyBytes_GET_SIZE(failure.details)
        return self.put_message(&frame)

    cdef int put_message(self, Frame* frame) except -1:
        cdef Frame piece
        cdef Py_ssize_t size = frame.payload_size
        # In the first piece of a message, the total follows the head.
        cdef Py_ssize_t at = min(self.piece, self.frame_bytes + HEADER_SIZE - self.wire.head_size(frame) - TOTAL_BYTES)
        if size <= at:
            return _send(self, frame)
        frame.flags |= MORE
        frame.total = size
        frame.payload_size = at
        _send(self, frame)
        memset(&piece, 0, sizeof(Frame))
        piece.kind = DATA
        piece.id = frame.id
        while at < size:
            piece.payload = frame.payload + at
            piece.payload_size = min(size - at, self.piece)
            at += piece.payload_size
            piece.flags = CONT if at == size else CONT | MORE
            _send(self, &piece)
        return 0


cdef int _send(UpwardFrames frames, Frame* frame) except -1:
    """Write a frame that uses credit, or let it wait after earlier ones."""
    cdef Py_ssize_t size = frames.wire.head_size(frame) + frame.payload_size
    cdef WriteBuffer apart
    frame.payload_present = frame.payload_size
    if not frames.held and size <= frames.credit:
        frames.credit -= size
        return frames.wire.write(frames.out, frame)
    apart = WriteBuffer.__new__(WriteBuffer)
    frames.wire.write(apart, frame)
    frames.held.append(apart.take())
    return 0


cdef UpwardFrames new_upward(Py_ssize_t frame_bytes):
    """Return the writer for a connection that accepts frames of `frame_bytes` bytes, without their headers."""
    cdef UpwardFrames frames = UpwardFrames.__new__(UpwardFrames)
    frames.out = WriteBuffer.__new__(WriteBuffer)
    frames.wire = NativeProtocol()
    # Ids of a client are odd. No frame limit is needed for frames that our own connection sends.
    frames.wire.peer_parity = 1
    frames.wire.frame_limit = <Py_ssize_t>0xFFFFFFFF
    frames.held = deque()
    frames.frame_bytes = frame_bytes
    frames.piece = min(<Py_ssize_t>PIECE, frame_bytes - RESPONSE_HEAD - TOTAL_BYTES)
    frames.most_metadata = min(<Py_ssize_t>LONGEST_METADATA, frame_bytes - BESIDE_METADATA)
    return frames
