cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastrpc._core.base.big_endian cimport store32_big
from fastrpc._core.base.buffer cimport Assembly, WriteBuffer
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack cimport HeaderTemplate, HpackEncoder

cdef enum:
    # The size of the prefix of each message: u8 flags, u32 length.
    PREFIX_BYTES = 5
    IS_COMPRESSED = 1

cdef enum:
    # The compressors of grpc-encoding by their native numbers (`assigned_numbers`); an unknown compressor.
    ENCODING_IDENTITY = 0
    ENCODING_GZIP = 1
    ENCODING_DEFLATE = 4
    ENCODING_UNKNOWN = 255

cdef enum MessageProblem:
    # Why a message is refused. MESSAGE_FLAGS: its flags are neither 0 nor IS_COMPRESSED. MESSAGE_TOO_LARGE: it is
    # longer than the reader's limit.
    MESSAGE_OK = 0
    MESSAGE_FLAGS = 1
    MESSAGE_TOO_LARGE = 2


@cython.final
cdef class MessageReader:
    cdef:
        # The most bytes of a message.
        public Py_ssize_t limit

        # `_prefix`: the received bytes of the current prefix, `_prefix_size` in number. At PREFIX_BYTES the message
        # itself is being received.
        uint8_t[PREFIX_BYTES] _prefix
        int _prefix_size

        # `assembly`: the partly received message, None before its first byte. `total`, `is_compressed`: the size and
        # the flag in the last prefix.
        readonly Assembly assembly
        readonly Py_ssize_t total
        readonly bint is_compressed

        # The rule that a prefix broke (MessageProblem). The reader is unusable after that.
        readonly int problem

    # Read bytes of DATA: advance `data`, and reduce `size`. Return a complete message, or None if more bytes are needed
    # or there is a `problem`. `trusted` is as in Assembly.reserve.
    cdef bytes read(self, const char** data, Py_ssize_t* size, Py_ssize_t trusted)
    cdef bint _read_prefix(self, const char** data, Py_ssize_t* size) except -1

    # Return the message that is being received if it is complete, otherwise None.
    cdef bytes finish(self)

    cdef inline bint is_inside(self) noexcept:
        """Return whether a message is incomplete, so that the stream must not end here."""
        return self._prefix_size != 0

    cdef inline Py_ssize_t missing(self) noexcept:
        """Return the missing bytes of a message after its prefix; 0 between messages and inside a prefix."""
        if self._prefix_size < PREFIX_BYTES:
            return 0
        return self.total - (self.assembly.filled if self.assembly is not None else 0)


cdef inline char* put_prefix(char* place, Py_ssize_t size, bint is_compressed) noexcept nogil:
    """Write the prefix of a message of `size` bytes to `place`, memory of the caller; return the end of the prefix."""
    place[0] = IS_COMPRESSED if is_compressed else 0
    store32_big(place + 1, <uint32_t>size)
    return place + PREFIX_BYTES


cdef enum:
    # The longest grpc-timeout, in nanoseconds: 31 years. A longer one is cut to this, so deadlines fit 64 bits.
    LONGEST_TIMEOUT = 1_000_000_000_000_000_000

# Return the nanoseconds of grpc-timeout, or -1 if it is malformed.
cpdef int64_t timeout_ns(bytes value) noexcept

# Return grpc-timeout for the nanoseconds left, rounded down, at least 1n.
cpdef bytes timeout_field(int64_t left_ns)

# Return grpc-message for a text. `message_text` returns the text of grpc-message, where malformed escapes stay as they
# are.
cpdef bytes message_field(str text)
cpdef str message_text(bytes value)

# Encode bytes as the value of a field whose name ends in `-bin`, without padding. `binary_value` decodes such a value,
# padded or not, or returns None if it is not base64.
cpdef bytes binary_field(bytes value)
cpdef bytes binary_value(bytes field)

# Return the number of a compressor by its name, or `unknown`. `encoding_name` returns the name by the number, or None.
cdef int encoding_number(bytes name, int unknown) except -1
cdef bytes encoding_name(int compressor)

# Return the number in a text of at most `digits` digits, or -1 if the text is no number.
cdef int number_of(bytes value, Py_ssize_t digits) noexcept

# Return the Status of grpc-status, UNKNOWN if it is malformed.
cpdef int status_of(bytes value) noexcept

# Return the Status for the :status of an answer without grpc-status. `status_of_reset` returns it for the code of
# RST_STREAM.
cpdef int status_of_http(bytes value) except -1
cpdef int status_of_reset(uint32_t code) except -1

# Return the entries of a head or of trailers as native metadata, or None. Entries without a native form are omitted and
# their names added to `dropped`.
cpdef bytes metadata_of(HeaderBlock block, list dropped)

# Do the same for pairs of a name, in lower case, and a value.
cpdef bytes metadata_of_pairs(object pairs, list dropped)

# Return how much native metadata adds to a header block, as MAX_HEADER_LIST_SIZE counts it. ValueError: an entry cannot
# be sent as a field. Answers may have `grpc-status-details-bin` in their metadata, as grpcio-status sets it.
cpdef Py_ssize_t metadata_size(bytes metadata, bint is_of_answer=*) except -1

# Return native metadata as fields (token, name, value). `put_metadata` writes these fields. `metadata_size` has checked
# it.
cpdef list metadata_fields(bytes metadata)
cdef int put_metadata(HpackEncoder encoder, WriteBuffer out, bytes metadata) except -1


@cython.final
cdef class RequestHeads:
    cdef:
        # `_first` and `_last`: the fields before and after :path and content-type; `_credential`: the value of
        # authorization, or None.
        tuple _first
        tuple _last
        bytes _credential

        # The heads of this connection: by route, and by route and the fields that metadata of a call replaces.
        dict _made

    # Return the fields of a request that are the same in each call of a method. `metadata`: the call's metadata, or None.
    cdef HeaderTemplate head_of(self, MethodRoute route, bytes metadata)

    # Send another token from now on.
    cdef int present(self, bytes credential) except -1
    cdef HeaderTemplate _make(self, MethodRoute route, tuple replaced)

    # Return at least the size of a head without metadata, as MAX_HEADER_LIST_SIZE counts it.
    cdef Py_ssize_t size_of(self, MethodRoute route) except -1
