"""The HPACK encoder of a connection (RFC 7541).

Its policy is by name. Fields of HTTP and gRPC whose values recur go into the table. Values that differ with each call, such
as grpc-timeout, and names without a token are sent in full: an entry for each call would push the others out, and end each
template. Credentials and `-bin` values are never indexed, by proxies neither, so that no attacker can guess them by the
sizes of blocks (RFC 7541, section 7.1).

A template is a part of a block that is the same in each: while nothing was inserted it is a copy of bytes.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastrpc._core.http2.hpack_tables cimport (
    FIELD_OVERHEAD, FIRST_TABLE_BYTES, STATIC_ENTRIES, TOKEN_AUTHORIZATION, TOKEN_CONTENT_LENGTH, TOKEN_COOKIE,
    TOKEN_COUNT, TOKEN_DATE, TOKEN_ETAG, TOKEN_GRPC_MESSAGE, TOKEN_GRPC_PREVIOUS_ATTEMPTS, TOKEN_GRPC_PUSHBACK,
    TOKEN_GRPC_STATUS_DETAILS, TOKEN_GRPC_TIMEOUT, TOKEN_OTHER, TOKEN_PROXY_AUTHORIZATION, TOKEN_REQUEST_ID,
    TOKEN_SET_COOKIE, TOKEN_STATUS, TOKEN_TRACEPARENT, TOKEN_TRACESTATE, HeaderField, new_field, static_fields,
    static_places, token_of,
)
from fastrpc._core.http2.huffman cimport huffman_encode, huffman_size
from fastrpc._core.http2.violations cimport RULE_NONE

cdef extern from "base/hash64.h" nogil:
    uint64_t hash_bytes "frpc_hash_bytes"(const char* data, size_t size, uint64_t seed) noexcept

cdef enum:
    # The first bits of a field (RFC 7541, section 6), and the bits of an integer behind them.
    INDEXED = 0x80
    INSERTED = 0x40
    UPDATE = 0x20
    NEVER_INDEXED = 0x10
    PLAIN = 0
    INDEX_BITS = 7
    INSERTED_BITS = 6
    UPDATE_BITS = 5
    LITERAL_BITS = 4
    STRING_BITS = 7
    HUFFMAN = 0x80
    # Of an integer up to 2 ** 35.
    INTEGER_BYTES = 6
    # A shorter string gains at most two bytes by its code, which costs both sides more than those.
    SHORT_STRING = 10
    # A field with a larger share of the table than this is not put into it.
    SHARE_OF_FIELD = 2

cdef uint8_t[TOKEN_COUNT] indexing_by_token

# Consecutive templates have different places: those that are used by turns do not displace each other.
cdef int last_place = 0


def _fill_indexing():
    for token in (
        TOKEN_CONTENT_LENGTH, TOKEN_DATE, TOKEN_ETAG, TOKEN_GRPC_MESSAGE, TOKEN_GRPC_PREVIOUS_ATTEMPTS, TOKEN_GRPC_PUSHBACK,
        TOKEN_OTHER, TOKEN_REQUEST_ID, TOKEN_TRACESTATE,
    ):
        indexing_by_token[<int>token] = INDEXING_NONE
    for token in (TOKEN_GRPC_TIMEOUT, TOKEN_TRACEPARENT):
        indexing_by_token[<int>token] = INDEXING_NAME
    for token in (
        TOKEN_AUTHORIZATION, TOKEN_COOKIE, TOKEN_GRPC_STATUS_DETAILS, TOKEN_PROXY_AUTHORIZATION, TOKEN_SET_COOKIE,
    ):
        indexing_by_token[<int>token] = INDEXING_NEVER


_fill_indexing()


@cython.final
cdef class HeaderTemplate:

    def __init__(self, pairs):
        global last_place
        last_place += 1
        self._place = last_place & (KNOWN_TEMPLATES - 1)
        self.pairs = tuple(pairs)
        self._ways = []
        for name, value in self.pairs:
            token = token_of(name, len(name))
            self._ways.append((token, indexing_of(token, name), name, value))


@cython.final
cdef class HpackEncoder:

    def __cinit__(self):
        self.table = DynamicTable(FIRST_TABLE_BYTES)
        self._templates = [None] * KNOWN_TEMPLATES
        self._blocks = [None] * KNOWN_TEMPLATES

    cdef int limit_table(self, Py_ssize_t limit) except -1:
        cdef Py_ssize_t capacity = min(limit, <Py_ssize_t>FIRST_TABLE_BYTES)
        if capacity == self.table.capacity:
            return 0
        self._lowest = min(self._lowest, capacity) if self._has_update else capacity
        self._has_update = True
        return self.table.resize(capacity)

    cdef int begin(self, WriteBuffer out) except -1:
        if not self._has_update:
            return 0
        if self._lowest < self.table.capacity:
            put_integer(out, UPDATE, UPDATE_BITS, self._lowest)
        put_integer(out, UPDATE, UPDATE_BITS, self.table.capacity)
        self._has_update = False
        return 0

    @cython.nonecheck(False)
    cdef int put(self, WriteBuffer out, int token, bytes name, bytes value, int indexing) except -1:
        cdef Py_ssize_t place, size
        cdef HeaderField field
        cdef uint64_t hash
        if 0 < token <= TOKEN_STATUS:
            place = static_place(token, value)
            if place:
                return put_integer(out, INDEXED, INDEX_BITS, place)
        if indexing != INDEXING_TABLE and (indexing != INDEXING_NAME or self.table.find_name(token, name) >= 0):
            return self._put_literal(out, token, name, value, indexing)
        hash = hash_bytes(PyBytes_AS_STRING(value), <size_t>PyBytes_GET_SIZE(value), <uint64_t>token)
        place = self.table.find(hash, name, value)
        if place >= 0:
            return put_integer(out, INDEXED, INDEX_BITS, STATIC_ENTRIES + 1 + place)
        size = PyBytes_GET_SIZE(name) + PyBytes_GET_SIZE(value) + FIELD_OVERHEAD
        if size > self.table.capacity // SHARE_OF_FIELD:
            return self._put_literal(out, token, name, value, INDEXING_NONE)
        self._put_literal(out, token, name, value, INDEXING_TABLE)
        # Its rule is for received fields.
        field = new_field(name, value, token, RULE_NONE)
        field.hash = hash
        return self.table.insert(field)

    @cython.nonecheck(False)
    cdef int put_template(self, WriteBuffer out, HeaderTemplate template) except -1:
        cdef int place = template._place
        cdef bytes block
        cdef Py_ssize_t size
        # The lists have as many places, and keep what lies there while it is used.
        if (
            PyList_GET_ITEM(self._templates, place) != <PyObject*>template
            or self._generations[place] != self.table.generation
        ):
            return self._write_template(out, template)
        block = <bytes>PyList_GET_ITEM(self._blocks, place)
        size = PyBytes_GET_SIZE(block)
        if size:
            memcpy(out.reserve(size), PyBytes_AS_STRING(block), <size_t>size)
        return 0

    cdef int _write_template(self, WriteBuffer out, HeaderTemplate template) except -1:
        """Write the fields of a template, and keep their block if they change no table."""
        cdef Py_ssize_t start = out.size
        cdef uint64_t generation = self.table.generation
        for token, indexing, name, value in template._ways:
            self.put(out, token, name, value, indexing)
        if self.table.generation == generation:
            self._templates[template._place] = template
            # The bytes lie in the buffer until its next change.
            self._blocks[template._place] = PyBytes_FromStringAndSize(out.data() + start, out.size - start)
            self._generations[template._place] = generation
        return 0

    @cython.nonecheck(False)
    cdef int _put_literal(
        self, WriteBuffer out, int token, bytes name, bytes value, int indexing
    ) except -1:
        """Write a value in full, and the name unless a table has it."""
        cdef Py_ssize_t place = static_places[token] if token != TOKEN_OTHER else 0
        if place == 0:
            place = self.table.find_name(token, name)
            place = 0 if place < 0 else STATIC_ENTRIES + 1 + place
        if indexing == INDEXING_TABLE:
            put_integer(out, INSERTED, INSERTED_BITS, place)
        else:
            put_integer(out, NEVER_INDEXED if indexing == INDEXING_NEVER else PLAIN, LITERAL_BITS, place)
        if place == 0:
            put_string(out, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), False)
        # In the table it is written once, else each time.
        return put_string(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), indexing != INDEXING_TABLE)


cdef int indexing_of(int token, bytes name) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
    if token == TOKEN_OTHER and size > 4 and memcmp(PyBytes_AS_STRING(name) + size - 4, b"-bin", 4) == 0:
        return INDEXING_NEVER
    return indexing_by_token[token]


cdef Py_ssize_t static_place(int token, bytes value) noexcept:
    """Return the index of a field of the static table with this token and value; 0: no such field."""
    cdef Py_ssize_t place = static_places[token]
    cdef HeaderField field
    while 0 < place <= STATIC_ENTRIES:
        field = <HeaderField>static_fields[place - 1]
        if field.token != token:
            return 0
        if field.value == value:
            return place
        place += 1
    return 0


cdef int put_integer(WriteBuffer out, int first, int prefix, Py_ssize_t value) except -1:
    """Write an integer behind the first bits of a byte (RFC 7541, section 5.1)."""
    cdef int most = (1 << prefix) - 1
    cdef char* place
    cdef Py_ssize_t count = 1
    if value < most:
        out.reserve(1)[0] = <char>(first | value)
        return 0
    place = out.reserve(INTEGER_BYTES)
    place[0] = <char>(first | most)
    value -= most
    while value >= 0x80:
        place[count] = <char>(0x80 | value & 0x7F)
        count += 1
        value >>= 7
    place[count] = <char>value
    out.keep(out.size - INTEGER_BYTES + count + 1)
    return 0


cdef int put_string(WriteBuffer out, const char* text, Py_ssize_t size, bint is_plain_if_short) except -1:
    """Write a string, by the Huffman code where that is shorter."""
    cdef Py_ssize_t coded = size
    if size > SHORT_STRING or not is_plain_if_short:
        coded = huffman_size(text, size)
    if coded < size:
        put_integer(out, HUFFMAN, STRING_BITS, coded)
        huffman_encode(text, size, out.reserve(coded))
    else:
        put_integer(out, 0, STRING_BITS, size)
        memcpy(out.reserve(size), text, <size_t>size)
    return 0
