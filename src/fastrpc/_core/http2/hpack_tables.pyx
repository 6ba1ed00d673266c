"""The tables of HPACK (RFC 7541, section 2.3): fields, the static table, the dynamic table of one direction.

A field is checked once, when it is made (RFC 9113, section 8.2): its name by the bytes of a token in small letters, its
value as in HTTP/1.1 here, without controls. A block that refers to it by index gets the result of that check. A field that
breaks a rule enters the table like any other, so that both sides keep the same table.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

from fastrpc._core.http2.violations cimport (
    RULE_CONNECTION_FIELD, RULE_EMPTY_NAME, RULE_NAME, RULE_NONE, RULE_TE, RULE_UNKNOWN_PSEUDO, RULE_VALUE,
    RULE_VALUE_EDGE,
)

cdef enum:
    # The kinds of bytes: of a name, of a value, of the value of a pseudo-header field.
    IN_NAME = 1
    IN_VALUE = 2
    IN_PSEUDO = 4
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

# Names that get tokens behind those of the static table.
MORE_NAMES = (
    b":protocol", b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"te", b"origin", b"grpc-timeout",
    b"grpc-encoding", b"grpc-accept-encoding", b"grpc-status", b"grpc-message", b"grpc-status-details-bin",
    b"grpc-previous-rpc-attempts", b"grpc-retry-pushback-ms", b"traceparent", b"tracestate", b"frpc-request-id",
    b"frpc-outcome",
)

cdef uint8_t[256] kinds

cdef uint64_t last_generation = 0

# The tokens in the order of the sizes of their names; where those of each size begin.
cdef uint8_t[TOKEN_COUNT] tokens_by_size
cdef uint8_t[LONGEST_NAME + 2] first_of_size


@cython.final
@cython.freelist(64)
cdef class HeaderField:
    def __repr__(self):
        # Values may be secrets.
        return f"<HeaderField {self.name!r}>"


@cython.final
cdef class DynamicTable:

    def __cinit__(self, Py_ssize_t capacity=FIRST_TABLE_BYTES):
        self._fields = [None] * FIRST_SLOTS
        self.capacity = capacity
        self.generation = next_generation()

    cdef int insert(self, HeaderField field) except -1:
        """Insert a field, behind which older ones leave; one that is larger than the table empties it."""
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
        """Let the oldest fields leave until the rest has at most so many bytes."""
        cdef Py_ssize_t place
        while self.count and self.size > room:
            place = (self._inserted - self.count) & (len(self._fields) - 1)
            # The list has the field until it is replaced.
            self.size -= (<HeaderField>PyList_GET_ITEM(self._fields, place)).size
            self.count -= 1
            self._fields[place] = None
        return 0

    cdef int _grow(self) except -1:
        """Double the ring; the fields lie at its start then, oldest first."""
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
        # The tuple of names keeps them for ever.
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
    """Make a field from a name that is not known yet; known names are one object each."""
    cdef const char* text = PyBytes_AS_STRING(name)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
    cdef int token = token_of(text, size)
    return new_field(token_names[token] if token else name, value, token, name_rule(text, size))


cdef int keep_note(HeaderField field, object note) except -1:
    if field.static_index == 0:
        field.note = note
    return 0


def _fill_kinds():
    name = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
    for byte in range(256):
        kinds[byte] = (
            (IN_NAME if byte in name else 0)
            | (IN_VALUE if byte in b"\t " or byte > 0x20 and byte != 0x7F else 0)
            | (IN_PSEUDO if 0x20 < byte < 0x7F else 0)
        )


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


_fill_kinds()
cdef tuple token_names = _token_names()
cdef tuple static_fields = _static_fields()
