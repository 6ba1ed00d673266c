"""The HPACK decoder and the encoder of a connection (RFC 7541).

::

    block ──► known? ──► the same HeaderBlock
         └──► size updates, at most two ──► fields: by index ──► HeaderField of a table
                                                └── literal ──► HeaderField, checked once

A block that has only indexes changes no table. Until the table changes, an equal block has the same fields and is found
by its bytes. A few such blocks are kept, since a client gets heads and trailers in turn and a server gets the heads of
several methods. Blocks with values that are not inserted are kept once they recur. If a block begins with indexes and
continues with a new value, the fields of its indexes are copied from a kept block. A block with grpc-timeout refers to
the kept block of its path, its twin, if they differ only in the timeout: the checks and the parsed head of the twin
are then valid for it, too.

The size of the fields is counted while decoding. A block above the limit is not an error of the connection: fields beyond
the limit are omitted, the table is updated as usual, and the user of the connection answers that the head is too large.

The encoder decides by the name of a field. Fields of HTTP and gRPC whose values recur are inserted into the table. Values
that differ in each call are sent in full, as their entries would evict others and make all templates stale. For
grpc-timeout and traceparent the first value is inserted, so that the name is in the table. Fields whose names have no
token are sent in full. Credentials and `-bin` values are never indexed, and proxies must not index them, so that no
attacker can guess them from the sizes of blocks (RFC 7541, section 7.1).

A template is a sequence of fields that many blocks share. Until the table changes, its encoded bytes are copied.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from cpython.ref cimport PyObject
from libc.string cimport memcmp, memcpy

from fastrpc._core.http2.frames cimport (
    FIRST_TABLE_BYTES,
    RULE_HUFFMAN,
    RULE_INDEX,
    RULE_INTEGER,
    RULE_LATE_UPDATE,
    RULE_MISSING_UPDATE,
    RULE_NONE,
    RULE_STRING,
    RULE_UPDATE_COUNT,
    RULE_UPDATE_SIZE,
    violated,
)
from fastrpc._core.http2.header_block cimport (
    FIELD_OVERHEAD,
    STATIC_ENTRIES,
    TOKEN_AUTHORIZATION,
    TOKEN_CONTENT_LENGTH,
    TOKEN_COOKIE,
    TOKEN_COUNT,
    TOKEN_DATE,
    TOKEN_ETAG,
    TOKEN_GRPC_MESSAGE,
    TOKEN_GRPC_PREVIOUS_ATTEMPTS,
    TOKEN_GRPC_PUSHBACK,
    TOKEN_GRPC_STATUS_DETAILS,
    TOKEN_GRPC_TIMEOUT,
    TOKEN_OTHER,
    TOKEN_PATH,
    TOKEN_PROXY_AUTHORIZATION,
    TOKEN_REQUEST_ID,
    TOKEN_SET_COOKIE,
    TOKEN_STATUS,
    TOKEN_TRACEPARENT,
    TOKEN_TRACESTATE,
    begun_with,
    huffman_decode,
    huffman_encode,
    huffman_size,
    most_decoded,
    name_rule,
    new_block,
    new_field,
    static_fields,
    static_places,
    token_names,
    token_of,
)

cdef extern from "base/hash64.h" nogil:
    uint64_t hash_bytes "frpc_hash_bytes"(const char* data, size_t size, uint64_t seed) noexcept

cdef extern from "Python.h":
    PyObject* tuple_item "PyTuple_GET_ITEM"(object items, Py_ssize_t index) noexcept

cdef enum:
    # The first bits of a field (RFC 7541, section 6), and how many bits of an integer follow in the same byte.
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
    # The most bytes of an integer after its prefix: 28 bits, more than any block needs. RFC 7541, section 5.1, sets no
    # limit, as zeros may follow.
    INTEGER_BYTES = 4
    # The most size updates of a block: the lowest size since the last block, and the final one (RFC 7541, section 4.2).
    MOST_UPDATES = 2
    # KNOWN_BYTES: the most encoded bytes of a kept block. KNOWN_LIST_BYTES: the most bytes of its fields.
    KNOWN_BYTES = 1024
    KNOWN_LIST_BYTES = 2048
    # The fewest indexes at the start of a block for which their fields are kept.
    LEAST_RUN = 3
    # Strings up to this size are decoded on the stack.
    ROOM_BYTES = 1024
    # The most bytes of an encoded integer below 2 ** 35.
    ENCODED_BYTES = 6
    # Strings up to this size are sent without the Huffman code, which would save at most two bytes and cost more.
    SHORT_STRING = 10
    # A field is inserted only if it needs at most this part of the table: the half.
    SHARE_OF_FIELD = 2

cdef uint8_t[TOKEN_COUNT] indexing_by_token

# The position of the last template. Consecutive templates get different ones, so that an encoder keeps them together.
cdef int last_place = 0


@cython.final
cdef class HpackDecoder:

    def __cinit__(self, Py_ssize_t table_limit=FIRST_TABLE_BYTES, Py_ssize_t list_limit=8192):
        self.table = DynamicTable(min(table_limit, <Py_ssize_t>FIRST_TABLE_BYTES))
        self.table_limit = table_limit
        self.list_limit = list_limit
        self._known = [None] * KNOWN_BLOCKS
        self._twins = [None] * KNOWN_BLOCKS

    cdef int limit_table(self, Py_ssize_t limit) except -1:
        self.table_limit = limit
        self._needs_update = self.table.capacity > limit
        return 0

    @cython.nonecheck(False)
    cdef HeaderBlock decode(self, const char* data, Py_ssize_t size, Violation* violation):
        cdef Py_ssize_t run = indexed_run(data, size)
        cdef uint64_t generation = self.table.generation
        cdef HeaderBlock block = self._find(data, size) if run == size or self._knows_values else None
        if block is not None:
            return block
        # The pointers are valid during this call: the caller holds the bytes.
        self._at = <const uint8_t*>data
        self._end = self._at + size
        if LEAST_RUN <= run < size and not self._needs_update:
            block = self._begin(data, run)
            self._end = <const uint8_t*>data + size
        else:
            block = new_block()
            if self._decode_updates(violation) < 0:
                return None
        if self._decode_fields(block, violation) < 0:
            return None
        if block.has(TOKEN_GRPC_TIMEOUT):
            self._find_twin(block)
        elif self.table.generation == generation and size <= KNOWN_BYTES and (run == size or self._comes_again(data, size)):
            self._knows_values = self._knows_values or run < size
            self._know(block, data, size)
        return block

    @cython.nonecheck(False)
    cdef int _decode_fields(self, HeaderBlock block, Violation* violation) except? -1:
        """Decode the fields up to `_end`, and add them to the block."""
        cdef HeaderField field
        while self._at < self._end:
            field = self._decode_field(violation)
            if field is None:
                return -1
            # Not `+=`, for which Cython would add a reference to the block.
            block.size = block.size + field.size
            if block.size <= self.list_limit:
                block.add(field)
            else:
                block.is_too_large = True
        self._large = None
        return 0

    # Kept blocks

    @cython.nonecheck(False)
    cdef HeaderBlock _find(self, const char* data, Py_ssize_t size):
        """Return the kept block with these bytes if it is still valid, or None if the bytes have to be decoded."""
        cdef Py_ssize_t place = <Py_ssize_t>(hash_bytes(data, <size_t>size, 0) & (KNOWN_BLOCKS - 1))
        # The borrowed block is valid: the list holds it until the caller has a reference.
        cdef HeaderBlock block = <HeaderBlock>PyList_GET_ITEM(self._known, place)
        if (
            block is not None and block.generation == self.table.generation and PyBytes_GET_SIZE(block.raw) == size
            and memcmp(PyBytes_AS_STRING(block.raw), data, <size_t>size) == 0 and not self._needs_update
        ):
            return block
        return None

    cdef HeaderBlock _begin(self, const char* data, Py_ssize_t run):
        """Return a new block with the fields of its leading indexes, copied from a kept block; the rest may differ."""
        cdef Violation violation
        cdef HeaderBlock known = self._find(data, run)
        if known is None:
            known = new_block()
            self._end = self._at + run
            if self._decode_fields(known, &violation) < 0 or known.is_too_large:
                # The caller decodes the block from its start, and so reports the violation or the size.
                self._at = <const uint8_t*>data
                return new_block()
            self._know(known, data, run)
        self._at = <const uint8_t*>data + run
        return begun_with(known)

    cdef int _find_twin(self, HeaderBlock block) except -1:
        """Set the `twin` of a block with grpc-timeout, or keep the block as the twin of later ones."""
        cdef HeaderField path = block.field(TOKEN_PATH)
        cdef Py_ssize_t place
        cdef HeaderBlock twin
        if path is None or block.is_too_large or block.size > KNOWN_LIST_BYTES:
            return 0
        # The key is the address of the path, since the table has one object per path. For another object with the same
        # path the search just fails.
        place = <Py_ssize_t>(<size_t><PyObject*>path // sizeof(PyObject*) // 8 & (KNOWN_BLOCKS - 1))
        twin = <HeaderBlock>self._twins[place]
        if twin is not None and block.is_twin(twin, TOKEN_GRPC_TIMEOUT):
            block.twin = twin
            return 0
        self.known_bytes += block.size - (0 if twin is None else twin.size)
        self._twins[place] = block
        return 0

    cdef bint _comes_again(self, const char* data, Py_ssize_t size) noexcept:
        """Return whether a block recurs, as the last one with its hash. Blocks with new values each time are not kept."""
        cdef uint64_t hash = hash_bytes(data, <size_t>size, 0)
        cdef int place = <int>(hash & (KNOWN_BLOCKS - 1))
        if self._seen[place] == hash:
            return True
        self._seen[place] = hash
        return False

    cdef int _know(self, HeaderBlock block, const char* data, Py_ssize_t size) except -1:
        """Keep a block, in place of an earlier one with the same hash."""
        cdef Py_ssize_t place = <Py_ssize_t>(hash_bytes(data, <size_t>size, 0) & (KNOWN_BLOCKS - 1))
        cdef HeaderBlock former = <HeaderBlock>self._known[place]
        if block.size > KNOWN_LIST_BYTES:
            return 0
        block.raw = PyBytes_FromStringAndSize(data, size)
        block.generation = self.table.generation
        self.known_bytes += block.size - (0 if former is None else former.size + former.noted_bytes)
        self._known[place] = block
        return 0

    cdef int _decode_updates(self, Violation* violation) except? -1:
        """Apply the table size updates at the beginning of a block."""
        cdef int count = 0
        cdef int64_t capacity
        while self._at < self._end and self._at[0] & 0xE0 == UPDATE:
            count += 1
            if count > MOST_UPDATES:
                return violated(violation, RULE_UPDATE_COUNT, count, MOST_UPDATES)
            capacity = self._read_integer(UPDATE_BITS, violation)
            if capacity < 0:
                return -1
            if capacity > self.table_limit:
                return violated(violation, RULE_UPDATE_SIZE, capacity, self.table_limit)
            self.table.resize(<Py_ssize_t>capacity)
            self._needs_update = False
        if self._needs_update:
            return violated(violation, RULE_MISSING_UPDATE, self.table.capacity, self.table_limit)
        return 0

    @cython.nonecheck(False)
    cdef HeaderField _decode_field(self, Violation* violation):
        cdef HeaderField field
        cdef int first = self._at[0]
        cdef int64_t index
        if first & INDEXED:
            index = self._read_integer(INDEX_BITS, violation)
            return None if index < 0 else self._field_at(index, violation)
        if first & INSERTED:
            field = self._decode_literal(INSERTED_BITS, violation)
            if field is not None:
                self.table.insert(field)
            return field
        if first & UPDATE:
            violated(violation, RULE_LATE_UPDATE)
            return None
        field = self._decode_literal(LITERAL_BITS, violation)
        if field is not None:
            field.is_sensitive = first & NEVER_INDEXED != 0
        return field

    @cython.nonecheck(False)
    cdef HeaderField _decode_literal(self, int prefix, Violation* violation):
        """Decode a literal field: its value, and perhaps its name, is in the block."""
        cdef char[ROOM_BYTES] room
        cdef const char* text
        cdef HeaderField named
        cdef bytes name
        cdef int token, rule = RULE_NONE
        cdef Py_ssize_t size = 0
        cdef int64_t index = self._read_integer(prefix, violation)
        if index < 0:
            return None
        if index:
            named = self._field_at(index, violation)
            if named is None:
                return None
            name, token = named.name, named.token
            if token == TOKEN_OTHER:
                rule = name_rule(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
        else:
            text = self._read_string(room, &size, violation)
            if text is NULL:
                return None
            token = token_of(text, size)
            if token == TOKEN_OTHER:
                name = PyBytes_FromStringAndSize(text, size)
                rule = name_rule(text, size)
            else:
                # The borrowed name is valid: the tuple is never freed.
                name = <bytes>tuple_item(token_names, token)
        text = self._read_string(room, &size, violation)
        if text is NULL:
            return None
        return new_field(name, PyBytes_FromStringAndSize(text, size), token, rule)

    @cython.nonecheck(False)
    cdef HeaderField _field_at(self, int64_t index, Violation* violation):
        """Return the field of a table with this index."""
        cdef Py_ssize_t count = self.table.count
        if 0 < index <= STATIC_ENTRIES:
            # The borrowed field is valid: the tuple is never freed.
            return <HeaderField>tuple_item(static_fields, <Py_ssize_t>index - 1)
        if index == 0 or index > STATIC_ENTRIES + count:
            violated(violation, RULE_INDEX, index, STATIC_ENTRIES + count)
            return None
        # The borrowed field is valid: the table holds it, and does not change before the caller has a reference.
        return <HeaderField>self.table.get(<Py_ssize_t>index - STATIC_ENTRIES - 1)

    cdef int64_t _read_integer(self, int prefix, Violation* violation) noexcept:
        """Read an integer whose first `prefix` bits are in the next byte (RFC 7541, section 5.1)."""
        cdef int64_t most = (1 << prefix) - 1, value = self._at[0] & most
        cdef int shift = 0, byte
        self._at += 1
        if value < most:
            return value
        while self._at < self._end and shift < 7 * INTEGER_BYTES:
            byte = self._at[0]
            self._at += 1
            value += <int64_t>(byte & 0x7F) << shift
            if not byte & 0x80:
                return value
            shift += 7
        return violated(violation, RULE_INTEGER)

    @cython.nonecheck(False)
    cdef const char* _read_string(self, char* room, Py_ssize_t* size, Violation* violation) except? NULL:
        """Read a string. The result points into the block, `room`, or `_large` (until the next read). NULL: a violation."""
        cdef const char* text
        cdef char* place = room
        cdef bint is_huffman
        cdef int64_t length
        if self._at == self._end:
            violated(violation, RULE_INTEGER)
            return NULL
        is_huffman = self._at[0] & HUFFMAN != 0
        length = self._read_integer(INDEX_BITS, violation)
        if length < 0:
            return NULL
        if length > self._end - self._at:
            violated(violation, RULE_STRING, length, self._end - self._at)
            return NULL
        text = <const char*>self._at
        self._at += length
        size[0] = <Py_ssize_t>length
        if not is_huffman:
            return text
        if most_decoded(size[0]) > ROOM_BYTES:
            self._large = PyBytes_FromStringAndSize(NULL, most_decoded(size[0]))
            # The bytes may still be written, as no other code has a reference yet.
            place = PyBytes_AS_STRING(self._large)
        size[0] = huffman_decode(text, <Py_ssize_t>length, place)
        if size[0] < 0:
            violated(violation, RULE_HUFFMAN)
            return NULL
        return place


cdef Py_ssize_t indexed_run(const char* data, Py_ssize_t size) noexcept:
    """Return how many bytes at the start of a block are one-byte indexes."""
    cdef Py_ssize_t at
    for at in range(size):
        if not INDEXED < <uint8_t>data[at] < 0xFF:
            return at
    return size


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
        # RULE_NONE, as only received fields are checked.
        field = new_field(name, value, token, RULE_NONE)
        field.hash = hash
        return self.table.insert(field)

    @cython.nonecheck(False)
    cdef int put_template(self, WriteBuffer out, HeaderTemplate template) except -1:
        cdef int place = template._place
        cdef bytes block
        cdef Py_ssize_t size
        # Borrowed items are valid: the lists have KNOWN_TEMPLATES items, and hold them while they are used.
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
            # The pointer is valid until the buffer changes.
            self._blocks[template._place] = PyBytes_FromStringAndSize(out.data() + start, out.size - start)
            self._generations[template._place] = generation
        return 0

    @cython.nonecheck(False)
    cdef int _put_literal(
        self, WriteBuffer out, int token, bytes name, bytes value, int indexing
    ) except -1:
        """Write a literal field: the value in full, and the name unless a table has it."""
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
        # The Huffman code is tried for inserted values of any size, as they are sent once, and for other long values.
        return put_string(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), indexing != INDEXING_TABLE)


cdef int indexing_of(int token, bytes name) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(name)
    if token == TOKEN_OTHER and size > 4 and memcmp(PyBytes_AS_STRING(name) + size - 4, b"-bin", 4) == 0:
        return INDEXING_NEVER
    return indexing_by_token[token]


cdef Py_ssize_t static_place(int token, bytes value) noexcept:
    """Return the index of the field of the static table with this token and value, or 0."""
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
    """Write an integer into the last `prefix` bits of the byte `first` and further bytes (RFC 7541, section 5.1)."""
    cdef int most = (1 << prefix) - 1
    cdef char* place
    cdef Py_ssize_t count = 1
    if value < most:
        out.reserve(1)[0] = <char>(first | value)
        return 0
    place = out.reserve(ENCODED_BYTES)
    place[0] = <char>(first | most)
    value -= most
    while value >= 0x80:
        place[count] = <char>(0x80 | value & 0x7F)
        count += 1
        value >>= 7
    place[count] = <char>value
    out.keep(out.size - ENCODED_BYTES + count + 1)
    return 0


cdef int put_string(WriteBuffer out, const char* text, Py_ssize_t size, bint is_plain_if_short) except -1:
    """Write a string, in the Huffman code if that is shorter."""
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
