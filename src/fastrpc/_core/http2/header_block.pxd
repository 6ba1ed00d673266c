cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint16_t, uint64_t
from libc.string cimport memcmp

# Return the size of the Huffman code of these bytes.
cdef Py_ssize_t huffman_size(const char* data, Py_ssize_t size) noexcept nogil

# Write the code of these bytes to `out`, which has room for `huffman_size`; return the end.
cdef char* huffman_encode(const char* data, Py_ssize_t size, char* out) noexcept nogil

# Decode a Huffman code to `out`, which has room for `most_decoded(size)`; return the number of bytes. -1: the code has
# EOS in it, or padding that is longer than 7 bits or no prefix of EOS.
cdef Py_ssize_t huffman_decode(const char* data, Py_ssize_t size, char* out) noexcept nogil


cdef inline Py_ssize_t most_decoded(Py_ssize_t size) noexcept nogil:
    """Return the most bytes that a code of `size` bytes is decoded into, 5 bits each, plus one byte written ahead."""
    return size * 8 // 5 + 2

cdef enum Token:
    # Names of fields as numbers, so that users of a head compare no texts. Each name of the static table has the number of
    # its first place among the different ones; more follow. `hpack_tables.pyx` has all names in this order.
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
    # The bytes that a field costs in the table and in MAX_HEADER_LIST_SIZE beside its name and value.
    FIELD_OVERHEAD = 32


@cython.final
cdef class HeaderField:
    cdef:
        readonly bytes name
        readonly bytes value
        # The number of the name; the place in the static table, 0: not in it.
        readonly int token
        int static_index
        # The rule of RFC 9113, section 8.2, that it breaks (Rule).
        readonly int rule
        # Its bytes in a table. Whether it must never be indexed, is a pseudo-header field, or has a name with `-bin`.
        readonly Py_ssize_t size
        readonly bint is_sensitive
        readonly bint is_pseudo
        readonly bint is_binary
        # In the table of an encoder: the hash of name and value.
        uint64_t hash
        # Kept with the entry by the user of a connection, such as the route of a path. It must not lead back to the
        # connection. Fields of the static table are shared by all connections and keep none.
        object note


@cython.final
cdef class DynamicTable:
    cdef:
        # A ring of a power of two, HeaderField or None: `_fields[_inserted - 1 - index & mask]` for index < count.
        list _fields
        Py_ssize_t _inserted
        readonly Py_ssize_t count

        # The bytes of its fields, and their limit: size <= capacity.
        readonly Py_ssize_t size
        readonly Py_ssize_t capacity

        # Changes with each change of the table; unique among all tables.
        readonly uint64_t generation

    cdef int insert(self, HeaderField field) except -1
    cdef int resize(self, Py_ssize_t capacity) except -1
    cdef int _evict(self, Py_ssize_t room) except -1
    cdef int _grow(self) except -1

    # Return the place of a field with this hash, name and value, 0 for the newest; -1: no such field.
    cdef Py_ssize_t find(self, uint64_t hash, bytes name, bytes value) noexcept
    cdef Py_ssize_t find_name(self, int token, bytes name) noexcept

    cdef inline PyObject* get(self, Py_ssize_t index) noexcept:
        """Return the field with this index, 0 for the newest: borrowed from the table until its next change."""
        return <PyObject*>PyList_GET_ITEM(self._fields, (self._inserted - 1 - index) & (len(self._fields) - 1))


# The fields of the static table: index 1 is at 0.
cdef tuple static_fields

# The name of each token, None for 0; the place of its first field in the static table, 0: none.
cdef tuple token_names
cdef int[TOKEN_COUNT] static_places

cdef inline bint is_same(bytes a, bytes b) noexcept:
    cdef Py_ssize_t size = PyBytes_GET_SIZE(a)
    return a is b or size == PyBytes_GET_SIZE(b) and memcmp(PyBytes_AS_STRING(a), PyBytes_AS_STRING(b), <size_t>size) == 0


# Return the token of a name.
cdef int token_of(const char* name, Py_ssize_t size) noexcept

# Return the rule that a name breaks (Rule).
cdef int name_rule(const char* name, Py_ssize_t size) noexcept

# Make a field from parts that a table or a block has; `rule` is the rule of its name.
cdef HeaderField new_field(bytes name, bytes value, int token, int rule)

# Make a field from a new name.
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
        # The fields in order (HeaderField); for each token the place of the first one, counted from 1, 0: no such
        # field.
        readonly list fields
        uint16_t[TOKEN_COUNT] _places
        bint _has_regular

        # The first rule of RFC 9113, section 8, that its fields break (Rule). Whether a field other than gRPC's begins
        # or ends with a blank, which only gRPC messages may have; whether its content-type is gRPC's, known once
        # checked.
        readonly int rule
        readonly bint has_blanks
        bint is_of_grpc

        # The kind as which the block was last checked (CheckedAs), and the rule that it breaks as that kind: known
        # blocks recur.
        int _checked_as
        int _checked_rule

        # Its content-length, known once it was asked for; -1: it has none.
        int64_t _length
        bint _knows_length

        # Its bytes as MAX_HEADER_LIST_SIZE counts them. Fields beyond the limit are left out.
        readonly Py_ssize_t size
        readonly bint is_too_large

        # The bytes it was decoded from, and the generation of the table to which they refer; None: it is not kept.
        bytes raw
        uint64_t generation

        # An earlier block that differs in grpc-timeout alone, or None. Its note holds for this block, except the timeout.
        HeaderBlock twin

        # Set by the connection's user; equal blocks are one object and share it. It must not refer to the connection.
        public object note

        # The head of requests with this block (a RequestHead), and whether their streams end with it; None: it is not
        # kept. The bytes that the head adds to `HpackDecoder.known_bytes`.
        object request
        bint request_is_whole
        Py_ssize_t noted_bytes

    cdef int add(self, HeaderField field) except -1

    # Return whether another block has the same fields, except for the values of this token.
    cdef bint is_twin(self, HeaderBlock other, int token) noexcept
    cdef int _judge(self, HeaderField field) except -1

    cdef inline bint has(self, int token) noexcept:
        """Return whether there is a field with a token."""
        return self._places[token] != 0

    # Return the first field with a token, or None.
    cdef HeaderField field(self, int token)

    # Return the rule (Rule) that these fields break as the head of a request or of an answer; sets `is_of_grpc`.
    cdef int check(self, int kind) except -1

    # Return the rule (Rule) that these fields break as trailers; `is_of_grpc` says whether the message is of gRPC.
    cdef int check_as_trailers(self, bint is_of_grpc) except -1
    cdef int check_request(self, bint may_connect) except -1
    cdef int check_response(self) except -1
    cdef int check_trailers(self) except -1

    # Return content-length of a block that breaks no rule; -1: it has no such field.
    cdef int64_t content_length(self) except? -2
    cdef bint _has_only(self, bint is_request) noexcept


cdef HeaderBlock new_block()

# Make a block that begins with the fields of another one.
cdef HeaderBlock begun_with(HeaderBlock base)
