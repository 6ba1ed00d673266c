"""Header blocks: their fields, HPACK's tables of fields (RFC 7541), and the rules of heads and trailers.

There are two tables (section 2.3): the static table, and a dynamic table for each direction. A field is checked once,
when it is made (RFC 9113, section 8.2): its name must be a token in lower case; its value must have no control
characters, as in HTTP/1.1. A block that refers to the field by its index uses the result of that check. A field that
breaks a rule enters the table like any other field, so that both sides keep the same table.

A block that breaks a rule (RFC 9113, section 8) makes its message malformed. That is an error of the stream alone, as the
table stays in step. Requests are checked more strictly than the RFC requires: if two programs understand a request
differently, a caller can smuggle a second request past the first program. A request has one authority, equal to Host,
without a user name; a path without a fragment; at most one content-length.

The decoder of the Huffman code (section 5.2) looks up 11 bits of a 64-bit word at a time, which hold one symbol or two
short ones. Longer codes are rare. As the code is canonical, they are found by comparison with the end of each length. A
state machine by nibbles would need tables of twice the size and two dependent lookups for each byte.
"""

cimport cython
from cpython.list cimport PyList_Append, PyList_GET_SIZE
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memchr, memcpy

from fastrpc._core.base.big_endian cimport load64_big
from fastrpc._core.exchange.request_head cimport IN_NAME, IN_PSEUDO, IN_VALUE, kinds, number_of
from fastrpc._core.http2.frames cimport (
    FIRST_TABLE_BYTES,
    RULE_AUTHORITY,
    RULE_CONNECTION_FIELD,
    RULE_CONTENT_LENGTH,
    RULE_EMPTY_NAME,
    RULE_LATE_PSEUDO,
    RULE_MISPLACED_PSEUDO,
    RULE_MISSING_PSEUDO,
    RULE_NAME,
    RULE_NONE,
    RULE_PATH,
    RULE_REPEATED_PSEUDO,
    RULE_STATUS,
    RULE_TE,
    RULE_UNKNOWN_PSEUDO,
    RULE_VALUE,
    RULE_VALUE_EDGE,
)

cdef extern from "http2/huffman_tables.h" nogil:
    const int LOOKUP_BITS "FRPC_HUFFMAN_LOOKUP_BITS"
    const uint32_t[257] codes "frpc_huffman_codes"
    const uint8_t[257] lengths "frpc_huffman_lengths"
    const uint32_t[2048] lookup "frpc_huffman_lookup"
    const uint32_t[31] ends "frpc_huffman_ends"
    const int32_t[31] offsets "frpc_huffman_offsets"
    const uint16_t[257] symbols "frpc_huffman_symbols"

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* one, const char* other, size_t size)

cdef const char* GRPC_TYPE = b"application/grpc"

cdef enum:
    GRPC_TYPE_BYTES = 16

cdef enum:
    EOS = 256
    LONGEST = 30

cdef enum:
    FIRST_SLOTS = 8
    LONGEST_NAME = 32

# RFC 7541, Appendix A.
STATIC = (
    (b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html"),
    (b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206"),
    (b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"), (b"accept-language", b""), (b"accept-ranges", b""), (b"accept", b""),
    (b"access-control-allow-origin", b""), (b"age", b""), (b"allow", b""), (b"authorization", b""),
    (b"cache-control", b""), (b"content-disposition", b""), (b"content-encoding", b""), (b"content-language", b""),
    (b"content-length", b""), (b"content-location", b""), (b"content-range", b""), (b"content-type", b""),
    (b"cookie", b""), (b"date", b""), (b"etag", b""), (b"expect", b""), (b"expires", b""), (b"from", b""),
    (b"host", b""), (b"if-match", b""), (b"if-modified-since", b""), (b"if-none-match", b""), (b"if-range", b""),
    (b"if-unmodified-since", b""), (b"last-modified", b""), (b"link", b""), (b"location", b""), (b"max-forwards", b""),
    (b"proxy-authenticate", b""), (b"proxy-authorization", b""), (b"range", b""), (b"referer", b""), (b"refresh", b""),
    (b"retry-after", b""), (b"server", b""), (b"set-cookie", b""), (b"strict-transport-security", b""),
    (b"transfer-encoding", b""), (b"user-agent", b""), (b"vary", b""), (b"via", b""), (b"www-authenticate", b""),
)

# Further names, whose tokens follow those in the static table.
MORE_NAMES = (
    b":protocol", b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"origin", b"grpc-timeout",
    b"grpc-encoding", b"grpc-accept-encoding", b"grpc-status", b"grpc-message", b"grpc-status-details-bin",
    b"grpc-previous-rpc-attempts", b"grpc-retry-pushback-ms", b"traceparent", b"tracestate", b"frpc-request-id",
    b"frpc-outcome",
)

cdef uint64_t last_generation = 0

# `tokens_by_size`: the tokens, sorted by the size of their names; `first_of_size`: the position there of the first
# token with each size.
cdef uint8_t[TOKEN_COUNT] tokens_by_size
cdef uint8_t[LONGEST_NAME + 2] first_of_size

cdef enum:
    MOST_PLACES = 0xFFFF


cdef Py_ssize_t huffman_size(const char* data, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at, bits = 0
    for at in range(size):
        bits += lengths[<uint8_t>data[at]]
    return (bits + 7) >> 3


cdef char* huffman_encode(const char* data, Py_ssize_t size, char* out) noexcept nogil:
    cdef uint64_t word = 0
    cdef int filled = 0, length
    cdef Py_ssize_t at
    for at in range(size):
        length = lengths[<uint8_t>data[at]]
        word = word << length | codes[<uint8_t>data[at]]
        filled += length
        # Fewer than 8 bits remain and no code is longer than 30 bits, so the word never overflows.
        while filled >= 8:
            filled -= 8
            out[0] = <char>(word >> filled)
            out += 1
    if filled:
        out[0] = <char>(word << (8 - filled) | 0xFF >> filled)
        out += 1
    return out


cdef Py_ssize_t huffman_decode(const char* data, Py_ssize_t size, char* out) noexcept nogil:
    # The next bits, highest first, of which `filled` are valid; the others are undefined.
    cdef uint64_t word = 0
    cdef int filled = 0, length
    cdef uint32_t entry
    cdef Py_ssize_t at = 0, decoded = 0
    while True:
        if size - at >= 8:
            # Only whole bytes are consumed. The bits beyond `filled` are read again with the next bytes, unchanged.
            word |= load64_big(data + at) >> filled
            at += (63 - filled) >> 3
            filled |= 56
        else:
            while filled <= 56 and at < size:
                word |= <uint64_t><uint8_t>data[at] << (56 - filled)
                filled += 8
                at += 1
        if filled < LONGEST and at == size:
            return _decode_end(word, filled, decoded, out)
        entry = lookup[word >> (64 - LOOKUP_BITS)]
        if entry:
            # If there is no second symbol, its byte is overwritten by the next one.
            out[decoded] = <char>entry
            out[decoded + 1] = <char>(entry >> 8)
            length = entry >> 24
            decoded += 1 + (length != <int>(entry >> 16 & 0xFF))
        else:
            length = long_length(word)
            if length == LONGEST and long_symbol(word, length) == EOS:
                return -1
            out[decoded] = <char>long_symbol(word, length)
            decoded += 1
        word <<= length
        filled -= length


cdef Py_ssize_t _decode_end(uint64_t word, int filled, Py_ssize_t decoded, char* out) noexcept nogil:
    """Decode the last bits, which are fewer than in the longest code, one symbol at a time."""
    cdef uint32_t entry
    cdef int length, symbol
    while filled:
        # Ones follow the end, so that the rest looks up a symbol or equals the padding.
        word |= ~<uint64_t>0 >> filled
        entry = lookup[word >> (64 - LOOKUP_BITS)]
        if entry:
            length, symbol = entry >> 16 & 0xFF, entry & 0xFF
        else:
            length = long_length(word)
            symbol = long_symbol(word, length)
        if length > filled:
            return decoded if filled < 8 and word == ~<uint64_t>0 else -1
        out[decoded] = <char>symbol
        decoded += 1
        word <<= length
        filled -= length
    return decoded


cdef inline int long_length(uint64_t word) noexcept nogil:
    """Return the length of the first code in the word, which has more bits than the lookup table covers."""
    cdef uint32_t top = <uint32_t>(word >> 32)
    cdef int length = LOOKUP_BITS + 1
    while length < LONGEST and top >= ends[length]:
        length += 1
    return length


cdef inline int long_symbol(uint64_t word, int length) noexcept nogil:
    return symbols[<int32_t>(word >> (64 - length)) + offsets[length]]


@cython.final
@cython.freelist(64)
cdef class HeaderField:
    def __repr__(self):
        # Without the value, which may be a secret.
        return f"<HeaderField {self.name!r}>"


@cython.final
cdef class DynamicTable:

    def __cinit__(self, Py_ssize_t capacity=FIRST_TABLE_BYTES):
        self._fields = [None] * FIRST_SLOTS
        self.capacity = capacity
        self.generation = next_generation()

    cdef int insert(self, HeaderField field) except -1:
        """Insert a field and evict older ones; a field larger than the table empties it."""
        self.generation = next_generation()
        self._evict(self.capacity - field.size)
        if field.size > self.capacity:
            return 0
        if self.count == len(self._fields):
            self._grow()
        self._fields[self._inserted & (len(self._fields) - 1)] = field
        self._inserted += 1
        self.count += 1
        self.size += field.size
        return 0

    cdef int resize(self, Py_ssize_t capacity) except -1:
        self.generation = next_generation()
        self.capacity = capacity
        return self._evict(capacity)

    cdef int _evict(self, Py_ssize_t room) except -1:
        """Evict the oldest fields until the rest has at most `room` bytes."""
        cdef Py_ssize_t place
        while self.count and self.size > room:
            place = (self._inserted - self.count) & (len(self._fields) - 1)
            # The borrowed field is valid: the list holds it until it is replaced.
            self.size -= (<HeaderField>PyList_GET_ITEM(self._fields, place)).size
            self.count -= 1
            self._fields[place] = None
        return 0

    cdef int _grow(self) except -1:
        """Double the ring buffer, and move the fields to its start, oldest first."""
        cdef Py_ssize_t index, count = self.count
        cdef list fields = [None] * (2 * len(self._fields))
        for index in range(count):
            fields[count - 1 - index] = <object>self.get(index)
        self._fields = fields
        self._inserted = count
        return 0

    cdef Py_ssize_t find(self, uint64_t hash, bytes name, bytes value) noexcept:
        cdef Py_ssize_t index
        cdef HeaderField field
        for index in range(self.count):
            field = <HeaderField>self.get(index)
            if field.hash == hash and is_same(field.name, name) and is_same(field.value, value):
                return index
        return -1

    cdef Py_ssize_t find_name(self, int token, bytes name) noexcept:
        cdef Py_ssize_t index
        cdef HeaderField field
        for index in range(self.count):
            field = <HeaderField>self.get(index)
            if field.token == token and (token != TOKEN_OTHER or is_same(field.name, name)):
                return index
        return -1


cdef inline uint64_t next_generation() noexcept:
    global last_generation
    last_generation += 1
    return last_generation


cdef int token_of(const char* name, Py_ssize_t size) noexcept:
    cdef int at, token
    if size > LONGEST_NAME:
        return TOKEN_OTHER
    for at in range(first_of_size[size], first_of_size[size + 1]):
        token = tokens_by_size[at]
        # The pointer is valid: the tuple of names is never freed.
        if memcmp(PyBytes_AS_STRING(<bytes>token_names[token]), name, size) == 0:
            return token
    return TOKEN_OTHER


cdef int name_rule(const char* name, Py_ssize_t size) noexcept:
    cdef Py_ssize_t at
    if size == 0:
        return RULE_EMPTY_NAME
    if name[0] == b":":
        return RULE_NONE if token_of(name, size) != TOKEN_OTHER else RULE_UNKNOWN_PSEUDO
    for at in range(size):
        if not kinds[<uint8_t>name[at]] & IN_NAME:
            return RULE_NAME
    return RULE_NONE


cdef int value_rule(const char* value, Py_ssize_t size, int kind) noexcept:
    cdef Py_ssize_t at
    cdef uint8_t common = <uint8_t>kind
    for at in range(size):
        common &= kinds[<uint8_t>value[at]]
    if common != kind:
        return RULE_VALUE
    return RULE_VALUE_EDGE if size and (value[0] in b"\t " or value[size - 1] in b"\t ") else RULE_NONE


cdef HeaderField new_field(bytes name, bytes value, int token, int rule):
    cdef HeaderField field = HeaderField.__new__(HeaderField)
    cdef Py_ssize_t name_size = PyBytes_GET_SIZE(name), value_size = PyBytes_GET_SIZE(value)
    cdef const char* text = PyBytes_AS_STRING(name)
    field.name = name
    field.value = value
    field.token = token
    field.size = name_size + value_size + FIELD_OVERHEAD
    field.is_pseudo = name_size > 0 and text[0] == b":"
    field.is_binary = name_size > 4 and memcmp(text + name_size - 4, b"-bin", 4) == 0
    if rule == RULE_NONE:
        rule = value_rule(PyBytes_AS_STRING(value), value_size, IN_PSEUDO if field.is_pseudo else IN_VALUE)
    if rule == RULE_NONE:
        if token == TOKEN_TE:
            rule = RULE_NONE if value == b"trailers" else RULE_TE
        elif TOKEN_CONNECTION <= token <= TOKEN_UPGRADE or token == TOKEN_TRANSFER_ENCODING:
            rule = RULE_CONNECTION_FIELD
    field.rule = rule
    return field


cdef HeaderField made_field(bytes name, bytes value):
    """Make a field whose name is not checked yet; a name with a token becomes the object in `token_names`."""
    cdef const char* text = PyBytes_AS_STRING(name)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
    cdef int token = token_of(text, size)
    return new_field(token_names[token] if token else name, value, token, name_rule(text, size))


cdef int keep_note(HeaderField field, object note) except -1:
    if field.static_index == 0:
        field.note = note
    return 0


def _token_names():
    names = tuple(dict.fromkeys(name for name, _ in STATIC)) + MORE_NAMES
    by_size = sorted(range(1, TOKEN_COUNT), key=lambda token: len(names[token - 1]))
    for place, token in enumerate(by_size):
        tokens_by_size[place] = token
    for size in range(LONGEST_NAME + 2):
        first_of_size[size] = sum(len(name) < size for name in names)
    return None, *names


def _static_fields():
    fields = []
    for index, (name, value) in enumerate(STATIC, 1):
        field = made_field(name, value)
        field.static_index = index
        if static_places[field.token] == 0:
            static_places[field.token] = index
        fields.append(field)
    return tuple(fields)


cdef tuple token_names = _token_names()
cdef tuple static_fields = _static_fields()


@cython.final
@cython.freelist(16)
cdef class HeaderBlock:

    def __repr__(self):
        return f"<HeaderBlock of {len(self.fields)} fields>"

    @cython.nonecheck(False)
    cdef int add(self, HeaderField field) except -1:
        cdef int token = field.token
        cdef Py_ssize_t place
        if self.rule == RULE_NONE and (
            field.rule or field.is_pseudo or token == TOKEN_CONTENT_LENGTH or token == TOKEN_HOST
        ):
            self._judge(field)
        self._has_regular = self._has_regular or not field.is_pseudo
        PyList_Append(self.fields, field)
        if self._places[token] == 0:
            place = PyList_GET_SIZE(self.fields)
            self._places[token] = <uint16_t>place if place <= MOST_PLACES else 0
        return 0

    cdef int _judge(self, HeaderField field) except -1:
        """Set `rule` if a field breaks one, by itself or after the earlier fields."""
        cdef int token = field.token
        if field.rule == RULE_VALUE_EDGE and takes_blanks(token):
            self.has_blanks = True
        elif field.rule:
            self.rule = field.rule
        elif field.is_pseudo:
            if self._has_regular:
                self.rule = RULE_LATE_PSEUDO
            elif self._places[token]:
                self.rule = RULE_REPEATED_PSEUDO
        elif token == TOKEN_CONTENT_LENGTH:
            if self._places[token] or length_in(field) < 0:
                self.rule = RULE_CONTENT_LENGTH
        elif self._places[token]:
            self.rule = RULE_AUTHORITY
        return 0

    @cython.nonecheck(False)
    cdef bint is_twin(self, HeaderBlock other, int token) noexcept:
        cdef Py_ssize_t index, count = PyList_GET_SIZE(self.fields)
        cdef HeaderField own, others
        if count != PyList_GET_SIZE(other.fields):
            return False
        for index in range(count):
            if PyList_GET_ITEM(self.fields, index) == PyList_GET_ITEM(other.fields, index):
                continue
            # The borrowed fields are valid: the lists hold them, and do not change once the blocks are decoded.
            own = <HeaderField>PyList_GET_ITEM(self.fields, index)
            others = <HeaderField>PyList_GET_ITEM(other.fields, index)
            if own.token == others.token == token and own.rule == others.rule:
                continue
            if own.token != others.token or not is_same(own.name, others.name) or not is_same(own.value, others.value):
                return False
        return True

    @cython.nonecheck(False)
    cdef HeaderField field(self, int token):
        cdef int place = self._places[token]
        # The borrowed field is valid: the list holds it, and does not change once the block is decoded.
        return <HeaderField>PyList_GET_ITEM(self.fields, place - 1) if place and token != TOKEN_OTHER else None

    cdef bint _has_only(self, bint is_request) noexcept:
        """Return whether the block has no pseudo-header field that belongs to the other kind of head."""
        if is_request:
            return self._places[<int>TOKEN_STATUS] == 0
        return not (
            self._places[<int>TOKEN_METHOD] or self._places[<int>TOKEN_PATH] or self._places[<int>TOKEN_SCHEME]
            or self._places[<int>TOKEN_AUTHORITY] or self._places[<int>TOKEN_PROTOCOL]
        )

    @cython.nonecheck(False)
    cdef int check(self, int kind) except -1:
        cdef HeaderBlock same = self if self.twin is None else self.twin
        if same._checked_as != kind:
            if kind == CHECKED_AS_REQUEST or kind == CHECKED_AS_CONNECT:
                same._checked_rule = same.check_request(kind == CHECKED_AS_CONNECT)
            else:
                same._checked_rule = same.check_response() if kind == CHECKED_AS_RESPONSE else same.check_trailers()
            same.is_of_grpc = is_type_of_grpc(same.field(TOKEN_CONTENT_TYPE))
            if same.has_blanks and not same.is_of_grpc and kind != CHECKED_AS_TRAILERS and same._checked_rule == RULE_NONE:
                same._checked_rule = RULE_VALUE_EDGE
            same._checked_as = kind
        self.is_of_grpc = same.is_of_grpc
        return same._checked_rule

    cdef int check_as_trailers(self, bint is_of_grpc) except -1:
        cdef int rule = self.check(CHECKED_AS_TRAILERS)
        return RULE_VALUE_EDGE if rule == RULE_NONE and self.has_blanks and not is_of_grpc else rule

    @cython.nonecheck(False)
    cdef int check_request(self, bint may_connect) except -1:
        cdef HeaderField method = self.field(TOKEN_METHOD), path = self.field(TOKEN_PATH)
        cdef HeaderField scheme = self.field(TOKEN_SCHEME), authority = self.field(TOKEN_AUTHORITY)
        cdef HeaderField host = self.field(TOKEN_HOST)
        if self.rule:
            return self.rule
        # `:protocol` is for extended CONNECT (RFC 8441), if our settings offer it.
        if not self._has_only(True) or self._places[<int>TOKEN_PROTOCOL] and not may_connect:
            return RULE_MISPLACED_PSEUDO
        if authority is not None and (
            not authority.value or b"@" in authority.value or host is not None and host.value != authority.value
        ):
            return RULE_AUTHORITY
        if method is None or not method.value:
            return RULE_MISSING_PSEUDO
        if may_connect and (method.value != b"CONNECT" or authority is None):
            return RULE_MISPLACED_PSEUDO
        if method.value == b"CONNECT" and not may_connect:
            if path is not None or scheme is not None:
                return RULE_MISPLACED_PSEUDO
            return RULE_NONE if authority is not None else RULE_MISSING_PSEUDO
        if scheme is None or path is None or not scheme.value or not path.value:
            return RULE_MISSING_PSEUDO
        return RULE_NONE if is_path(path.value, method.value) else RULE_PATH

    cdef int check_response(self) except -1:
        cdef HeaderField status = self.field(TOKEN_STATUS)
        if self.rule:
            return self.rule
        if not self._has_only(False):
            return RULE_MISPLACED_PSEUDO
        if status is None:
            return RULE_MISSING_PSEUDO
        return RULE_NONE if is_status(status.value) else RULE_STATUS

    cdef int check_trailers(self) except -1:
        if self.rule:
            return self.rule
        return RULE_NONE if self._has_only(False) and self._has_only(True) else RULE_MISPLACED_PSEUDO

    @cython.nonecheck(False)
    cdef int64_t content_length(self) except? -2:
        cdef HeaderField found
        if not self._knows_length:
            found = self.field(TOKEN_CONTENT_LENGTH)
            self._length = -1 if found is None else length_in(found)
            self._knows_length = True
        return self._length


cdef HeaderBlock new_block():
    cdef HeaderBlock block = HeaderBlock.__new__(HeaderBlock)
    block.fields = []
    return block


cdef HeaderBlock begun_with(HeaderBlock base):
    cdef HeaderBlock block = HeaderBlock.__new__(HeaderBlock)
    block.fields = base.fields[:]
    memcpy(block._places, base._places, sizeof(base._places))
    block._has_regular = base._has_regular
    block.rule = base.rule
    block.has_blanks = base.has_blanks
    block.size = base.size
    return block


cdef bint takes_blanks(int token) noexcept:
    """Return whether a field may have blanks at the ends of its value in gRPC; not if it frames the message."""
    return not (
        token == TOKEN_HOST or token == TOKEN_CONTENT_LENGTH or token == TOKEN_CONTENT_TYPE or token == TOKEN_TE
        or token == TOKEN_TRANSFER_ENCODING or TOKEN_CONNECTION <= token <= TOKEN_UPGRADE
    )


cdef bint is_type_of_grpc(HeaderField content_type) noexcept:
    """Return whether a content-type begins with application/grpc, ignoring case."""
    if content_type is None or PyBytes_GET_SIZE(content_type.value) < GRPC_TYPE_BYTES:
        return False
    return strncasecmp(PyBytes_AS_STRING(content_type.value), GRPC_TYPE, GRPC_TYPE_BYTES) == 0


cdef bint is_path(bytes path, bytes method) noexcept:
    cdef const char* text = PyBytes_AS_STRING(path)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(path)
    if text[0] != b"/":
        return size == 1 and text[0] == b"*" and method == b"OPTIONS"
    # Clients do not send fragments. A path with one is refused, as it could be understood in two ways.
    return memchr(text, b"#", <size_t>size) is NULL


cdef int64_t length_in(HeaderField field) noexcept:
    return number_of(PyBytes_AS_STRING(field.value), PyBytes_GET_SIZE(field.value))


cdef bint is_status(bytes value) noexcept:
    cdef const char* text = PyBytes_AS_STRING(value)
    return PyBytes_GET_SIZE(value) == 3 and text[0] != b"0" and number_of(text, 3) >= 0
