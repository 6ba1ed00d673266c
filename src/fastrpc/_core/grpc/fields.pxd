cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastrpc._core.base.big_endian cimport store32_big
from fastrpc._core.base.buffer cimport Assembly, WriteBuffer
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack cimport HeaderTemplate, HpackEncoder

cdef enum:
    # In front of each message: u8 flags, u32 length.
    PREFIX_BYTES = 5
    IS_COMPRESSED = 1

cdef enum:
    # Compressors by their names in grpc-encoding, with our numbers (`assigned_numbers`); an unknown compressor.
    ENCODING_IDENTITY = 0
    ENCODING_GZIP = 1
    ENCODING_DEFLATE = 4
    ENCODING_UNKNOWN = 255

cdef enum MessageProblem:
    # Refusals of a message: its flags are neither 0 nor IS_COMPRESSED; it has more bytes than its reader takes.
    MESSAGE_OK = 0
    MESSAGE_FLAGS = 1
    MESSAGE_TOO_LARGE = 2


@cython.final
cdef class MessageReader:
    cdef:
        # The most bytes of a message.
        public Py_ssize_t limit

        # Received bytes of a prefix; with PREFIX_BYTES it is complete, and its message is under way.
        uint8_t[PREFIX_BYTES] _prefix
        int _prefix_size

        # The message under way, of `total` bytes, or the one returned last. None: no byte of it has arrived.
        readonly Assembly assembly
        readonly Py_ssize_t total
        readonly bint is_compressed

        # The rule that its prefix breaks (MessageProblem), after which the reader is unusable.
        readonly int problem

    # Take bytes of DATA: advance `data`, and reduce `size`. Return a complete message; None: more bytes are needed, or
    # there is a `problem`. `trusted` is as in Assembly.reserve.
    cdef bytes read(self, const char** data, Py_ssize_t* size, Py_ssize_t trusted)
    cdef bint _read_prefix(self, const char** data, Py_ssize_t* size) except -1

    # Return the message under way if its assembly is filled.
    cdef bytes finish(self)

    cdef inline bint is_inside(self) noexcept:
        """Return whether a message is incomplete: the end of the stream breaks the protocol here."""
        return self._prefix_size != 0

    cdef inline Py_ssize_t missing(self) noexcept:
        """Return the missing bytes of a message after its prefix; 0 between messages and inside a prefix."""
        if self._prefix_size < PREFIX_BYTES:
            return 0
        return self.total - (self.assembly.filled if self.assembly is not None else 0)


cdef inline char* put_prefix(char* place, Py_ssize_t size, bint is_compressed) noexcept nogil:
    """Write the prefix of a message of `size` bytes, which follows; return its end. The caller owns the place."""
    place[0] = IS_COMPRESSED if is_compressed else 0
    store32_big(place + 1, <uint32_t>size)
    return place + PREFIX_BYTES


cdef enum:
    # The longest time that grpc-timeout is taken for, in nanoseconds, 31 years: deadlines stay within 64 bits.
    LONGEST_TIMEOUT = 1_000_000_000_000_000_000

# Return the nanoseconds of grpc-timeout; -1: it is malformed.
cpdef int64_t timeout_ns(bytes value) noexcept

# Return grpc-timeout for the nanoseconds left, rounded down, at least 1n.
cpdef bytes timeout_field(int64_t left_ns)

# Return grpc-message for a text; return the text of grpc-message, in which a broken encoding is kept unchanged.
cpdef bytes message_field(str text)
cpdef str message_text(bytes value)

# `binary_field` returns the value of a field whose name ends in `-bin`, without padding; `binary_value` returns the
# bytes of such a field, padded or not, None if it is not base64.
cpdef bytes binary_field(bytes value)
cpdef bytes binary_value(bytes field)

# Return the number of a compressor by its name, or `unknown`; return the name by the number, or None.
cdef int encoding_number(bytes name, int unknown) except -1
cdef bytes encoding_name(int compressor)

# Return the number in a text of at most `digits` digits; -1: the text is no number.
cdef int number_of(bytes value, Py_ssize_t digits) noexcept

# Return the Status of grpc-status, UNKNOWN for another text.
cpdef int status_of(bytes value) noexcept

# Return the Status of an answer without grpc-status, by :status, and of a stream that ended by RST_STREAM.
cpdef int status_of_http(bytes value) except -1
cpdef int status_of_reset(uint32_t code) except -1

# Return the entries of a head or of trailers as native metadata, or None. Names of omitted entries, which have no
# native form, are added to `dropped`.
cpdef bytes metadata_of(HeaderBlock block, list dropped)

# Return names in lower case with their values as native metadata, by the same rules.
cpdef bytes metadata_of_pairs(object pairs, list dropped)

# Return how much native metadata adds to a header block, as MAX_HEADER_LIST_SIZE counts it. ValueError: an entry cannot
# travel as a field. Trailers may have `grpc-status-details-bin`, as grpcio-status sets it.
cpdef Py_ssize_t metadata_size(bytes metadata, bint is_of_answer=*) except -1

# Return native metadata as fields: token, name, value; write it as fields. `metadata_size` has accepted it.
cpdef list metadata_fields(bytes metadata)
cdef int put_metadata(HpackEncoder encoder, WriteBuffer out, bytes metadata) except -1


@cython.final
cdef class RequestHeads:
    cdef:
        # The fields before and after :path, except content-type; the credential, or None.
        tuple _first
        tuple _last
        bytes _credential

        # The heads of this connection: by route, and by route and the fields that metadata of a call replaces.
        dict _made

    # Return the fields of a request that are the same in each call of a method. `metadata`: the call's metadata, or None.
    cdef HeaderTemplate head_of(self, MethodRoute route, bytes metadata)

    # Show another token from now on.
    cdef int present(self, bytes credential) except -1
    cdef HeaderTemplate _make(self, MethodRoute route, tuple replaced)

    # Return the bytes of a head, as MAX_HEADER_LIST_SIZE counts them, without metadata.
    cdef Py_ssize_t size_of(self, MethodRoute route) except -1
