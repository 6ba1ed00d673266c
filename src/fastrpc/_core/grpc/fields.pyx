"""The fields of gRPC in heads and trailers of HTTP/2, and the messages in its DATA (gRPC over HTTP/2).

::

    grpc-timeout: 250m               ◄──► 250,000,000 ns          1 to 8 digits and one of H M S m u n
    grpc-message: caf%C3%A9          ◄──► "café"                  visible ASCII and inner spaces, but no %
    x-key-bin: AAE                   ◄──► {"x-key-bin": b"\\0\\1"}  with or without padding
    x-key: a    x-key: b             ◄──► two entries of one key, in their order

    u8 flags (0, or 1: compressed) · u32 length, highest byte first · the message

Names that begin with `grpc-` or `frpc-` are reserved for the protocol: fields with them are not metadata, except the id
of a request. An entry whose name has no native form, or whose value is no text, is omitted.

DATA may end anywhere, even inside a prefix, and one DATA may have many messages. A message within one DATA is copied
once; others are received into an `Assembly`, whose memory grows with the received bytes, not with the stated length.

`RequestHeads` keeps the fields that are the same in each call of a method on a connection, as one HPACK template:
`:method`, `:scheme`, `:authority`, `:path`, te, content-type, user-agent, grpc-accept-encoding, authorization. A call
may have `authorization` and `user-agent` in its metadata: they replace ours.
"""

import re
from binascii import a2b_base64, b2a_base64
from urllib.parse import unquote_to_bytes

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy

from fastrpc._core.base.big_endian cimport load32_big
from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.base.digits cimport number_in
from fastrpc._core.base.status cimport (
    CANCELLED, HIGHEST_STATUS, INTERNAL, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAUTHENTICATED, UNAVAILABLE,
    UNIMPLEMENTED, UNKNOWN,
)
from fastrpc._core.base.wire cimport load16, utf8_valid
from fastrpc._core.http2.frames cimport (
    CODE_CALM_DOWN, CODE_CANCEL, CODE_HTTP_1_1_REQUIRED, CODE_INADEQUATE_SECURITY, CODE_REFUSED_STREAM,
    CODE_STREAM_CLOSED,
)
from fastrpc._core.http2.header_block cimport (
    FIELD_OVERHEAD, TOKEN_AUTHORITY, TOKEN_CONNECTION, TOKEN_CONTENT_LENGTH, TOKEN_CONTENT_TYPE, TOKEN_COUNT,
    TOKEN_GRPC_ACCEPT_ENCODING, TOKEN_GRPC_ENCODING, TOKEN_GRPC_MESSAGE, TOKEN_GRPC_PREVIOUS_ATTEMPTS,
    TOKEN_GRPC_PUSHBACK, TOKEN_GRPC_STATUS, TOKEN_GRPC_STATUS_DETAILS, TOKEN_GRPC_TIMEOUT, TOKEN_HOST, TOKEN_KEEP_ALIVE,
    TOKEN_METHOD, TOKEN_OTHER, TOKEN_OUTCOME, TOKEN_PATH, TOKEN_PROTOCOL, TOKEN_PROXY_CONNECTION,
    TOKEN_SCHEME, TOKEN_STATUS, TOKEN_TE, TOKEN_TRANSFER_ENCODING, TOKEN_UPGRADE, HeaderField, token_of,
)
from fastrpc._core.http2.hpack cimport indexing_of
from fastrpc._core.payload.metadata cimport entries_of, entry_of, has_any_key, has_form, is_binary, shown_key

cdef enum:
    # An upper bound of the size of the fields that differ from call to call, without metadata.
    OTHER_FIELDS = 256

cdef bytes AUTHORIZATION = b"authorization"
cdef bytes USER_AGENT = b"user-agent"
cdef frozenset REPLACED = frozenset({AUTHORIZATION, USER_AGENT})

cdef enum:
    TIMEOUT_DIGITS = 8
    MOST_OF_DIGITS = 99_999_999
    ENTRY_HEAD = 4
    LONGEST_VALUE = 65_535
    # The most bytes of an unreadable credential that are kept.
    UNREAD_BYTES = 256
    STATUS_DIGITS = 2

# The bytes of grpc-message that are escaped, also spaces at its ends, which HTTP would strip.
cdef object ESCAPED = re.compile(rb"[^ -~]|%|\A | \Z")

# The units of grpc-timeout, shortest first, and the factor from each unit to the next.
cdef char* UNITS = b"numSMH"
cdef int64_t[6] NEXT_UNITS = [1_000, 1_000, 1_000, 60, 60, 1]

cdef dict ENCODINGS = {b"identity": ENCODING_IDENTITY, b"gzip": ENCODING_GZIP, b"deflate": ENCODING_DEFLATE}
cdef dict ENCODING_NAMES = {number: name for name, number in ENCODINGS.items()}

# https://grpc.github.io/grpc/core/md_doc_http-grpc-status-mapping.html
cdef dict HTTP_STATUSES = {
    400: INTERNAL, 401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 404: UNIMPLEMENTED,
    429: UNAVAILABLE, 502: UNAVAILABLE, 503: UNAVAILABLE, 504: UNAVAILABLE,
}
# "HTTP2 Transport Mapping, Errors" of gRPC over HTTP/2.
cdef dict RESET_STATUSES = {
    CODE_REFUSED_STREAM: UNAVAILABLE, CODE_CANCEL: CANCELLED, CODE_CALM_DOWN: RESOURCE_EXHAUSTED,
    CODE_INADEQUATE_SECURITY: PERMISSION_DENIED, CODE_STREAM_CLOSED: UNKNOWN,
}

# Whether a field with this token belongs to the protocol, so that it is not metadata.
cdef bint[TOKEN_COUNT] is_of_protocol


@cython.final
@cython.freelist(16)
cdef class MessageReader:
    """A reader that cuts the DATA of one direction of a stream into messages."""

    def __cinit__(self, Py_ssize_t limit):
        self.limit = limit

    cdef bytes read(self, const char** data, Py_ssize_t* size, Py_ssize_t trusted):
        cdef Py_ssize_t taken
        cdef bytes message
        if self._prefix_size < PREFIX_BYTES and not self._read_prefix(data, size):
            return None
        taken = min(size[0], self.missing())
        if taken == self.total:
            message = PyBytes_FromStringAndSize(data[0], taken)
            self.assembly = None
            self._prefix_size = 0
        else:
            if self.assembly is None:
                self.assembly = Assembly(self.total)
            self.assembly.append(data[0], taken, trusted)
            message = self.finish()
        data[0] += taken
        size[0] -= taken
        return message

    def cut(self, bytes data not None):
        """Read a part of the stream; return pairs of each completed message and whether it is compressed."""
        cdef const char* rest = PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef list found = []
        # The pointer is valid: the caller holds `data`.
        while size:
            message = self.read(&rest, &size, PyBytes_GET_SIZE(data))
            if message is None:
                break
            found.append((message, self.is_compressed))
        return found

    @property
    def is_cut(self):
        return self.is_inside()

    cdef bint _read_prefix(self, const char** data, Py_ssize_t* size) except -1:
        """Read bytes of the prefix; return whether it is complete and valid."""
        cdef Py_ssize_t taken = min(size[0], <Py_ssize_t>(PREFIX_BYTES - self._prefix_size))
        # `data` points to `size` bytes that the caller holds.
        memcpy(self._prefix + self._prefix_size, data[0], <size_t>taken)
        self._prefix_size += <int>taken
        data[0] += taken
        size[0] -= taken
        if self.problem or self._prefix_size < PREFIX_BYTES:
            return False
        self.total = load32_big(<const char*>self._prefix + 1)
        self.is_compressed = self._prefix[0] == IS_COMPRESSED
        if self._prefix[0] > IS_COMPRESSED:
            self.problem = MESSAGE_FLAGS
        elif self.total > self.limit:
            self.problem = MESSAGE_TOO_LARGE
        return self.problem == MESSAGE_OK

    cdef bytes finish(self):
        cdef bytes message
        if self.assembly.filled < self.total:
            return None
        message = self.assembly.finish()
        self.assembly = None
        self._prefix_size = 0
        return message


def _fill_tables():
    for token in (
        TOKEN_AUTHORITY, TOKEN_CONNECTION, TOKEN_CONTENT_LENGTH, TOKEN_CONTENT_TYPE, TOKEN_GRPC_ACCEPT_ENCODING,
        TOKEN_GRPC_ENCODING, TOKEN_GRPC_MESSAGE, TOKEN_GRPC_PREVIOUS_ATTEMPTS, TOKEN_GRPC_PUSHBACK, TOKEN_GRPC_STATUS,
        TOKEN_GRPC_STATUS_DETAILS, TOKEN_GRPC_TIMEOUT, TOKEN_HOST, TOKEN_KEEP_ALIVE, TOKEN_METHOD, TOKEN_OUTCOME,
        TOKEN_PATH, TOKEN_PROTOCOL, TOKEN_PROXY_CONNECTION, TOKEN_SCHEME, TOKEN_STATUS, TOKEN_TE,
        TOKEN_TRANSFER_ENCODING, TOKEN_UPGRADE,
    ):
        is_of_protocol[<int>token] = True


_fill_tables()


# Times

cpdef int64_t timeout_ns(bytes value) noexcept:
    cdef const char* text = PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value) - 1
    cdef int64_t number = number_in(text, size, TIMEOUT_DIGITS), unit_ns = 1
    cdef int unit = 0
    if number < 0:
        return -1
    while UNITS[unit] != text[size]:
        unit_ns *= NEXT_UNITS[unit]
        unit += 1
        if UNITS[unit] == 0:
            return -1
    return min(number, <int64_t>LONGEST_TIMEOUT // unit_ns) * unit_ns


cpdef bytes timeout_field(int64_t left_ns):
    cdef char[TIMEOUT_DIGITS + 1] text
    cdef int at = TIMEOUT_DIGITS, unit = 0
    cdef int64_t left = max(left_ns, <int64_t>1)
    while left > MOST_OF_DIGITS:
        left //= NEXT_UNITS[unit]
        unit += 1
    text[at] = UNITS[unit]
    while left:
        at -= 1
        text[at] = <char>(c"0" + left % 10)
        left //= 10
    return PyBytes_FromStringAndSize(text + at, TIMEOUT_DIGITS + 1 - at)


# Texts

cpdef bytes message_field(str text):
    # "replace", as a lone surrogate has no UTF-8.
    return ESCAPED.sub(_escape_of, text.encode("utf-8", "replace"))


def _escape_of(match):
    return b"%%%02X" % match[0][0]


cpdef str message_text(bytes value):
    return unquote_to_bytes(value).decode("utf-8", "replace")


# Bytes

cpdef bytes binary_field(bytes value):
    return b2a_base64(value, newline=False).rstrip(b"=")


cdef inline Py_ssize_t base64_size(Py_ssize_t size) noexcept:
    return (size * 4 + 2) // 3


cpdef bytes binary_value(bytes field):
    cdef bytes digits = field.rstrip(b"=")
    cdef Py_ssize_t padding = len(field) - len(digits)
    if padding > 2 or padding and len(field) % 4:
        return None
    try:
        return a2b_base64(digits.ljust((len(digits) + 3) // 4 * 4, b"="), strict_mode=True)
    except ValueError:
        return None


cdef int encoding_number(bytes name, int unknown) except -1:
    return ENCODINGS.get(name, unknown)


cdef bytes encoding_name(int compressor):
    return ENCODING_NAMES.get(compressor)


# Statuses

cpdef int status_of(bytes value) noexcept:
    cdef int status = number_of(value, STATUS_DIGITS)
    return status if 0 <= status <= HIGHEST_STATUS else UNKNOWN


cdef int number_of(bytes value, Py_ssize_t digits) noexcept:
    return <int>number_in(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), digits)


cpdef int status_of_http(bytes value) except -1:
    return HTTP_STATUSES.get(number_of(value, 3), UNKNOWN)


cpdef int status_of_reset(uint32_t code) except -1:
    return RESET_STATUSES.get(code, INTERNAL if code < CODE_HTTP_1_1_REQUIRED else UNKNOWN)


# Metadata

cdef bint is_reserved(const char* name, Py_ssize_t size) noexcept:
    return size >= 5 and (memcmp(name, b"grpc-", 5) == 0 or memcmp(name, b"frpc-", 5) == 0)


cdef inline bint is_entry(int token, bytes name) noexcept:
    if token == TOKEN_OTHER:
        return not is_reserved(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
    return not is_of_protocol[token]


cpdef bytes metadata_of(HeaderBlock block, list dropped):
    cdef HeaderField field
    cdef list entries = None
    for item in block.fields:
        field = <HeaderField>item
        if field.is_pseudo or not is_entry(field.token, field.name):
            continue
        if entries is None:
            entries = []
        if not has_form(field.name) or not add_values(entries, field.name, field.value, field.is_binary):
            leave_out(entries, dropped, field.name, field.value)
    return b"".join(entries) if entries else None


cpdef bytes metadata_of_pairs(object pairs, list dropped):
    cdef list entries = []
    cdef bytes name, value
    cdef const char* key
    for name, value in pairs:
        # The pointer is valid: the pair holds the name.
        key = PyBytes_AS_STRING(name)
        if is_entry(token_of(key, PyBytes_GET_SIZE(name)), name) and not (
            has_form(name) and add_values(entries, name, value, is_binary(key, PyBytes_GET_SIZE(name)))
        ):
            leave_out(entries, dropped, name, value)
    return b"".join(entries) or None


cdef bint add_values(list entries, bytes name, bytes value, bint is_base64) except -1:
    """Add the values of a field; return False and add none if one of them has no native form."""
    cdef list values
    if is_base64:
        # Proxies join the values of one name with a comma, which is not a base64 digit.
        values = [binary_value(part.strip(b" \t")) for part in value.split(b",")]
        if None in values:
            return False
    elif utf8_valid(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)):
        values = [value]
    else:
        return False
    if PyBytes_GET_SIZE(value) > LONGEST_VALUE:
        return False
    for part in values:
        entries.append(entry_of(name, part))
    return True


cdef int leave_out(list entries, list dropped, bytes name, bytes value) except -1:
    """Omit a field without a native form. A credential is kept in unusable form, so that it is refused, not ignored."""
    dropped.append(name)
    if name == b"authorization":
        # The replacement character makes it unusable: no token contains it.
        entries.append(entry_of(name, (value[:UNREAD_BYTES].decode("utf-8", "replace") + "\ufffd").encode()))
    return 0


cdef inline bint is_blank(char byte) noexcept:
    return byte == c" " or byte == c"\t"


cdef bint is_visible(const char* text, Py_ssize_t size) noexcept:
    """Return whether a value is visible ASCII and spaces, apart from blanks at its ends, which are not sent."""
    cdef Py_ssize_t at = 0
    while size and is_blank(text[size - 1]):
        size -= 1
    while at < size and is_blank(text[at]):
        at += 1
    for at in range(at, size):
        if not c" " <= text[at] <= c"~":
            return False
    return True


cdef bytes without_blanks(bytes value):
    """Return a value without blanks at its ends, as strict peers refuse such blanks (RFC 9113, section 8.2.1)."""
    cdef const char* text = PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    return value.strip(b" \t") if size and (is_blank(text[0]) or is_blank(text[size - 1])) else value


cpdef Py_ssize_t metadata_size(bytes metadata, bint is_of_answer=False) except -1:
    cdef const char* data = PyBytes_AS_STRING(metadata)
    cdef Py_ssize_t at = 0, key_size, value_size, found = 0
    cdef int token
    while at < PyBytes_GET_SIZE(metadata):
        key_size = <uint8_t>data[at]
        value_size = load16(data + at + 2)
        at += ENTRY_HEAD
        token = token_of(data + at, key_size)
        if is_of_protocol[token] and not (is_of_answer and token == TOKEN_GRPC_STATUS_DETAILS) or (
            token == TOKEN_OTHER and is_reserved(data + at, key_size)
        ):
            raise ValueError(f"the metadata key {shown_key(metadata[at:at + key_size])} is reserved for gRPC itself")
        if is_binary(data + at, key_size):
            found += base64_size(value_size)
        elif is_visible(data + at + key_size, value_size):
            found += value_size
        else:
            raise ValueError(
                f"the metadata {shown_key(metadata[at:at + key_size])} is not visible ASCII, as gRPC needs it; "
                "send other text as bytes, under a key that ends in -bin"
            )
        found += key_size + FIELD_OVERHEAD
        at += key_size + value_size
    return found


cpdef list metadata_fields(bytes metadata):
    cdef list fields = []
    cdef bytes name, value
    for name, value in entries_of(metadata):
        # The pointer is valid: the pair holds the name.
        if is_binary(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)):
            value = binary_field(value)
        else:
            value = without_blanks(value)
        fields.append((token_of(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)), name, value))
    return fields


cdef int put_metadata(HpackEncoder encoder, WriteBuffer out, bytes metadata) except -1:
    for token, name, value in metadata_fields(metadata):
        encoder.put(out, token, name, value, indexing_of(token, name))
    return 0


@cython.final
cdef class RequestHeads:
    """The constant fields of the request heads of one connection."""

    def __init__(self, str scheme not None, str authority not None, str agent not None, bytes credential):
        self._first = (
            (b":method", b"POST"), (b":scheme", scheme.encode()), (b":authority", authority.encode()),
        )
        self._last = (
            (b"te", b"trailers"), (b"grpc-accept-encoding", b"identity,gzip,deflate"),
            (USER_AGENT, without_blanks(agent.encode())),
        )
        self.present(credential)

    cdef int present(self, bytes credential) except -1:
        self._credential = None if credential is None else b"Bearer " + credential
        self._made = {}
        return 0

    cdef HeaderTemplate head_of(self, MethodRoute route, bytes metadata):
        cdef tuple replaced = ()
        cdef object key = route
        cdef HeaderTemplate found
        if metadata is not None and has_any_key(metadata, REPLACED):
            replaced = tuple([name for name in REPLACED if has_any_key(metadata, frozenset({name}))])
            key = route, replaced
        found = <HeaderTemplate>self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(route, replaced)
        return found

    cdef HeaderTemplate _make(self, MethodRoute route, tuple replaced):
        service, _, method = route.name.rpartition(b".")
        kind = b"application/grpc+json" if route.marshal.codec_id == CODEC_JSON else b"application/grpc"
        pairs = [*self._first, (b":path", b"/%b/%b" % (service, method)), (b"content-type", kind), *self._last]
        if self._credential is not None:
            pairs.append((AUTHORIZATION, self._credential))
        return HeaderTemplate([pair for pair in pairs if pair[0] not in replaced])

    cdef Py_ssize_t size_of(self, MethodRoute route) except -1:
        cdef Py_ssize_t found = OTHER_FIELDS
        for name, value in self.head_of(route, None).pairs:
            found += PyBytes_GET_SIZE(name) + PyBytes_GET_SIZE(value) + FIELD_OVERHEAD
        return found
