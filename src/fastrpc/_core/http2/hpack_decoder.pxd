cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t

from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack_tables cimport DynamicTable, HeaderField
from fastrpc._core.http2.violations cimport Violation

cdef enum:
    # Kept blocks, a power of two.
    KNOWN_BLOCKS = 8


@cython.final
cdef class HpackDecoder:
    cdef:
        readonly DynamicTable table

        # The most bytes of the table, which the peer acknowledged; whether its next block has to begin with a table size
        # update, as they became less.
        readonly Py_ssize_t table_limit
        bint _needs_update

        # The most bytes of a block, as MAX_HEADER_LIST_SIZE counts them.
        readonly Py_ssize_t list_limit

        # Blocks that changed no table, by a hash of their bytes: HeaderBlock or None; the bytes of their fields.
        list _known
        # The hashes of the last ones that were not kept, at the same places; whether there are ones with values.
        uint64_t[KNOWN_BLOCKS] _seen
        bint _knows_values

        # Blocks with a timeout, by their path: HeaderBlock or None.
        list _twins
        readonly Py_ssize_t known_bytes

        # While a block is decoded: its next byte and its end, in the bytes of the caller.
        const uint8_t* _at
        const uint8_t* _end
        # The last long string of it, decoded.
        bytes _large

    # Return the fields of a whole block. None: the peer broke a rule of the connection, and the decoder is of no more use.
    cdef HeaderBlock decode(self, const char* data, Py_ssize_t size, Violation* violation)

    # Apply a table limit that the peer acknowledged.
    cdef int limit_table(self, Py_ssize_t limit) except -1

    # Blocks that came before.
    cdef HeaderBlock _find(self, const char* data, Py_ssize_t size)
    cdef HeaderBlock _begin(self, const char* data, Py_ssize_t run)
    cdef int _find_twin(self, HeaderBlock block) except -1
    cdef bint _comes_again(self, const char* data, Py_ssize_t size) noexcept
    cdef int _know(self, HeaderBlock block, const char* data, Py_ssize_t size) except -1

    # The parts of decoding; those that return a number return -1, those that return an object None for a violation.
    cdef int _decode_updates(self, Violation* violation) except? -1
    cdef int _decode_fields(self, HeaderBlock block, Violation* violation) except? -1
    cdef HeaderField _decode_field(self, Violation* violation)
    cdef HeaderField _decode_literal(self, int prefix, Violation* violation)
    cdef HeaderField _field_at(self, int64_t index, Violation* violation)
    cdef int64_t _read_integer(self, int prefix, Violation* violation) noexcept
    cdef const char* _read_string(self, char* room, Py_ssize_t* size, Violation* violation) except? NULL
