cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint16_t, uint64_t
from libc.string cimport memcmp

# Return the size of the Huffman code of these bytes.
cdef Py_ssize_t huffman_size(const char* data, Py_ssize_t size) noexcept nogil

# Write the Huffman code of these bytes to `out`, which has room for `huffman_size`; return the end.
cdef char* huffman_encode(const char* data, Py_ssize_t size, char* out) noexcept nogil

# Decode a Huffman code to `out`, which has room for `most_decoded(size)`. Return the number of bytes, or -1 if the code
# contains EOS, or its padding is longer than 7 bits or not a prefix of EOS.
cdef Py_ssize_t huffman_decode(const char* data, Py_ssize_t size, char* out) noexcept nogil


cdef inline Py_ssize_t most_decoded(Py_ssize_t size) noexcept nogil:
    """Return the room for decoding a Huffman code of `size` bytes: 5 bits for each byte, and one byte written ahead."""
    return size * 8 // 5 + 2

cdef enum Token:
    # The names of fields as numbers, so that users of a head compare no texts: the different names of the static table in
    # its order, then further names. `header_block.pyx` has the names in the same order.
    TOKEN_OTHER = 0
    TOKEN_AUTHORITY = 1
    TOKEN_METHOD = 2
    TOKEN_PATH = 3
    TOKEN_SCHEME = 4
    TOKEN_STATUS = 5
    TOKEN_AUTHORIZATION = 14
    TOKEN_CONTENT_LENGTH = 19
    TOKEN_CONTENT_TYPE = 22
    TOKEN_COOKIE = 23
    TOKEN_DATE = 24
    TOKEN_ETAG = 25
    TOKEN_HOST = 29
    TOKEN_PROXY_AUTHORIZATION = 40
    TOKEN_SET_COOKIE = 46
    TOKEN_TRANSFER_ENCODING = 48
    TOKEN_PROTOCOL = 53
    TOKEN_CONNECTION = 54
    TOKEN_KEEP_ALIVE = 55
    TOKEN_PROXY_CONNECTION = 56
    TOKEN_UPGRADE = 57
    TOKEN_TE = 58
    TOKEN_GRPC_TIMEOUT = 60
    TOKEN_GRPC_ENCODING = 61
    TOKEN_GRPC_ACCEPT_ENCODING = 62
    TOKEN_GRPC_STATUS = 63
    TOKEN_GRPC_MESSAGE = 64
    TOKEN_GRPC_STATUS_DETAILS = 65
    TOKEN_GRPC_PREVIOUS_ATTEMPTS = 66
    TOKEN_GRPC_PUSHBACK = 67
    TOKEN_TRACEPARENT = 68
    TOKEN_TRACESTATE = 69
    TOKEN_REQUEST_ID = 70
    TOKEN_OUTCOME = 71
    TOKEN_COUNT = 72

cdef enum:
    STATIC_ENTRIES = 61
    # The bytes that a field counts in a table and for MAX_HEADER_LIST_SIZE, in addition to its name and value.
    FIELD_OVERHEAD = 32


@cython.final
cdef class HeaderField:
    cdef:
        readonly bytes name
        readonly bytes value
        # `token`: the token of the name; `static_index`: the index in the static table, 0 if the field is not in this
        # table.
        readonly int token
        int static_index
        # The rule of RFC 9113, section 8.2, that the field breaks (Rule), or RULE_NONE.
        readonly int rule
        # `size`: the bytes of the field in a table; `is_sensitive`: whether it must never be indexed; `is_pseudo`:
        # whether it is a pseudo-header field; `is_binary`: whether its name ends in `-bin`.
        readonly Py_ssize_t size
        readonly bint is_sensitive
        readonly bint is_pseudo
        readonly bint is_binary
        # The hash of name and value, set in the table of an encoder.
        uint64_t hash
        # An object that the user of a connection attaches, such as the method of a path. It must not refer to the
        # connection. Fields of the static table have no note, as all connections share them.
        object note


@cython.final
cdef class DynamicTable:
    cdef:
        # A ring buffer whose size is a power of two; the field with an index below `count` is at
        # `_fields[_inserted - 1 - index & mask]`, other items are None.
        list _fields
        Py_ssize_t _inserted
        readonly Py_ssize_t count

        # `size`: the bytes of all fields. `capacity`: the limit of `size`.
        readonly Py_ssize_t size
        readonly Py_ssize_t capacity

        # A number that is new after each change of the table, and unique among all tables.
        readonly uint64_t generation

    cdef int insert(self, HeaderField field) except -1
    cdef int resize(self, Py_ssize_t capacity) except -1
    cdef int _evict(self, Py_ssize_t room) except -1
    cdef int _grow(self) except -1

    # Return the index of a field with this hash, name and value, 0 for the newest, or -1. `find_name` searches by the
    # name alone.
    cdef Py_ssize_t find(self, uint64_t hash, bytes name, bytes value) noexcept
    cdef Py_ssize_t find_name(self, int token, bytes name) noexcept

    cdef inline PyObject* get(self, Py_ssize_t index) noexcept:
        """Return the field with this index, 0 for the newest, borrowed: it is valid until the table changes."""
        return <PyObject*>PyList_GET_ITEM(self._fields, (self._inserted - 1 - index) & (len(self._fields) - 1))


# The fields of the static table. The first item has index 1.
cdef tuple static_fields

# By token: `token_names` has the name, None for token 0; `static_places` the index of the first field with the name in
# the static table, 0: none.
cdef tuple token_names
cdef int[TOKEN_COUNT] static_places

cdef inline bint is_same(bytes a, bytes b) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(a)
    return a is b or size == PyBytes_GET_SIZE(b) and memcmp(PyBytes_AS_STRING(a), PyBytes_AS_STRING(b), <size_t>size) == 0


# Return the token of a name.
cdef int token_of(const char* name, Py_ssize_t size) noexcept

# Return the rule that a name breaks (Rule), or RULE_NONE.
cdef int name_rule(const char* name, Py_ssize_t size) noexcept

# Make a field whose name was checked already; `rule` is the result for the name.
cdef HeaderField new_field(bytes name, bytes value, int token, int rule)

# Make a field whose name is not checked yet.
cdef HeaderField made_field(bytes name, bytes value)

# Attach a note to a field, unless the field is in the static table.
cdef int keep_note(HeaderField field, object note) except -1


cdef enum CheckedAs:
    CHECKED_AS_REQUEST = 1
    CHECKED_AS_RESPONSE
    CHECKED_AS_TRAILERS
    # A request that may be an extended CONNECT.
    CHECKED_AS_CONNECT


@cython.final
cdef class HeaderBlock:
    cdef:
        # `fields`: the fields in order (HeaderField); `_places`: for each token, the position of the first field with
        # it, counted from 1, or 0; `_has_regular`: whether there is a field that is not a pseudo-header field.
        readonly list fields
        uint16_t[TOKEN_COUNT] _places
        bint _has_regular

        # `rule`: the first rule of RFC 9113, section 8, that the fields break (Rule); `has_blanks`: whether the value
        # of a field begins or ends with a blank, which only gRPC messages may have; `is_of_grpc`: whether the
        # content-type is gRPC's, set by `check`.
        readonly int rule
        readonly bint has_blanks
        bint is_of_grpc

        # The result of the last check, which is kept because blocks recur. `_checked_as`: the kind of check
        # (CheckedAs). `_checked_rule`: the broken rule.
        int _checked_as
        int _checked_rule

        # `_length`: the content-length, -1: none; `_knows_length`: whether it was read already.
        int64_t _length
        bint _knows_length

        # `size`: the bytes of the block as MAX_HEADER_LIST_SIZE counts them; `is_too_large`: whether they exceed our
        # limit, so that the fields beyond it are omitted.
        readonly Py_ssize_t size
        readonly bint is_too_large

        # `raw`: the encoded bytes of a kept block; None if it is not kept. `generation`: the generation of the table to
        # which these bytes refer.
        bytes raw
        uint64_t generation

        # An earlier block that differs only in grpc-timeout, or None. Its note holds for this block, except the timeout.
        HeaderBlock twin

        # An object that the connection's user attaches. Equal blocks are the same object and share it. It must not refer
        # to the connection.
        public object note

        # `request`: the head of HTTP requests with this block (a RequestHead), or None; `request_is_whole`: whether
        # such a request has no body; `noted_bytes`: the bytes that the head adds to `HpackDecoder.known_bytes`.
        object request
        bint request_is_whole
        Py_ssize_t noted_bytes

    cdef int add(self, HeaderField field) except -1

    # Return whether another block has the same fields, except for the values of this token.
    cdef bint is_twin(self, HeaderBlock other, int token) noexcept
    cdef int _judge(self, HeaderField field) except -1

    cdef inline bint has(self, int token) noexcept:
        """Return whether the block has a field with this token."""
        return self._places[token] != 0

    # Return the first field with a token, or None.
    cdef HeaderField field(self, int token)

    # Return the rule (Rule) that the fields break as blocks of this kind (CheckedAs), and set `is_of_grpc`.
    cdef int check(self, int kind) except -1

    # Return the rule (Rule) that the fields break as trailers; `is_of_grpc` says whether the message is gRPC's.
    cdef int check_as_trailers(self, bint is_of_grpc) except -1
    cdef int check_request(self, bint may_connect) except -1
    cdef int check_response(self) except -1
    cdef int check_trailers(self) except -1

    # Return the content-length of a block that breaks no rule, or -1 if it has no such field.
    cdef int64_t content_length(self) except? -2
    cdef bint _has_only(self, bint is_request) noexcept


cdef HeaderBlock new_block()

# Make a block that begins with the fields of another one.
cdef HeaderBlock begun_with(HeaderBlock base)
